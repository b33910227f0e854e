"""A run's plan on disk: `sweep.json`, and which of its copies counts."""

import json
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from search.plan.plan import FORMAT, Plan
from search.record.events import RECORD, Event
from trainable.common.errors import UserError
from trainable.common.files import atomic_file, read_checked_json, write_checked_json

SWEEP = "sweep.json"


def written_plan(folder: Path, planned: list[Event]) -> tuple[Event | None, bool]:
    """The plan in `sweep.json`, None where that is damaged or another run's than the plans of the
    record; and whether it is another run's."""
    written = read_checked_json(folder / SWEEP)
    if written is None or not planned:
        return written, False
    parts = ("identity", "provenance")  # which stay as a plan is revised
    foreign = any((written.get(part) or "") != (planned[0].get(part) or "") for part in parts)
    return (None if foreign else written), foreign


def newest_plan(folder: Path, planned: list[Event], written: Event | None) -> Event:
    """Of the plans of the record and of `sweep.json`, the record's where both are as new."""
    plans = [*planned, *([written] if written else [])]
    newest = max(plans, key=revision, default=None)
    written_as = _raw_format(folder) if newest is None else newest.get("format")
    if written_as != FORMAT:
        age = "a newer" if isinstance(written_as, int) and written_as > FORMAT else "an older"
        raise UserError(
            f"RUN {folder}: written by {age} version (this version reads format {FORMAT} only); "
            "use that version, nothing was changed"
        )
    if newest is None:
        raise UserError(
            f"RUN {folder}: {SWEEP} and the plan in {RECORD} are damaged; put one of them back "
            "from a copy"
        )
    return newest


def revision(plan: Event) -> int:
    """0 where it has none, as in another format."""
    number = plan.get("revision")
    return number if isinstance(number, int) else 0


def _raw_format(folder: Path) -> Any:
    """What `sweep.json` has as its format, checksum or not: earlier versions had none."""
    with suppress(OSError, ValueError, TypeError, KeyError, RecursionError):
        return json.loads((folder / SWEEP).read_bytes())["format"]
    return FORMAT


def write_plan(folder: Path, plan: Plan) -> None:
    """Puts it in the place of the one that is there."""
    with atomic_file(folder / SWEEP) as path:
        write_checked_json(path, asdict(plan))
