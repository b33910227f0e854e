"""Runs in a storage that is given by its URI, and their local copies.

A command works on the local copy of a run's folder; `search.mirror` keeps the storage in step.
"""

import os
import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from search.record import ENDED, RECORD, Run
from trainable.arguments import default_cache
from trainable.errors import UserError, first_line
from trainable.files import read_json, whole_file
from trainable.lease import LEASE
from trainable.locks import LOCK, LockedError, locked

if TYPE_CHECKING:
    from trainable.storage import Storage
    from trainable.task import Task

ADDRESS = ".storage"  # in a folder of local copies: the URI that they are of
SHARED = "shared.json"  # in a run's folder: what its storage has of what trials share, by path
WEIGHTS = ".safetensors"
# In what comes before the last @ a colon that no port follows, or a query that carries a secret.
SECRET = r"[^:]*://[^/?#@]*:(?!\d+(/|$))[^?#]*@.*|.*[?&](client_secret|sig)=.*"


def is_uri(text: str) -> bool:
    """Whether a storage or run is given by a URI rather than by a path."""
    return "://" in text


def local_runs(uri: str) -> Path:
    """The folder of the local copies of a storage's runs; made where it is not there."""
    from trainable.storage import runs_here  # with pyarrow, which takes a moment to load

    folder = runs_here(uri)
    folder.mkdir(parents=True, exist_ok=True)
    if uri_of(folder) != uri:
        with whole_file(folder / ADDRESS) as path:
            path.write_text(uri, encoding="utf-8")
    return folder


def uri_of(runs: Path) -> str | None:
    """The URI of the storage that this folder has copies of runs of; None for any other folder."""
    try:
        return (runs / ADDRESS).read_text(encoding="utf-8")
    except OSError:
        return None


def storage_of(runs: Path) -> str:
    """The URI of what a folder of runs has copies of, or of the folder itself."""
    return uri_of(runs) or runs.as_uri()


def plain_uri(uri: str) -> str:
    """The same for all ways to write it that differ in a closing slash."""
    parts = urlsplit(uri)
    return urlunsplit(parts._replace(path=parts.path.rstrip("/")))


def split_run(uri: str) -> tuple[str, str]:
    """The storage and the name of a run that is given by its own URI."""
    parts = urlsplit(plain_uri(uri))
    path, _, name = parts.path.rpartition("/")
    return urlunsplit(parts._replace(path=path)), name


def join_name(uri: str, name: str) -> str:
    """The URI of a run, from that of its storage."""
    parts = urlsplit(uri)
    return urlunsplit(parts._replace(path=f"{parts.path}/{name}"))


def where(folder: Path) -> str:
    """Where a run lies, in words: its URI and its copy here, or its folder."""
    uri = uri_of(folder.parent)
    return str(folder) if uri is None else f"{join_name(uri, folder.name)}, a copy in {folder}"


def refuse_secrets(flag: str, uri: str) -> None:
    """UserError, which does not repeat it, where a URI has a password or key in it.

    The URI is kept with the run, in its files and its report.
    """
    if re.fullmatch(SECRET, uri, re.DOTALL):
        scheme = uri.partition("://")[0]
        raise UserError(
            f"{flag} {scheme}://...: has a password or key in it, which would stand in the run's "
            "files; give the URI without, and the key as the environment variables (for s3 "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY) or the profile of that service"
        )


def check_writable(uri: str) -> None:
    """UserError where the URI is of no file system that is known, or can't be written to."""
    storage = open_storage(uri)
    try:
        storage.try_writing()
    except OSError as error:
        raise _unreachable(uri, error) from None


def has_remote_run(uri: str, name: str) -> bool:
    """Whether the storage has a run of that name."""
    return open_storage(uri).below(name).read(RECORD) is not None


def remote_names(uri: str) -> list[str]:
    """The runs of a storage."""
    try:
        return [name for name in open_storage(uri).names() if not name.startswith(".")]
    except OSError as error:
        raise _unreachable(uri, error) from None


def fetch_run(uri: str, name: str) -> Path:
    """The local copy of a run, as far as the storage has it; UserError where it can't be reached.

    A copy that has all that the storage has, and perhaps events of a session that was killed before
    they were taken there, stays. Any other gives way: the run went on elsewhere. Students are left
    where they are; `fetch_students` brings them.
    """
    storage, folder = open_storage(uri).below(name), local_runs(uri) / name
    try:
        there = storage.read(RECORD)
        here = folder / RECORD
        if there is None:
            return folder
        folder.mkdir(parents=True, exist_ok=True)
        with suppress(LockedError), locked(folder, wait=False):  # who runs it here has it all
            if not (here.is_file() and here.read_bytes().startswith(there)):
                _replace(folder, storage)
    except OSError as error:
        raise _unreachable(uri, error) from None
    return folder


def _replace(folder: Path, storage: "Storage") -> None:
    """Puts what the storage has in the place of a local copy; weights stay where both have them.

    The record comes last: a copy that was cut short has none, and is made anew.
    """
    files = [file for file in storage.sizes() if not is_hidden(file)]
    weights = [folder / file for file in files if file.endswith(WEIGHTS)]
    kept = {folder / LOCK, folder / LEASE, *weights}
    for path in sorted(folder.rglob("*"), reverse=True):  # what is in a folder before it
        if path.is_dir():
            with suppress(OSError):  # something is left in it
                path.rmdir()
        elif path not in kept:
            path.unlink()
    for file in sorted(files, key=lambda file: file == RECORD):
        if not file.endswith(WEIGHTS):
            storage.download(file, folder / file)


def is_hidden(name: str) -> bool:
    """Whether a file of a run is none of its contents, such as a lock."""
    return any(part.startswith(".") for part in Path(name).parts)


def fetch_students(run: Run) -> None:
    """Brings the students of trials that have ended here, where the run lies in a storage.

    Only theirs: a trial that trains replaces its own. One that the sweep has removed since it was
    listed is passed over. UserError where the storage can't be reached.
    """
    uri = uri_of(run.folder.parent)
    if uri is None:
        return
    storage, ended = open_storage(uri).below(run.folder.name), ended_folders(run)
    try:
        for file in storage.sizes():
            trial, _, name = file.rpartition("/")
            here = trial in ended and (run.folder / file).exists()
            if trial in ended and name.startswith("student-") and not here:
                with suppress(FileNotFoundError):
                    storage.download(file, run.folder / file)
    except OSError as error:
        raise _unreachable(uri, error) from None


def ended_folders(run: Run) -> set[str]:
    """The names of the folders of trials that have ended."""
    return {t.config.folder_name for t in run.trials.values() if t.outcome in ENDED}


def task_of(run: Run) -> "Task":
    """What a run's trials share; fetched, where it is gone here, from the storage that has it.

    Where none has, the task says where it was.
    """
    from trainable.folders import sealed_values  # with torch, which takes seconds to load
    from trainable.remote import folder_here
    from trainable.task import Task

    task = Task.from_dict(run.sweep["task"])
    if not (run.folder / SHARED).is_file():
        return task
    digests, uri, here = read_json(run.folder / SHARED), storage_of(run.folder.parent), {}
    for folder in task.folders():
        path = str(folder)
        here[path] = path
        if path in digests and sealed_values(folder) is None:
            with suppress(OSError):
                here[path] = str(folder_here(uri, digests[path]))
    return task.moved(here)


def cache_here(run: Run) -> Path:
    """The cache for what must be made for a run: its own, where this machine can write to it.

    Elsewhere, where a run can go on that lies in a storage or has its shared folders in one, it is
    this user's.
    """
    given = Path(run.sweep["requests"][0]["cache"])
    goes_on_elsewhere = uri_of(run.folder.parent) is not None or (run.folder / SHARED).is_file()
    return default_cache() if goes_on_elsewhere and not os.access(given, os.W_OK) else given


def open_storage(uri: str) -> "Storage":
    """The storage; UserError for a URI of no file system that is known, or with a secret in it."""
    from trainable.storage import Storage

    refuse_secrets("--storage", uri)
    return Storage(uri)


def _unreachable(uri: str, error: OSError) -> UserError:
    return UserError(f"--storage {uri}: {first_line(error)}")
