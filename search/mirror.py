"""A run's storage kept in step with its local copy.

The sweep works on a local copy of its run's folder, where events can be appended and are on disk at
once; a thread takes what changed to the storage. What trials save they take there themselves.
"""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from search.interruption import Interruption
from search.record import RECORD, SWEEP, read_run
from search.remote_runs import (
    WEIGHTS,
    ended_folders,
    fetch_students,
    is_hidden,
    open_storage,
    uri_of,
)
from trainable.errors import UserError, first_line
from trainable.lease import LEASE_SECONDS, Lease, LeaseLostError
from trainable.locks import LockedError

if TYPE_CHECKING:
    from trainable.storage import Storage  # with pyarrow, which takes a moment to load

LOOK_SECONDS = 2.0  # between two looks at what changed


class Mirror:
    """Takes a run's files to its storage as they change, in a thread of its own, and at the end.

    What fails is tried again at the next look, and told once until it succeeds. OSError, whatever
    went wrong, at the beginning and at the end where that fails, too; the local copy has all of it
    then. UserError at the beginning where the storage has events that the copy lacks; where it gets
    such later on, the lease is lost. Nothing is taken there without it.
    """

    def __init__(self, folder: Path, storage: "Storage", console: Console, lease: Lease) -> None:
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
        if kind is None:
            self._finish()
            with _any_as_os_error():
                fetch_students(read_run(self._folder))
        else:
            with suppress(OSError):  # what ended the session is told
                self._finish()

    def _finish(self) -> None:
        self.sync()
        with _any_as_os_error():
            for name in self._storage.leftovers():  # no trial of this session is left to write
                self._storage.remove(name)

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
        there = self._storage.read(RECORD)
        if there is None:
            return False  # whatever has become of the copy's
        here = (self._folder / RECORD).read_bytes()
        return not (here.startswith(there) or _events(there) <= _events(here))

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
            if not is_hidden(name) and not name.endswith(WEIGHTS) and found[name].is_file():
                yield name, found[name]

    def _tidy(self) -> None:
        """Removes there what `search.disk.prune` removes here."""
        from search.disk import kept_trials

        run = read_run(self._folder)
        ended = ended_folders(run)
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
def copied_to_storage(folder: Path, console: Console, interruption: Interruption) -> Iterator[None]:
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


def _take_lease(lease: Lease, uri: str, console: Console, interruption: Interruption) -> None:
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
