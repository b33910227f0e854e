"""Runs as folders: found by name, refused where taken, opened by one process at a time."""

import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from search.record.events import RECORD
from search.record.plan_file import SWEEP
from search.record.run import Run, read_run
from search.record.storage import (
    check_writable,
    fetched,
    has_remote_run,
    is_uri,
    local_runs,
    location,
    open_storage,
    plain_uri,
    refuse_secrets,
    remote_names,
    remote_plan,
    split_run,
    uri_of,
)
from trainable.common.errors import UserError, as_user_error
from trainable.common.files import read_checked_json
from trainable.common.pause import PAUSE
from trainable.config.options import writable_folder

LOCK = ".lock"
NAME = r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}"  # of a run
NAME_RULE = "use at most 100 letters, digits, '.', '_' and '-', not '.' or '-' first"


def name_problem(name: str) -> str:
    """Why no run may have this name: `'a/b': use at most ...`; empty if one may."""
    return "" if re.fullmatch(NAME, name) else f"{name[:120]!r}: {NAME_RULE}"


def storage_folder(text: str) -> Path:
    """The absolute folder of all runs, of their local copies where they lie at a URI.

    UserError where it can't be written to.
    """
    if is_uri(text):
        check_writable(plain_uri(text))
        return local_runs(plain_uri(text))
    return Path(writable_folder(text, "--storage "))


def place_of_runs(text: str) -> Path:
    """The same to look in only, where it need not be writable."""
    if is_uri(text):
        open_storage(plain_uri(text))
        return local_runs(plain_uri(text))
    return Path(text).expanduser().resolve()


def refuse_existing(folder: Path) -> None:
    """UserError, which says how to resume it, where there is a run of that name."""
    uri = uri_of(folder.parent)
    remote = uri is not None and has_remote_run(uri, folder.name)
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    # Of a run that was killed before its plan was there.
    left_over = all(name in (LOCK, PAUSE) or name.startswith(f".{SWEEP}.") for name in names)
    if remote or (folder.exists() and not (folder.is_dir() and left_over)):
        raise UserError(
            f"--name {folder.name}: {location(folder)} exists; choose another name, or "
            f"continue it: {resume_command(folder)}"
        )


def resume_command(folder: Path) -> str:
    """What goes on with the run in this folder, to be pasted into a shell."""
    return f"python -m search.run --resume {shlex.quote(location(folder))}"


def name_here(folder: Path) -> str:
    """A run as the commands take it in this working folder: its name, or where it lies."""
    default = folder.parent == Path("runs").resolve()
    return folder.name if default else shlex.quote(location(folder))


def confirmations_of(run: Run) -> list[Run]:
    """The runs beside this one that confirm it, the oldest first; those that can be read."""
    same, runs = {"run": run.folder.name, "started": run.plan.provenance.get("started")}, []
    place, uri = run.folder.parent, uri_of(run.folder.parent)
    for name in {path.parent.name for path in place.glob(f"*/{SWEEP}")}.union(
        remote_names(uri) if uri else ()
    ):
        values = read_checked_json(place / name / SWEEP) or (uri and remote_plan(uri, name)) or {}
        if same.items() <= (values.get("confirms") or {}).items():
            with suppress(UserError):
                runs.append(read_run(fetched(place / name)))
    return sorted(runs, key=lambda made: str(made.plan.provenance.get("started")))


def has_run(folder: Path) -> bool:
    """Whether there is a run in this folder, or what is left of one; a trial's folder is in one."""
    left = (folder / RECORD).is_file() and not (folder.parent / SWEEP).is_file()
    return left or (folder / SWEEP).is_file()


def find_run(flag: str, name: str, storage: Path) -> Path:
    """The folder of a run given by path or name; UserError that names `flag` if there is none."""
    if is_uri(name):
        refuse_secrets(flag, name)
        uri, name = split_run(name, flag)
        storage = local_runs(uri)
        candidates = [storage / name]
    else:
        candidates = [Path(name).expanduser(), storage / name]
    with as_user_error(f"{flag} {name[:80]}: ", OSError):  # of a name too long
        for given in candidates:
            if has_run(folder := fetched(given)):
                return folder.resolve()
    names = {path.parent.name for path in storage.glob(f"*/{SWEEP}")}
    at = uri_of(storage)
    there = ", ".join(sorted(names | set(remote_names(at) if at else ()))) or "none"
    what = "not a run" if candidates[0].exists() else "no run of that name"
    raise UserError(f"{flag} {name}: {what}; runs in {at or storage}: {there}")


def open_run(name: str, storage: str) -> Run:
    """The run that a command is given as RUN, by path or name."""
    return read_run(find_run("RUN", name, place_of_runs(storage)))


@contextmanager
def run_lock(folder: Path) -> Iterator[None]:
    """Keeps every other process from writing this run; UserError where one does already."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / LOCK, timeout=0):
            yield
    except Timeout:
        raise UserError(
            f"RUN {folder}: another process is running it; wait for it to finish, or stop it"
        ) from None
