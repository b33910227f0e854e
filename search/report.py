"""`python -m search.report RUN`: tables, statistics and figures of a run, without starting Ray."""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from trainable.arguments import OneLineParser, writable_folder

from search.arguments import place_of_runs
from search.exit_codes import FAILURES, USER_ERROR
from search.record import read_events, read_run
from search.runs import find_run
from trainable.errors import UserError

FOLDER, FIGURES = "report", "figures"
TRIALS, MARKDOWN, PAGE = "trials.csv", "report.md", "report.html"


def make_parser() -> argparse.ArgumentParser:
    """Every flag with its default."""
    parser = OneLineParser(
        prog="python -m search.report",
        description="Writes trials.csv, report.md, report.html (one file that needs no other) and "
        "figures of a run that is finished, interrupted or still running. Reads only; starts "
        "nothing.",
    )
    parser.add_argument("run", metavar="RUN", help="name or path of the run")
    parser.add_argument(
        "--storage", default="runs", metavar="DIR", help="folder of all runs (%(default)s)"
    )
    parser.add_argument(
        "--output", metavar="DIR", help=f"where to write; made where it is not ({FOLDER} in RUN)"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Writes the report; returns the exit code (0 well, 1 the disk, 2 the user's mistake)."""
    arguments = make_parser().parse_args(argv)
    try:
        folder = find_run("RUN", arguments.run, place_of_runs(arguments.storage))
        return write_report(folder, output_folder(arguments.output, folder))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return USER_ERROR
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return FAILURES


def output_folder(given: str | None, run: Path) -> Path:
    """Where to write; UserError where no folder can be made or written to."""
    try:
        return writable_folder(given or str(run / FOLDER))
    except argparse.ArgumentTypeError as error:
        advice = "" if given else "; give another with --output DIR"
        raise UserError(f"--output {error}{advice}") from None


def write_report(folder: Path, output: Path) -> int:
    """Reads the run, writes all files, prints the answer and where they are."""
    run, events = read_run(folder), read_events(folder)
    if not run.trials:
        raise UserError(f"RUN {folder}: its plan has no trials, there is nothing to report")
    import optuna

    from search.report_contents import gather
    from search.report_figures import draw_all
    from search.report_page import render_html, render_markdown

    optuna.logging.set_verbosity(logging.WARNING)
    report = gather(run, events)
    (output / FIGURES).mkdir(parents=True, exist_ok=True)
    report.table.to_csv(output / TRIALS, index=False)
    drawn = draw_all(report)
    for name, by_layout in drawn.items():
        (output / FIGURES / f"{name}.svg").write_text(by_layout["wide"] + "\n", encoding="utf-8")
    (output / PAGE).write_text(render_html(report, drawn), encoding="utf-8")
    (output / MARKDOWN).write_text(render_markdown(report, list(drawn)), encoding="utf-8")
    print(report.summary.headline)
    if report.summary.tied:
        print(report.summary.tied)
    print(f"Report: {output / PAGE} (also {MARKDOWN}, {TRIALS} and {FIGURES}/)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
