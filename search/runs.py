"""Runs as folders: found by name, refused where taken, opened by one process at a time."""

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from search.mirrored_cache import original
from search.record import RECORD, SWEEP
from search.remote_runs import (
    fetch_run,
    has_remote_run,
    is_uri,
    join_name,
    local_runs,
    refuse_secrets,
    remote_names,
    split_run,
    uri_of,
)
from trainable.errors import UserError
from trainable.locks import LOCK, LockedError, locked
from trainable.pause import PAUSE


def refuse_existing(folder: Path) -> None:
    """UserError, which says how to resume it, where there is a run of that name."""
    uri = uri_of(folder.parent)
    if uri is not None and has_remote_run(uri, folder.name):
        raise UserError(
            f"--name {folder.name}: {join_name(uri, folder.name)} exists; choose another name, or "
            f"go on with it: {resume_command(folder)}"
        )
    if folder.exists() and not (folder.is_dir() and all(map(_is_left_over, folder.iterdir()))):
        raise UserError(
            f"--name {folder.name}: {original(folder)} exists; choose another name, or go on "
            f"with it: {resume_command(folder)}"
        )


def _is_left_over(path: Path) -> bool:
    """Whether it is of a run that was killed before its plan was there."""
    return path.name in (LOCK, PAUSE) or path.name.startswith(f".{SWEEP}.")


def resume_command(folder: Path) -> str:
    """What goes on with the run in this folder, to be pasted into a shell."""
    uri = uri_of(folder.parent)
    run = str(folder) if uri is None else join_name(uri, folder.name)
    return f"python -m search.run --resume {shlex.quote(run)}"


def has_run(folder: Path) -> bool:
    """Whether there is a run in this folder, or what is left of one."""
    return (folder / SWEEP).is_file() or (folder / RECORD).is_file()


def find_run(flag: str, name: str, storage: Path) -> Path:
    """The folder of a run given by path or name; UserError that names `flag` if there is none."""
    if is_uri(name):
        refuse_secrets(flag, name)
        uri, name = split_run(name)
        storage = local_runs(uri)
        places = [storage / name]
    else:
        places = [Path(name).expanduser(), storage / name]
    for place in places:
        folder, uri_of_copy = place, uri_of(place.parent)
        if uri_of_copy is not None:
            folder = fetch_run(uri_of_copy, folder.name)
        if has_run(folder):
            return folder.resolve()
    names = {path.parent.name for path in storage.glob(f"*/{SWEEP}")}
    at = uri_of(storage)
    said = ", ".join(sorted(names | set(remote_names(at) if at else ()))) or "none"
    raise UserError(f"{flag} {name}: no such run in {at or storage}; there: {said}")


@contextmanager
def alone_with(folder: Path) -> Iterator[None]:
    """Keeps every other process from writing this run; UserError where one does already."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with locked(folder, wait=False):
            yield
    except LockedError as holder:
        raise UserError(
            f"RUN {folder}: {holder} is running it; wait for its end, or stop it first"
        ) from None
