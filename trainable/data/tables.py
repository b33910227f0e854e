"""Tables with a train and perhaps an evaluation split, from the hub or from local files."""

import csv
import glob
from pathlib import Path
from typing import Any

from trainable.common.errors import UserError, as_user_error, first_line
from trainable.common.hub import require_on_hub
from trainable.common.quiet import quiet_datasets

SAVED_DATASET = "dataset_dict.json"
TRAIN_NAME = "train"
EVALUATION_NAMES = ("validation", "dev", "evaluation", "test")
NO_ROWS = "corresponds to no data"  # what `datasets` says of a file that has only a header
SUFFIXES = (".tsv", ".csv", ".jsonl", ".json", ".parquet")


def read_tables(flag: str, source: str, configuration: str | None, cache: Path) -> dict[str, Any]:
    """`datasets` tables under `train` and, where there is one, `evaluation`.

    A single file is all `train`. Raises UserError, which names `flag`, where something is missing
    or unreadable, or the hub can't be reached.
    """
    quiet_datasets()
    path = Path(source).expanduser()
    if path.exists():
        found = _read_local(flag, path, cache)
    else:
        found = _read_hub(flag, source, configuration, cache)
    if TRAIN_NAME not in found:
        raise UserError(f"{flag} {source}: no training split, only {', '.join(found)}")
    evaluation = [found[name] for name in EVALUATION_NAMES if name in found]
    return {"train": found[TRAIN_NAME]} | ({"evaluation": evaluation[0]} if evaluation else {})


def _read_local(flag: str, path: Path, cache: Path) -> dict[str, Any]:
    if (path / SAVED_DATASET).exists():
        return _read_saved(flag, path)
    if path.is_file():
        return {TRAIN_NAME: _read_file(flag, path, cache)}
    files = {
        file.stem: file
        for file in sorted(path.iterdir())
        if file.suffix in SUFFIXES and file.is_file()
    }
    if TRAIN_NAME not in files:
        raise UserError(
            f"{flag} {path}: no train file; the folder needs train and validation (or dev, "
            f"test) with one of {', '.join(SUFFIXES)}"
        )
    wanted = [name for name in (TRAIN_NAME, *EVALUATION_NAMES) if name in files]
    return {name: _read_file(flag, files[name], cache) for name in wanted}


def _read_saved(flag: str, path: Path) -> dict[str, Any]:
    """The splits of a folder that `DatasetDict.save_to_disk` wrote."""
    import datasets

    with as_user_error(f"{flag} {path}: "):
        try:
            return dict(datasets.load_from_disk(str(path)))
        except IndexError:  # what `datasets` makes of a split without rows
            raise UserError(f"{flag} {path}: a split is empty") from None


def _read_file(flag: str, path: Path, cache: Path) -> Any:
    import datasets
    from pandas.errors import EmptyDataError

    if path.suffix not in SUFFIXES:
        raise UserError(f"{flag} {path}: give one of {', '.join(SUFFIXES)}, a folder or a hub id")
    kind = {".tsv": "csv", ".csv": "csv", ".parquet": "parquet"}.get(path.suffix, "json")
    options: dict[str, Any] = {}
    if kind == "csv":  # words like "null" and "NA" are texts, not missing values
        options = {"keep_default_na": False, "na_filter": False}
    if path.suffix == ".tsv":  # quotes in GLUE's files are text
        options |= {"delimiter": "\t", "quoting": csv.QUOTE_NONE}
    try:
        return datasets.load_dataset(
            kind,
            data_files=glob.escape(str(path.resolve())),
            split="train",
            cache_dir=str(cache),
            **options,
        )
    except Exception as error:
        cause = error.__cause__ or error
        reason = f"cannot be read as {path.suffix[1:]}: {first_line(cause)}"
        if isinstance(cause, EmptyDataError | StopIteration) or NO_ROWS in str(cause):
            reason = "it is empty"
        raise UserError(f"{flag} {path}: {reason}") from error


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
