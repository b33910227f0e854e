"""`python -m search.report RUN`: tables, statistics and figures of a run, without starting Ray."""

import argparse
import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from search.exit_codes import exit_code, leave
from search.record.events import RECORD
from search.record.run import Run
from search.record.run_folders import find_run, open_run, place_of_runs
from search.results.best_trials import lost_students
from search.results.scores import rescored
from trainable.common.errors import UserError
from trainable.config.fields import OneLineParser
from trainable.config.metrics import METRIC_LABELS
from trainable.config.options import writable_folder

if TYPE_CHECKING:
    from search.report.contents import Report

FOLDER, FIGURES = "report", "figures"
TRIALS, MARKDOWN, PAGE = "trials.csv", "report.md", "report.html"


def make_parser() -> argparse.ArgumentParser:
    """Every flag with its default."""
    parser = OneLineParser(
        prog="python -m search.report",
        description="Writes trials.csv, report.md, report.html (one file that needs no other) and\n"
        "figures of a run that is finished, interrupted or still running. Only reads the run.",
    )
    parser.add_argument("run", metavar="RUN", help="name or path of the run")
    parser.add_argument(
        "--storage",
        default="runs",
        metavar="DIR",
        help="folder or URI of all runs (default: %(default)s)",
    )
    parser.add_argument(
        "--output",
        metavar="DIR",
        help=f"folder to write to, created if missing (default: {FOLDER} or {FOLDER}-M in RUN)",
    )
    parser.add_argument(
        "--metric",
        choices=tuple(METRIC_LABELS),
        metavar="M",
        help="score the run again by another metric, from the recorded predictions: "
        f"{', '.join(METRIC_LABELS)} (default: the run's own); what was decided while it ran stays",
    )
    parser.add_argument(
        "--watch",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="write nothing; serve the page to a browser on this machine, where it follows the run "
        "until Ctrl-C",
    )
    parser.add_argument(
        "--port", type=int, metavar="N", help="of --watch (default: any that is free)"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Writes the report; returns the exit code (0 well, 1 the disk, 2 the user's mistake)."""
    arguments = (parser := make_parser()).parse_args(argv)
    port, watched = arguments.port, arguments.watch
    mistakes = {
        f"--port {port}: give one from 0 to 65535": not 0 <= (port or 0) <= 65535,
        f"--port {port}: only with --watch": port is not None and not watched,
        f"--output {arguments.output}: not with --watch, which writes nothing": (
            watched and arguments.output is not None
        ),
    }
    for mistake in (text for text, made in mistakes.items() if made):
        parser.error(mistake)
    return exit_code(partial(watch_report if arguments.watch else write_report, arguments))


def write_report(arguments: argparse.Namespace) -> int:
    """Reads the run, writes all files, prints the result and where they are."""
    recorded, run = _read(arguments)
    own_name = FOLDER if run is recorded else f"{FOLDER}-{arguments.metric}"
    try:
        output = Path(writable_folder(arguments.output or str(run.folder / own_name)))
    except UserError as error:
        advice = "" if arguments.output else "; give another with --output DIR"
        raise UserError(f"--output {error}{advice}") from None
    report, drawn, rendered = _make(recorded, run)
    (output / FIGURES).mkdir(parents=True, exist_ok=True)
    report.trials.to_csv(output / TRIALS, index=False)
    for name, svg in drawn.items():
        (output / FIGURES / f"{name}.svg").write_text(f"{svg}\n", encoding="utf-8")
    for name in (PAGE, MARKDOWN):
        (output / name).write_text(rendered(name), encoding="utf-8")
    damage = [f"{line}." for line in run.damage]
    print(*damage, report.summary.headline, *report.summary.findings, sep="\n")
    print(f"Report: {output / PAGE} (also {MARKDOWN}, {TRIALS} and {FIGURES}/)")
    return 0


def watch_report(arguments: argparse.Namespace) -> int:
    """Serves the page, which follows the run, until Ctrl-C; writes nothing."""
    from search.report.watch import watch

    def make_page() -> str:
        *_, rendered = _make(*_read(arguments))
        return rendered(PAGE)

    def state() -> tuple[int, float]:
        folder = find_run("RUN", arguments.run, place_of_runs(arguments.storage))
        record = (folder / RECORD).stat()
        return record.st_size, record.st_mtime

    watch(make_page, state, arguments.port or 0)
    return 0


def _read(arguments: argparse.Namespace) -> tuple[Run, Run]:
    """The run as it is recorded, and as it is scored here; UserError if there is nothing in it."""
    recorded = open_run(arguments.run, arguments.storage)
    if not recorded.trials:
        raise UserError(
            f"RUN {recorded.folder}: its plan has no trials, there is nothing to report"
        )
    return recorded, rescored(recorded, arguments.metric)


def _make(recorded: Run, run: Run) -> tuple["Report", dict[str, str], Callable[[str], str]]:
    """The report's tables, its figures by name, and what renders a template with them."""
    from search.report.contents import gather
    from search.report.figures import all_figures
    from search.report.page import render, shown_sections

    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # that it looks for fonts
    run.damage += lost_students(recorded)
    if run is not recorded:
        now, own = (each.plan.inputs.metric_label for each in (run, recorded))
        run.damage += [f"Scored again by {now}; {own} chose what was stopped, kept and exported"]
    report = gather(run)
    drawn = all_figures(report)
    shown = [s for s in shown_sections(report, drawn) if run is recorded or s.id != "asha"]
    return report, drawn, partial(render, report=report, shown=shown, drawn=drawn)


if __name__ == "__main__":
    leave(main())
