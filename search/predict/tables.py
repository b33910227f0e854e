"""Tables that are read and written in pieces, so that their length takes no memory."""

import csv
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from trainable.common.errors import UserError, as_user_error

ROWS = 4096  # of a piece
# What is not a number stays as it is written: `null` and `007` are texts.
CSV = {"dtype": str, "keep_default_na": False, "na_filter": False}
TSV = {**CSV, "sep": "\t", "quoting": csv.QUOTE_NONE}
JSON_LINES = {"orient": "records", "lines": True}
SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet")

Write = Callable[[pd.DataFrame], None]


def read_pieces(path: Path) -> Iterator[pd.DataFrame]:
    """The rows of a file, so many at a time; UserError for one that can't be read."""
    with as_user_error(f"FILE {path}: can't be read; "):
        if path.suffix == ".parquet":
            for batch in pq.ParquetFile(path).iter_batches(ROWS):
                yield batch.to_pandas()
        elif path.suffix == ".jsonl":
            yield from pd.read_json(path, chunksize=ROWS, dtype=False, **JSON_LINES)
        elif path.suffix in SUFFIXES:
            yield from pd.read_csv(path, chunksize=ROWS, **(TSV if path.suffix == ".tsv" else CSV))
        else:
            raise UserError(f"FILE {path}: give one of {', '.join(SUFFIXES)}")


@contextmanager
def writer(path: Path, suffix: str) -> Iterator[Write]:
    """Writes pieces, one below the other, as a file of this kind."""
    if suffix == ".parquet":
        with _parquet_writer(path) as write:
            yield write
        return
    tab = {"sep": "\t", "quoting": csv.QUOTE_NONE} if suffix == ".tsv" else {}
    with path.open("w", encoding="utf-8") as file:

        def write_text(piece: pd.DataFrame) -> None:
            if suffix == ".jsonl":
                piece.to_json(file, force_ascii=False, **JSON_LINES)
            else:
                piece.to_csv(file, index=False, header=file.tell() == 0, **tab)

        yield write_text


@contextmanager
def _parquet_writer(path: Path) -> Iterator[Write]:
    with ExitStack() as stack:
        opened: list[Any] = []  # with the first piece, which has the columns' types

        def write(piece: pd.DataFrame) -> None:
            table = pa.Table.from_pandas(piece, preserve_index=False)
            if not opened:
                opened.append(stack.enter_context(pq.ParquetWriter(path, table.schema)))
            opened[0].write_table(table.cast(opened[0].schema))

        yield write
