"""Runs in a storage that is given by its URI, and their local copies.

The sweep works on a local copy of its run's folder, where events can be appended and are on disk at
once; a thread takes what changed to the storage. What trials save they take there themselves.
"""

import json
import os
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from search.record import ENDED, RECORD, SWEEP, Run, read_run
from trainable.arguments import default_cache
from trainable.errors import UserError, first_line
from trainable.files import read_json, whole_file
from trainable.lease import LEASE, LEASE_SECONDS, Lease, LeaseLostError
from trainable.locks import LOCK, LockedError, locked

if TYPE_CHECKING:
    from rich.console import Console

    from search.interruption import Interruption
    from trainable.storage import Storage
    from trainable.task import Task

ADDRESS = ".storage"  # in a folder of local copies: the URI that they are of
SHARED = "shared.json"  # in a run's folder: what its storage has of what trials share, by path
WEIGHTS = ".safetensors"
LOOK_SECONDS = 2.0  # between two looks at what changed
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
    files = [file for file in storage.sizes() if not _is_hidden(file)]
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


def _is_hidden(name: str) -> bool:
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
    storage, ended = open_storage(uri).below(run.folder.name), _ended_folders(run)
    try:
        for file in storage.sizes():
            trial, _, name = file.rpartition("/")
            here = trial in ended and (run.folder / file).exists()
            if trial in ended and name.startswith("student-") and not here:
                with suppress(FileNotFoundError):
                    storage.download(file, run.folder / file)
    except OSError as error:
        raise _unreachable(uri, error) from None


def _ended_folders(run: Run) -> set[str]:
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


class Mirror:
    """Takes a run's files to its storage as they change, in a thread of its own, and at the end.

    What fails is tried again at the next look, and told once until it succeeds. OSError, whatever
    went wrong, at the beginning and at the end where that fails, too; the local copy has all of it
    then. UserError at the beginning where the storage has events that the copy lacks; where it gets
    such later on, the lease is lost. Nothing is taken there without it.
    """

    def __init__(self, folder: Path, storage: "Storage", console: "Console", lease: Lease) -> None:
        self._folder, self._storage, self._console = folder, storage, console
        self._lease = lease
        self._taken: dict[str, tuple[int, int]] = {}  # size and time of change, by name
        self._sizes: dict[str, int] | None = None  # in the storage, before the first look
        self._ended: set[str] = set()
        self._failing = False
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Mirror":
        self._refuse_older_copy()
        self.sync()
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        self._over.set()
        self._thread.join()
        if self._lease.lost:
            return
        self._ended.clear()
        self.sync()
        with _any_as_os_error():
            for name in self._storage.leftovers():  # no trial of this session is left to write
                self._storage.remove(name)
            if kind is None:
                fetch_students(read_run(self._folder))

    def _refuse_older_copy(self) -> None:
        with _any_as_os_error():
            older = self._lacks_events()
        if older:
            raise UserError(
                f"RUN {self._folder.name}: {self._storage.uri} has events that the copy in "
                f"{self._folder} lacks, of a session elsewhere; wait for its end, then give the "
                "same command again"
            )

    def _lacks_events(self) -> bool:
        """Whether the storage has events that the copy has not."""
        there, here = self._storage.read(RECORD), (self._folder / RECORD).read_bytes()
        return not (there is None or here.startswith(there) or _events(there) <= _events(here))

    def sync(self) -> None:
        """Takes there what changed since the last time, the record first; see above for errors."""
        with _any_as_os_error():
            if self._sizes is None:
                self._sizes = self._storage.sizes()
            for name, path in self._files():
                if self._lease.lost:
                    raise LeaseLostError(self._lease.lost)
                try:
                    self._take(name, path)
                except FileNotFoundError:
                    if path.exists():  # else removed meanwhile
                        raise
            self._tidy()

    def _take(self, name: str, path: Path) -> None:
        stat = path.stat()
        state = stat.st_size, stat.st_mtime_ns
        known = (self._sizes or {}).get(name) == stat.st_size and name not in (RECORD, SWEEP)
        if self._taken.get(name) != state and not (known and name not in self._taken):
            if name == RECORD:
                self._check_alone()
            self._storage.upload(path, name)
        self._taken[name] = state

    def _check_alone(self) -> None:
        """LeaseLostError where another session writes to the run, too."""
        self._lease.check()
        if self._lacks_events():
            self._lease.lose(
                f"{self._storage.uri} has got events of another session, and this one takes "
                "nothing more there"
            )
            raise LeaseLostError(self._lease.lost)

    def _watch(self) -> None:
        pause = LOOK_SECONDS
        while not self._over.wait(pause):
            start = time.monotonic()
            try:
                self.sync()
                self._failing = False
            except LeaseLostError:
                return
            except OSError as error:
                self._tell(error)
            pause = max(LOOK_SECONDS, 2 * (time.monotonic() - start))

    def _tell(self, error: OSError) -> None:
        if not self._failing:
            with suppress(OSError, SystemExit):  # a closed terminal; what rich makes of a pipe
                self._console.print(
                    f"{self._storage.uri} gets nothing at present, tried again every few seconds: "
                    f"{first_line(error)}",
                    soft_wrap=True,
                )
        self._failing = True

    def _files(self) -> Iterator[tuple[str, Path]]:
        """What is taken there: not the weights, and nothing that is hidden, such as locks."""
        found = {str(path.relative_to(self._folder)): path for path in self._folder.rglob("*")}
        for name in sorted(found, key=lambda name: (name != RECORD, name)):
            if not _is_hidden(name) and not name.endswith(WEIGHTS) and found[name].is_file():
                yield name, found[name]

    def _tidy(self) -> None:
        """Removes there what `search.disk.prune` removes here."""
        from search.disk import kept_trials

        run = read_run(self._folder)
        ended = _ended_folders(run)
        if ended == self._ended:
            return
        kept = {trial.config.folder_name for trial in kept_trials(run)}
        for file in self._storage.sizes():
            trial, _, name = file.rpartition("/")
            needless = name.startswith("state-") or trial not in kept
            if trial in ended and name.endswith(WEIGHTS) and needless:
                self._storage.remove(file)
        self._ended = ended


def _events(record: bytes) -> set[bytes]:
    """A record's events, as they are written; lines that a kill cut short are none."""
    found = set()
    for line in record.split(b"\n"):
        with suppress(ValueError):
            json.loads(line)
            found.add(line)
    return found


@contextmanager
def _any_as_os_error() -> Iterator[None]:
    """Storages fail in other ways, too: pyarrow's errors are not all of one family."""
    try:
        yield
    except (OSError, LockedError):
        raise
    except UserError as error:
        raise OSError(str(error)) from error
    except Exception as error:
        raise OSError(f"{type(error).__name__}: {first_line(error)}") from error


@contextmanager
def copied_to_storage(
    folder: Path, console: "Console", interruption: "Interruption"
) -> Iterator[None]:
    """Keeps a run's storage in step with its local copy, which the caller has locked; does nothing
    for a run in a folder.

    Raises as `Mirror` does, and UserError where another session has the run. One that takes it over
    later on pauses this one.
    """
    uri = uri_of(folder.parent)
    if uri is None:
        yield
        return
    storage = open_storage(uri).below(folder.name)
    lease = Lease(storage, folder, interruption.pause)
    _take_lease(lease, storage.uri, console, interruption)
    try:
        with Mirror(folder, storage, console, lease):
            yield
    finally:
        lease.release()


def _take_lease(lease: Lease, uri: str, console: "Console", interruption: "Interruption") -> None:
    """Takes the lease on the run that has this URI; raises as `copied_to_storage` does."""

    def say(holder: str) -> None:
        console.print(
            f"{uri}: {holder} has not ended its session; waiting up to {LEASE_SECONDS:.0f} s to "
            "see whether it goes on.",
            soft_wrap=True,
        )

    try:
        with _any_as_os_error():
            lease.take(say, lambda: interruption.requested)
    except LockedError as holder:
        raise UserError(
            f"RUN {uri}: {holder} is running it; wait for its end, or stop it first"
        ) from None
