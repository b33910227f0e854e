"""`python -m search.export RUN OUT`: a kept student as a Hugging Face folder with a model card."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from trainable.arguments import OneLineParser, writable_folder

from search.exit_codes import FAILURES, INTERRUPTED, USER_ERROR
from search.trial_words import wording
from trainable.errors import UserError

EXAMPLE = """\
examples:
  python -m search.export schedules-mini-20261124-101500 student
  python -m search.export runs/mine student --trial 3f2a

then, in Python:
  from transformers import pipeline
  pipeline("text-classification", "student")("some text", truncation=True)
"""


def make_parser() -> argparse.ArgumentParser:
    """Every flag with its default."""
    parser = OneLineParser(
        prog="python -m search.export",
        description="Writes a student of a sweep as a Hugging Face folder: weights, tokenizer, and "
        "a model card. The best student that is kept, unless --trial says which.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", metavar="RUN", help="the sweep, by name or path")
    parser.add_argument("out", metavar="OUT", type=Path, help="folder to write, new or empty")
    parser.add_argument(
        "--trial",
        metavar="T",
        help="digest of the trial, the beginning of one, or its folder's name (the best that ended "
        "and whose student is kept)",
    )
    parser.add_argument(
        "--check",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="score the folder's raw sentences again with plain transformers, on the CPU",
    )
    parser.add_argument(
        "--storage", default="runs", metavar="DIR", help="folder of all runs (%(default)s)"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Exports a student; returns the exit code (0 well, 1 it differs, 2 the user's mistake)."""
    arguments = make_parser().parse_args(argv)
    try:
        return export(arguments)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return USER_ERROR
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return FAILURES
    except KeyboardInterrupt:
        print("interrupted; nothing was exported", file=sys.stderr)
        return INTERRUPTED


def export(arguments: argparse.Namespace) -> int:
    """Finds the student, writes the folder whole or not at all, and says what it holds."""
    from search.arguments import place_of_runs
    from search.record import read_run
    from search.remote_runs import fetch_students
    from search.runs import find_run

    folder = find_run("RUN", arguments.run, place_of_runs(arguments.storage))
    out = free_folder(arguments.out)
    run = read_run(folder)
    fetch_students(run)

    from search.exported import choose_trial, load_student, shared_task, write_folder
    from search.model_card import check_in_words, size_in_words
    from trainable.folders import whole_folder
    from trainable.quiet import quiet_libraries

    quiet_libraries()
    trial = choose_trial(run, arguments.trial)
    task = shared_task(run)
    student = load_student(run, trial, task)
    print(f"{wording(run)(trial)} ({trial.config.digest}), {student.in_words()}.")
    with whole_folder(out) as temporary:
        exported = write_folder(temporary, run, trial, student, task=task, check=arguments.check)
        free_folder(out)  # minutes may have passed
    print(check_in_words(exported))
    print(f"{out}: {size_in_words(exported)}.")
    return FAILURES if exported.is_wrong else 0


def free_folder(out: Path) -> Path:
    """The absolute folder to write; UserError where something is there already."""
    try:
        folder = writable_folder(str(out))
        taken = any(folder.iterdir()) if folder.exists() else False
    except argparse.ArgumentTypeError as error:
        raise UserError(f"OUT {error}") from None
    if taken:
        raise UserError(f"OUT {out}: is not empty; give a new or an empty folder")
    return folder


if __name__ == "__main__":
    sys.exit(main())
