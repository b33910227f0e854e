"""A search from Python, for notebooks and scripts: `search.find(...)` and what comes of it."""

import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd

from search.exit_codes import INTERRUPTED, USER_ERROR
from search.record.checkpoints import has_checkpoint
from search.record.run import Run, read_run
from search.record.run_folders import (
    find_run,
    name_problem,
    place_of_runs,
    refuse_existing,
    storage_folder,
)
from search.record.storage import fetched, is_uri
from search.results.recommendation import recommended
from search.results.table import trials_table
from trainable.common.errors import UserError

OF_FIND = ".of-search-find"  # marks a folder of tables as written here


class SearchResult:
    """A run on disk, by name or path: finished, interrupted or still running."""

    def __init__(self, run: str | Path, storage: str | Path = "runs") -> None:
        """UserError if there is no such run."""
        self.folder = find_run("run", str(run), place_of_runs(str(storage)))

    def _read(self) -> Run:
        return read_run(fetched(self.folder))

    def table(self) -> pd.DataFrame:
        """One row a trial, as `search.results.table.trials_table` describes it."""
        return trials_table(self._read())

    def best(self) -> "pd.Series[Any]":
        """The row of the trial that is recommended and exported; UserError if none finished."""
        run = self._read()
        if (chosen := recommended(run)) is None:
            raise UserError(f"run {run.folder.name}: no trial has finished")
        kept = [trial for trial in chosen.trials if has_checkpoint(run, trial)]
        digest = (kept or chosen.trials)[0].config.digest
        return trials_table(run).set_index("digest", drop=False).loc[digest]

    def export(self, path: str | Path, **options: Any) -> Path:
        """Writes that trial's student as a Hugging Face folder; `options` are flags of
        `search.export`, such as `int8=True`. Raises as `find`."""
        _call("search.export", str(self.folder), str(path), *_flags(options))
        return Path(path)

    def report(self, **options: Any) -> Path:
        """Writes the report, and returns its page; `options` are flags of `search.report`."""
        shown = _call("search.report", str(self.folder), *_flags(options))
        return Path(shown.rpartition("Report: ")[2].partition(" (also ")[0])

    def resume(self, **options: Any) -> "SearchResult":
        """Continues the run; `options` that extend it, such as `seeds=3`, add trials."""
        _call("search.run", "--resume", str(self.folder), *_flags(options))
        return self


def find(
    dataset: Any = None,
    *,
    space: str = "recipe",
    name: str | None = None,
    storage: str | Path = "runs",
    **options: Any,
) -> SearchResult:
    """Runs a search to its end, as `python -m search.run` in a process of its own, and prints what
    that prints.

    `dataset` is a path or hub id, a pandas frame with texts and labels, or frames (or a
    `datasets.DatasetDict`) by split: `train`, perhaps `validation` and `test`. `options` are the
    command's flags, with underscores: `time_budget="2h"`, `text_column="review"`,
    `set={"epochs": 3}`.

    UserError for what can't be used, before any training. RuntimeError if trials failed for good,
    KeyboardInterrupt when interrupted: `SearchResult(name).resume()` continues the run, the same
    call begins it where there is none yet.
    """
    if options.get("dry_run"):
        raise UserError("dry_run: makes no run to return; python -m search.run --dry-run estimates")
    name = name or f"search-{datetime.now():%Y%m%d-%H%M%S}"
    if problem := name_problem(name):
        raise UserError(f"name {problem}")
    source = _as_source(dataset, str(storage), name)
    places = {"space": space, "name": name, "storage": storage, "dataset": source}
    try:
        _call("search.run", *_flags(places | options))
    except (Exception, KeyboardInterrupt):
        begun = (storage_folder(str(storage)) / name).exists()
        if source and not begun and not isinstance(dataset, str | Path):
            shutil.rmtree(source)  # tables that were written for it
        raise
    return SearchResult(place_of_runs(str(storage)) / name)


def _as_source(dataset: Any, storage: str, name: str) -> str | None:
    """A path or hub id as it is; tables are written beside the run, which reads them again when it
    is resumed."""
    if dataset is None or isinstance(dataset, str | Path):
        return None if dataset is None else str(dataset)
    from trainable.data.tables import tables_of

    tables = tables_of({"train": dataset} if isinstance(dataset, pd.DataFrame) else dataset)
    if is_uri(storage):
        raise UserError(f"storage {storage}: give the dataset as a path or hub id, too")
    refuse_existing(run := storage_folder(storage) / name)  # whose data may lie there
    folder = run.with_name(f"{name}-data")
    if folder.exists() and not (folder / OF_FIND).exists():
        raise UserError(f"name {name}: {folder} exists, where its data would lie; choose another")
    shutil.rmtree(folder, ignore_errors=True)  # of a call that was killed before there was a run
    folder.mkdir(parents=True)
    (folder / OF_FIND).touch()
    for split, table in tables.items():
        table.to_parquet(folder / f"{split}.parquet")
    return str(folder)


def _flags(options: Mapping[str, Any]) -> list[str]:
    """`time_budget="2h"` as `--time-budget 2h`; a dict as KEY=VALUE each, a list with commas, True
    and False as a switch, None as nothing."""
    flags: list[str] = []
    for name, value in options.items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            flags.append(f"--{flag}" if value else f"--no-{flag}")
        elif isinstance(value, Mapping):
            flags += [part for k, v in value.items() for part in (f"--{flag}", f"{k}={v}")]
        elif isinstance(value, list | tuple):
            flags += [f"--{flag}", ",".join(map(str, value))]
        elif isinstance(value, pd.DataFrame):
            raise UserError(f"{name}: give a path or hub id; tables go into the dataset, by split")
        elif value is not None:
            flags += [f"--{flag}", str(value)]
    return flags


def _call(module: str, *arguments: str) -> str:
    """What a command printed, which is printed here, too; raises as `find`."""
    process = subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        process_group=0,  # one Ctrl-C is one, in a terminal and in a notebook
    )
    assert process.stdout is not None
    lines: list[str] = []
    interrupted = False
    while True:
        try:
            for line in process.stdout:
                print(line, end="", flush=True)
                lines.append(line)
            break
        except KeyboardInterrupt:  # the run is saved; another one ends it at once
            process.send_signal(signal.SIGINT)
            interrupted = True
    code = process.wait()
    if interrupted or code == INTERRUPTED:
        raise KeyboardInterrupt
    if code == USER_ERROR:
        last = next(line for line in reversed(lines) if line.strip())
        raise UserError(last.strip().removeprefix("error: "))
    if code:
        raise RuntimeError(f"{module} ended with exit code {code}; its output says why")
    return "".join(lines)
