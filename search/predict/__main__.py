"""`python -m search.predict OUT FILE`: labels and probabilities beside the rows of a file."""

import argparse
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import softmax

from search.exit_codes import exit_code, leave, make_console
from search.predict.tables import SUFFIXES, read_pieces, writer
from trainable.common.errors import UserError, count_of
from trainable.common.files import atomic_file
from trainable.config.fields import OneLineParser
from trainable.config.names import FORMS, PYTORCH
from trainable.data.tokens import TEXT_COLUMNS, Text, named_columns, parts_of
from trainable.engine.metrics import predicted
from trainable.serving.served_model import ServedModel

PREDICTION, PROBABILITY = "prediction", "probability of "
EXAMPLE = """\
examples:
  python -m search.predict student reviews.csv --form onnx-int8
  python -m search.predict student pairs.parquet --text-column premise,hypothesis
"""


def make_parser() -> argparse.ArgumentParser:
    """Every flag with its default."""
    parser = OneLineParser(
        prog="python -m search.predict",
        description="Classifies the texts of a file with a student that search.export wrote. Reads "
        "and writes in pieces: a longer file\nneeds no more memory. The ONNX forms need neither "
        "torch nor Ray.",
        epilog=EXAMPLE,
    )
    parser.add_argument("student", metavar="OUT", type=Path, help="the exported folder")
    parser.add_argument(
        "file", metavar="FILE", type=Path, help=f"texts, one of {', '.join(SUFFIXES)}"
    )
    parser.add_argument(
        "--form", choices=FORMS, default=PYTORCH, help="what runs the student (default: pytorch)"
    )
    parser.add_argument(
        "--text-column",
        metavar="A[,B]",
        help="column of the texts, or both of pairs (default: as in training, else a usual name)",
    )
    parser.add_argument(
        "--output",
        metavar="FILE",
        type=Path,
        help="file to write, of any of the kinds (default: FILE with .predictions before its end)",
    )
    parser.add_argument("--threads", type=int, metavar="N", help="of an ONNX form (default: all)")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Classifies a file; returns the exit code (0 well, 1 the disk, 2 the user's mistake)."""
    return exit_code(partial(predict, make_parser().parse_args(argv)))


def predict(arguments: argparse.Namespace) -> int:
    """Writes the whole output or none, and says how fast."""
    source, form, threads = arguments.file, arguments.form, arguments.threads
    output = arguments.output or source.with_suffix(f".predictions{source.suffix}")
    _check_paths(source, output)
    if threads is not None and (threads < 1 or form == PYTORCH):
        raise UserError(f"--threads {threads}: at least 1, and for an ONNX form only")
    device = "cpu"
    if form == PYTORCH:
        from trainable.engine.devices import best_device

        device = best_device().type
    model = ServedModel.load(arguments.student, form, threads, device=device)
    console, rows, empty, seconds = make_console(), 0, 0, 0.0
    columns: tuple[str, ...] = ("no column",)
    with (
        atomic_file(output) as temporary,
        writer(temporary, output) as write,
        console.status("0 rows") as status,
    ):
        for piece in read_pieces(source):
            columns = _text_columns(piece, arguments.text_column, model, f"FILE {source}")
            texts = _texts(piece, columns, f"FILE {source}", rows)
            start = time.perf_counter()
            answers = _answers(model, texts)
            seconds += time.perf_counter() - start
            if twice := {*piece} & {*answers}:
                raise UserError(f"FILE {source}: has a column {min(twice)} already; rename it")
            write(pd.concat([piece.reset_index(drop=True), answers], axis=1))
            rows += len(piece)
            empty += sum(not "".join(parts_of(text)).strip() for text in texts)
            status.update(f"{rows:,} rows, {rows / seconds:,.0f} a second")
    speed = f"{rows / seconds:,.0f} texts a second" if rows else "no rows"
    read = f"texts read from {' and '.join(columns)}"
    console.print(f"{rows:,} rows, {read}, {speed} ({form}). Written to {output}.")
    if empty:
        console.print(f"Without a text, so that the label means nothing: {count_of(empty, 'row')}.")
    return 0


def _check_paths(source: Path, output: Path) -> None:
    kinds = f"give one of {', '.join(SUFFIXES)}"
    problems = {
        f"FILE {source}: does not exist": not source.is_file(),
        f"FILE {source}: {kinds}": source.suffix not in SUFFIXES,
        f"--output {output}: {kinds}": output.suffix not in SUFFIXES,
        f"--output {output}: exists": output.exists(),
        f"--output {output}: its folder does not exist": not output.parent.is_dir(),
    }
    for problem, holds in problems.items():
        if holds:
            raise UserError(problem)


def _answers(model: ServedModel, texts: Sequence[Text]) -> pd.DataFrame:
    """The label of N texts and the probability of each label, [N, 1 + C]; of a regression the
    number alone."""
    logits = model.logits(texts)
    if logits.shape[1] == 1:
        return pd.DataFrame({PREDICTION: predicted(logits)}).round(6)
    columns = [f"{PROBABILITY}{name}" for name in model.label_names]
    table = pd.DataFrame(softmax(logits, axis=1), columns=columns).round(6)
    table.insert(0, PREDICTION, np.array(model.label_names, dtype=object)[predicted(logits)])
    return table


def _text_columns(
    piece: pd.DataFrame, given: str | None, model: ServedModel, named: str
) -> tuple[str, ...]:
    """The column of the texts, or both of pairs, whichever was trained on; UserError where they
    are not there."""
    trained = named_columns(model.text_column, piece.columns) if model.text_column else ()
    counts = (1, 2) if model.text_pairs is None else (1 + model.text_pairs,)
    known = [names for names in (trained, *TEXT_COLUMNS) if len(names) in counts]
    usual = [names for names in known if {*names} <= {*piece}]
    names = named_columns(given, piece.columns) if given else (*usual, ())[0]
    if len(names) not in counts or not {*names} <= {*piece}:
        wanted = f"--text-column {given}" if given else named
        has, count = ", ".join(map(str, piece.columns)), "A,B for pairs" if 2 in counts else "one"
        raise UserError(f"{wanted}: the columns are {has}; name {count} with --text-column")
    return names


def _texts(piece: pd.DataFrame, names: tuple[str, ...], named: str, before: int) -> list[Text]:
    """The texts of some rows, of which `before` come before them; UserError where one is none."""
    for name in names:
        wrong = [not isinstance(text, str) for text in piece[name]]
        if any(wrong):
            raise UserError(f"{named}: row {before + wrong.index(True)} has no text in {name}")
    if len(names) == 1:
        return [*piece[names[0]]]
    return [*zip(piece[names[0]], piece[names[1]], strict=True)]


if __name__ == "__main__":
    leave(main())
