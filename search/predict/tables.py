"""Tables that are read and written in pieces, so that their length takes no memory."""

import csv
import json
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from trainable.common.errors import as_user_error
from trainable.data.tables import CSV, TSV

ROWS = 4096  # of a piece
SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet")

Write = Callable[[pd.DataFrame], None]


def read_pieces(path: Path) -> Iterator[pd.DataFrame]:
    """The rows of a file, so many at a time; UserError for one that can't be read."""
    with as_user_error(f"FILE {path}: can't be read; "), warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)  # more fields than columns
        if path.suffix == ".parquet":
            file = pq.ParquetFile(path)
            pieces = [file.schema_arrow.empty_table()] if not file.metadata.num_rows else None
            for piece in pieces or file.iter_batches(ROWS):
                # Arrow's own types: a column without a value in one piece keeps its type.
                yield piece.to_pandas(types_mapper=pd.ArrowDtype, ignore_metadata=True)
        elif path.suffix == ".jsonl":
            with path.open(encoding="utf-8") as lines:
                filled = (json.loads(line) for line in lines if line.strip())
                while rows := list(islice(filled, ROWS)):
                    yield pd.DataFrame(rows, dtype=object)
        else:
            yield from pd.read_csv(path, chunksize=ROWS, **(TSV if path.suffix == ".tsv" else CSV))


@contextmanager
def writer(path: Path, output: Path) -> Iterator[Write]:
    """Writes pieces, one below the other, into `path`, which becomes `output`. UserError for what
    a file of this kind can't hold."""
    with ExitStack() as stack:
        first: list[Any] = []  # the columns of the first piece, and Parquet's writer
        text = None if output.suffix == ".parquet" else stack.enter_context(path.open("w"))

        def write(piece: pd.DataFrame) -> None:
            with as_user_error(f"--output {output}: can't hold these rows; ", named=True):
                columns = [*piece.columns]
                if not first:
                    first.append(columns)
                if first[0] != columns:
                    raise ValueError(f"columns {', '.join(columns)} after {', '.join(first[0])}")
                if text is None:
                    _write_parquet(path, piece, first, stack)
                elif output.suffix == ".jsonl":
                    rows = piece.astype(object).to_dict("records")
                    text.writelines(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows)
                else:
                    tab = {"sep": "\t", "quoting": csv.QUOTE_NONE}
                    options = tab if output.suffix == ".tsv" else {}
                    piece.to_csv(text, index=False, header=text.tell() == 0, **options)

        yield write


def _write_parquet(path: Path, piece: pd.DataFrame, first: list[Any], stack: ExitStack) -> None:
    table = pa.Table.from_pandas(piece, preserve_index=False)
    if len(first) == 1:
        first.append(stack.enter_context(pq.ParquetWriter(path, table.schema)))
    first[1].write_table(table.cast(first[1].schema))
