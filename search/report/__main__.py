"""`python -m search.report RUN`: tables, statistics and figures of a run, without starting Ray."""

import argparse
import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from search.exit_codes import exit_code, leave
from search.record.run import read_run
from search.record.run_folders import find_run, place_of_runs
from search.results.best_trials import lost_students
from search.results.scores import rescored
from trainable.common.errors import UserError
from trainable.config.fields import OneLineParser
from trainable.config.metrics import METRIC_LABELS
from trainable.config.options import writable_folder

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
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Writes the report; returns the exit code (0 well, 1 the disk, 2 the user's mistake)."""
    return exit_code(partial(write_report, make_parser().parse_args(argv)))


def write_report(arguments: argparse.Namespace) -> int:
    """Reads the run, writes all files, prints the result and where they are."""
    folder = find_run("RUN", arguments.run, place_of_runs(arguments.storage))
    recorded = read_run(folder)
    run = rescored(recorded, arguments.metric)
    own_name = FOLDER if run is recorded else f"{FOLDER}-{arguments.metric}"
    try:
        output = Path(writable_folder(arguments.output or str(folder / own_name)))
    except UserError as error:
        advice = "" if arguments.output else "; give another with --output DIR"
        raise UserError(f"--output {error}{advice}") from None
    if not run.trials:
        raise UserError(f"RUN {folder}: its plan has no trials, there is nothing to report")
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # that it looks for fonts
    from search.report.contents import gather
    from search.report.figures import draw_all
    from search.report.page import render, shown_sections

    run.damage += lost_students(recorded)
    if run is not recorded:
        now, own = (each.plan.inputs.metric_label for each in (run, recorded))
        run.damage += [f"Scored again by {now}; {own} chose what was stopped, kept and exported"]
    made = gather(run)
    drawn = draw_all(made)
    shown = [s for s in shown_sections(made, drawn) if run is recorded or s.id != "asha"]
    (output / FIGURES).mkdir(parents=True, exist_ok=True)
    made.trials.to_csv(output / TRIALS, index=False)
    for name, svg in drawn.items():
        (output / FIGURES / f"{name}.svg").write_text(f"{svg}\n", encoding="utf-8")
    for name in (PAGE, MARKDOWN):
        (output / name).write_text(render(name, made, shown, drawn), encoding="utf-8")
    damage = [f"{line}." for line in run.damage]
    print("\n".join(filter(None, (*damage, made.summary.headline, made.summary.tied))))
    print(f"Report: {output / PAGE} (also {MARKDOWN}, {TRIALS} and {FIGURES}/)")
    return 0


if __name__ == "__main__":
    leave(main())
