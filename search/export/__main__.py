"""`python -m search.export RUN OUT`: a kept student as a Hugging Face folder with a model card."""

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from search.exit_codes import FAILURES, exit_code, leave, make_console
from search.policy.still_to_come import is_complete
from search.record.run_folders import open_run
from search.results.cells import as_rich
from trainable.common.errors import UserError, as_user_error, error_line
from trainable.common.files import atomic_folder
from trainable.config.fields import OneLineParser
from trainable.config.options import writable_folder

MAX_LOSS = 0.5  # points that int8 may lose
EXAMPLE = """\
examples:
  python -m search.export schedules-mini-20261124-101500 student
  python -m search.export runs/mine student --trial 3f2a
  python -m search.export runs/mine student --int8

then, in Python:
  from transformers import pipeline
  pipeline("text-classification", "student")("some text", truncation=True)
"""


def make_parser() -> argparse.ArgumentParser:
    """Every flag with its default."""
    parser = OneLineParser(
        prog="python -m search.export",
        description="Writes the student of the recommended trial as a Hugging Face folder: weights "
        "of its last\nevaluation, tokenizer and model card. If it is a final of a search, other "
        "finals' weights are\naveraged into it, each unless it lowers the score on the validation "
        "examples by more than\na standard error (--no-check and --trial leave it alone).",
        epilog=EXAMPLE,
    )
    parser.add_argument("run", metavar="RUN", help="the sweep, by name or path")
    parser.add_argument("out", metavar="OUT", type=Path, help="folder to write, new or empty")
    parser.add_argument(
        "--trial",
        metavar="T",
        help="the trial's digest or folder name, or the start of one (default: the recommended "
        "one, which the run's table marks)",
    )
    parser.add_argument(
        "--check",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="score the folder on the validation examples again with plain transformers, on the "
        "CPU, and compare with the trial's evaluation",
    )
    parser.add_argument(
        "--onnx",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="also write onnx/model.onnx, score it, and time it beside PyTorch and the teacher "
        "(needs the extra [onnx])",
    )
    parser.add_argument(
        "--int8",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="also write onnx/model_int8.onnx (and --onnx); layers stay in fp32 where that is "
        "needed to lose at most --max-loss",
    )
    parser.add_argument(
        "--max-loss",
        metavar="POINTS",
        type=float,
        default=MAX_LOSS,
        help="points of the score that int8 may lose on training examples; a form that loses more "
        "is left out, with exit code 1 (default: %(default)s)",
    )
    parser.add_argument(
        "--storage",
        default="runs",
        metavar="DIR",
        help="folder or URI of all runs (default: %(default)s)",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Exports a student; returns the exit code (0 well, 1 it differs or int8 loses too much, 2 the
    user's mistake)."""
    return exit_code(partial(export, make_parser().parse_args(argv)))


def export(arguments: argparse.Namespace) -> int:
    """Writes the folder whole or not at all, and describes it."""
    run = open_run(arguments.run, arguments.storage)
    for line in run.damage:
        print(f"{line}.")
    if not is_complete(run) and arguments.trial is None:
        print("The run is not complete: what it recommends may change.")
    if not arguments.max_loss >= 0:  # or it is no number
        raise UserError(f"--max-loss {arguments.max_loss:g}: must be at least 0")
    out = free_folder(arguments.out)

    # With torch, which takes seconds to load.
    from search.export.exported_student import export_student
    from trainable.common.quiet import quiet_libraries
    from trainable.engine.training_state import CheckpointError
    from trainable.serving.onnx_export import require_onnx

    quiet_libraries()
    if onnx := arguments.onnx or arguments.int8:
        require_onnx("--int8" if arguments.int8 else "--onnx")
    options = {"int8": arguments.int8, "max_loss": arguments.max_loss, "check": arguments.check}
    try:
        with atomic_folder(out) as folder:
            text, forms = export_student(run, arguments.trial, folder, onnx=onnx, **options)
            free_folder(out)  # minutes may have passed
    except CheckpointError as error:
        print(error_line(f"RUN {run.folder.name}: the checkpoint is {error}"), file=sys.stderr)
        return FAILURES
    print(text)
    if forms is not None:
        console = make_console()
        console.print(as_rich(forms.table))
        console.print(forms.table.notes)
    print(f"Written to {out}.")
    return 0 if forms is None or forms.complete else FAILURES


def free_folder(out: Path) -> Path:
    """The absolute folder to write; UserError where something is there already, or for an empty
    folder that can't be replaced, such as a mount point."""
    folder = Path(writable_folder(str(out), "OUT "))
    if folder.exists() and any(folder.iterdir()):
        raise UserError(f"OUT {out}: is not empty; give a new or an empty folder")
    if folder.exists():
        cannot = as_user_error(f"OUT {out}: give a new folder within it; ", OSError)
        with cannot, atomic_folder(folder):  # as in the end
            pass
    return folder


if __name__ == "__main__":
    leave(main())
