"""Tables that are read and written in pieces, so that their length takes no memory."""

import csv
import json
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import islice, takewhile
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from trainable.common.errors import UserError, as_user_error, first_line
from trainable.data.tables import CSV, TSV, parse_json

ROWS = 4096  # of a piece
SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet")
BREAKS_ROWS = "a tab or a line break within a field, which TSV can't have"

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
                table = piece.to_pandas(types_mapper=pd.ArrowDtype, ignore_metadata=True)
                if twice := table.columns[table.columns.duplicated()].tolist():
                    raise ValueError(f"it has the column {twice[0]} twice")
                yield table
        elif path.suffix == ".jsonl":
            # In a pass of its own: a key may come up in a later piece.
            columns = dict.fromkeys(key for row in _json_rows(path) for key in row)
            rows = _json_rows(path)
            while piece := list(islice(rows, ROWS)):
                yield pd.DataFrame(piece, columns=[*columns], dtype=object)
        else:
            how = TSV if path.suffix == ".tsv" else CSV
            with path.open(encoding="utf-8-sig") as lines:
                above = sum(1 for _ in takewhile(lambda line: not line.strip(), lines))
            if pd.read_csv(path, nrows=0, **how).shape[1] == 1:  # an empty line is an empty text
                how = {**how, "skip_blank_lines": False, "skiprows": above}
            yield from pd.read_csv(path, chunksize=ROWS, **how)


def _json_rows(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8-sig") as lines:
        yield from (parse_json(line) for line in lines if line.strip())


@contextmanager
def writer(path: Path, output: Path) -> Iterator[Write]:
    """Writes pieces, one below the other, into `path`, which becomes `output`. UserError for what
    a file of this kind can't hold."""
    with ExitStack() as stack:
        opened: list[pq.ParquetWriter] = []  # with the types of the first piece
        text = None
        if output.suffix != ".parquet":
            text = stack.enter_context(path.open("w", encoding="utf-8", newline=""))

        def write(piece: pd.DataFrame) -> None:
            try:
                if text is None:
                    _write_parquet(path, piece, opened, stack)
                else:
                    header = text.tell() == 0
                    text.write(_as_text(_with_lists(piece), output.suffix, header=header))
            except OSError:  # such as a full disk
                raise
            except Exception as error:
                why = f"{type(error).__name__}: {first_line(error)}"
                raise UserError(f"--output {output}: can't hold these rows; {why}") from error

        yield write
        if text is None and not opened:  # of no rows, without columns
            pq.write_table(pa.table({}), path)


def _with_lists(piece: pd.DataFrame) -> pd.DataFrame:
    """With Parquet's nested values as Python's: of an array, text would hold both ends alone."""
    nested = [
        name
        for name, kind in piece.dtypes.items()
        if isinstance(kind, pd.ArrowDtype) and pa.types.is_nested(kind.pyarrow_dtype)
    ]
    values = {name: pa.array(piece[name]).to_pylist() for name in nested}
    return piece.assign(**{n: pd.Series(v, piece.index, object) for n, v in values.items()})


def _as_text(piece: pd.DataFrame, suffix: str, *, header: bool) -> str:
    """Rows as JSON lines, CSV or TSV; ValueError for what TSV can't hold."""
    if suffix == ".jsonl":
        records = piece.astype(object).where(piece.notna(), None).to_dict("records")
        return "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in records)
    tabs = suffix == ".tsv"
    # The csv module leaves a carriage return bare, which ends a row for most readers.
    quoting = csv.QUOTE_NONE if tabs else csv.QUOTE_NONNUMERIC
    sep = "\t" if tabs else ","
    try:
        rows = str(piece.to_csv(None, sep=sep, index=False, header=header, quoting=quoting))
    except csv.Error as error:  # from Python 3.13 on of a carriage return, too
        raise ValueError(BREAKS_ROWS) from error
    if tabs and "\r" in rows:
        raise ValueError(BREAKS_ROWS)
    return rows


def _write_parquet(
    path: Path, piece: pd.DataFrame, opened: list[pq.ParquetWriter], stack: ExitStack
) -> None:
    table = pa.Table.from_pandas(piece, preserve_index=False)
    if not opened:
        opened.append(stack.enter_context(pq.ParquetWriter(path, table.schema)))
    opened[0].write_table(table.cast(opened[0].schema))
