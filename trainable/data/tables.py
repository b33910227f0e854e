"""Tables with a train and perhaps other splits, from the hub, local files, or memory."""

import csv
import json
import re
import warnings
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from itertools import pairwise
from pathlib import Path
from typing import Any

from trainable.common.errors import UserError, as_user_error, first_line
from trainable.common.hub import require_on_hub
from trainable.common.quiet import quiet_datasets

LABEL_COLUMNS = ("label", "labels", "score")
SAVED_DATASET = "dataset_dict.json"
TRAIN_NAME = "train"
EVALUATION_NAMES = ("validation", "dev", "val", "valid", "eval", "evaluation", "validation_matched")
TEST_NAME = "test"
SPLIT_NAMES = (TRAIN_NAME, *EVALUATION_NAMES, TEST_NAME)
SUFFIXES = (".tsv", ".csv", ".jsonl", ".json", ".parquet")
# What is not a number stays as it is written: `null` and `007` are texts.
CSV: dict[str, Any] = {"dtype": str, "keep_default_na": False, "na_filter": False}
CSV["index_col"] = False  # or a comma at the end of each line would move the columns
TSV = {**CSV, "sep": "\t", "quoting": csv.QUOTE_NONE}  # quotes in GLUE's files are text
QUOTED = r'"([^"]|"")*""([^"]|"")*"'  # with a quote in it, as CSV has that


def read_tables(
    flag: str,
    source: str | Mapping[str, Any],
    configuration: str | None,
    cache: Path,
    label: str | None = None,
    *,
    needed: str = TRAIN_NAME,
) -> dict[str, Any]:
    """`datasets` tables under `train`, `evaluation` and `test` where there are such; a single file
    is all `train`, or what else is `needed`.

    `source` may also be a `datasets.DatasetDict`, or pandas frames by split. `label` is the column
    of the labels if it has no usual name. UserError, which names `flag`, if something is missing,
    unreadable or out of reach.
    """
    quiet_datasets()
    if not isinstance(source, str):
        given, splits = "dataset", tables_of(source)
    elif (path := Path(source).expanduser()).exists():
        given, splits = f"{flag} {source}", _read_local(flag, path, label)
    else:
        given, splits = f"{flag} {source}", _read_hub(flag, source, configuration, cache)
    _refuse_misspelt(given, splits)
    if needed == TEST_NAME and len(splits) == 1:
        splits = {TEST_NAME: next(iter(splits.values()))}
    if needed not in splits:
        only = ", ".join(splits) or "other files"
        raise UserError(
            f"{given}: no split {needed}, only {only}; in a folder, name a file {needed}.csv"
        )
    kept = {name: splits[name] for name in (TRAIN_NAME, TEST_NAME) if name in splits}
    evaluation = [splits[name] for name in EVALUATION_NAMES if name in splits]
    return kept | ({"evaluation": evaluation[0]} if evaluation else {})


def tables_of(data: Mapping[str, Any]) -> dict[str, Any]:
    """`datasets` tables from pandas frames or such tables; UserError for anything else."""
    import datasets

    if not isinstance(data, Mapping):
        raise UserError("dataset: give a path, a hub id, or tables by split, one of them train")
    tables = dict(data)
    for name, table in data.items():
        if isinstance(table, datasets.Dataset):
            tables[name] = table.with_format(None)
            continue
        with as_user_error(f"dataset: {name} is no table of plain values; "):
            tables[name] = datasets.Dataset.from_pandas(table, preserve_index=False)
    return tables


def _refuse_misspelt(given: str, names: Iterable[str]) -> None:
    """UserError for a split whose name is nearly one that is looked for, and of which there is
    none: it would not be used."""
    there = set(names)
    for name in sorted(there.difference(SPLIT_NAMES)):
        for near in get_close_matches(name.lower(), SPLIT_NAMES, n=1, cutoff=0.8):
            same = EVALUATION_NAMES if near in EVALUATION_NAMES else (near,)
            if there.isdisjoint(same):
                raise UserError(f"{given}: split {name} is not known; call it {near}")


def _read_local(flag: str, path: Path, label: str | None) -> dict[str, Any]:
    if path.is_file():
        return {TRAIN_NAME: _read_file(flag, path, label)}
    if not path.is_dir():  # never opened: a pipe may have no end, or no writer
        raise UserError(f"{flag} {path}: is neither a file nor a folder")
    if (path / SAVED_DATASET).exists():
        return _read_saved(flag, path)
    files: dict[str, Path] = {}
    for file in sorted(path.iterdir()):
        if file.suffix in SUFFIXES and file.is_file():
            first = files.setdefault(file.stem, file)
            if first != file and file.stem in SPLIT_NAMES:
                raise UserError(f"{flag} {path}: has {first.name} and {file.name}; keep one")
    _refuse_misspelt(f"{flag} {path}", files)
    return {n: _read_file(flag, files[n], label) for n in SPLIT_NAMES if n in files}


def _read_saved(flag: str, path: Path) -> dict[str, Any]:
    """The splits of a folder that `DatasetDict.save_to_disk` wrote."""
    import datasets

    with as_user_error(f"{flag} {path}: "):
        try:
            return dict(datasets.load_from_disk(str(path)))
        except IndexError:  # what `datasets` makes of a split without rows
            raise UserError(f"{flag} {path}: a split is empty") from None


def _read_file(flag: str, path: Path, label: str | None) -> Any:
    import datasets
    import pandas as pd
    import pyarrow.parquet as pq

    if path.suffix not in SUFFIXES:
        raise UserError(f"{flag} {path}: give one of {', '.join(SUFFIXES)}, a folder or a hub id")
    try:
        if path.suffix == ".parquet":
            table = datasets.Dataset(datasets.table.InMemoryTable(pq.read_table(path)))
        else:
            read = _read_json if path.suffix in (".json", ".jsonl") else _read_csv
            table = datasets.Dataset.from_pandas(read(path), preserve_index=False)
    except pd.errors.EmptyDataError:
        table = []
    except Exception as error:
        wide = isinstance(error, pd.errors.ParserWarning)
        why = "its rows have more fields than its header" if wide else first_line(error)
        reason = f"cannot be read as {path.suffix[1:]}: {why}"
        raise UserError(f"{flag} {path}: {reason}") from error
    if not table:
        raise UserError(f"{flag} {path}: it is empty")
    if path.suffix in (".csv", ".tsv"):
        _check_csv(f"{flag} {path}", table, label)
    return table


def _read_json(path: Path) -> Any:
    """JSON lines, or one list of rows."""
    import pandas as pd

    text = path.read_text(encoding="utf-8-sig")
    whole = text.lstrip().startswith("[")
    rows = parse_json(text) if whole else map(parse_json, filter(str.strip, text.split("\n")))
    return pd.DataFrame(list(rows), dtype=object)


def parse_json(text: str) -> Any:
    """JSON in which half a character, as of an emoji that a text was cut in, is U+FFFD: neither
    tokenizers nor UTF-8 take it."""
    values = json.loads(text)
    if "\\ud" not in text.lower():
        return values
    units = json.dumps(values, ensure_ascii=False).encode("utf-16", "surrogatepass")
    return json.loads(units.decode("utf-16", "replace"))


def _read_csv(path: Path) -> Any:
    import pandas as pd

    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)  # more fields than columns
        return pd.read_csv(path, **(TSV if path.suffix == ".tsv" else CSV))


def _check_csv(given: str, table: Any, label: str | None) -> None:
    """UserError for a column that is there twice, rows that a stray quote has merged, or quotes in
    a TSV file, where they are text.

    A quoted field may have line breaks; if a label stands beside each, as in a row, it has rows.
    """
    names = table.column_names
    if twice := [name for name in names if f"{name}.1" in names]:  # what pandas calls the second
        raise UserError(f"{given}: has the column {twice[0]} twice; keep one")
    label = next((column for column in (label, *LABEL_COLUMNS) if column in names), None)
    labels, place = (set(table[label][:]), names.index(label)) if label else (set(), 0)
    for column, name in enumerate(names):
        for row, field in enumerate(table[name][:]):
            if given.endswith(".tsv") and re.fullmatch(QUOTED, field):
                raise UserError(
                    f"{given}: row {row} is quoted in {name}, as in CSV; give it as CSV or JSON "
                    "lines, since quotes in TSV are text"
                )
            lines = re.split(r"\r\n|\r|\n", field) if label else []
            rows = [
                [*start.split(",", column)[:-1], "", *end.rsplit(",", len(names) - column - 1)[1:]]
                for end, start in pairwise(lines)
            ]
            if rows and all(len(r) == len(names) and r[place] in labels for r in rows):
                raise UserError(
                    f"{given}: row {row} has two rows in {name}, joined by a stray quote; write a "
                    'quote that is text as "", or give JSON lines'
                )


def _read_hub(flag: str, source: str, configuration: str | None, cache: Path) -> dict[str, Any]:
    import datasets

    if not (cache / source.replace("/", "___")).is_dir():  # where `datasets` keeps what it has
        require_on_hub(flag, "dataset", source)
    try:
        return dict(datasets.load_dataset(source, configuration, cache_dir=str(cache)))
    except Exception as error:
        several = "Config name" in str(error)
        hint = " Give ID:CONFIGURATION, as in nyu-mll/glue:sst2" if several else ""
        raise UserError(f"{flag} {source}: {first_line(error)}{hint}") from error
