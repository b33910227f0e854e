"""Who may write to a run in a storage: the session whose lease lies there.

Its holder renews it for as long as it lives. Two machines' clocks are never compared: a lease that
stays as it is for LEASE_SECONDS of the reader's own time has run out. Storages can't make a file
only where there is none; whoever takes a lease therefore looks again a little later whether
somebody else has taken it as well.
"""

import json
import os
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from trainable.files import whole_file
from trainable.locks import LockedError

if TYPE_CHECKING:
    from trainable.storage import Storage  # with pyarrow, which takes a moment to load

LEASE = ".lease"  # in a run's folder in a storage; in its local copy: the session that had it last
LEASE_SECONDS = 60.0
RENEW_SECONDS = 10.0
SETTLE_SECONDS = 2.0  # more than a storage takes to write a small file
LOOK_SECONDS = 1.0  # between two looks at another's lease


class LeaseLostError(OSError):
    """Another session has the run; the message names it."""


def check_lease(run: "Storage", session: str) -> None:
    """LeaseLostError where the run in the storage is not this session's any more."""
    held = _lease_of(run) or {}
    if held.get("session") != session:
        raise LeaseLostError(
            f"{run.uri}: {_holder(held)} has gone on with it, and this session takes nothing more "
            "there"
        )


def session_of(copy: Path) -> str:
    """The session that took the lease last for this local copy of a run; empty for none."""
    try:
        return (copy / LEASE).read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""


class Lease:
    """A session's lease on a run in a storage, which it writes to from one local copy.

    `lost` says why it has ended early, and is empty until it has; `on_loss` is called with it.
    """

    def __init__(self, run: "Storage", copy: Path, on_loss: Callable[[str], None]) -> None:
        self.session = uuid4().hex
        self.lost = ""
        self._run, self._copy, self._on_loss = run, copy, on_loss
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._renew, daemon=True)

    def take(self, on_wait: Callable[[str], None], stopped: Callable[[], bool]) -> None:
        """Takes the lease, and keeps it in a thread of its own until `release`.

        The caller holds the copy's lock: who had the lease for the same copy is gone. Any other is
        given time to renew it; `on_wait` is told who that is, and KeyboardInterrupt raised once
        `stopped`. LockedError names the session that goes on, or is quicker.
        """
        held = _lease_of(self._run)
        if held is not None and held.get("session") != session_of(self._copy):
            self._outlast(held, on_wait, stopped)
        with whole_file(self._copy / LEASE) as path:
            path.write_text(self.session, encoding="utf-8")
        self._write()
        try:
            time.sleep(SETTLE_SECONDS)
            held = _lease_of(self._run) or {}
            if held.get("session") != self.session:
                raise LockedError(_holder(held))
        except BaseException:
            self._give_back()
            raise
        self._thread.start()

    def check(self) -> None:
        """LeaseLostError where it has ended early."""
        try:
            check_lease(self._run, self.session)
        except LeaseLostError as error:
            self.lose(str(error))
            raise

    def lose(self, why: str) -> None:
        """Ends the lease, of a session that is not alone with the run."""
        if not self.lost:
            self.lost = why
            self._on_loss(why)

    def release(self) -> None:
        """Gives back what was taken."""
        self._over.set()
        self._thread.join()
        self._give_back()

    def _give_back(self) -> None:
        with suppress(Exception):  # of any kind, as storages have them; it runs out by itself
            check_lease(self._run, self.session)
            self._run.remove(LEASE)

    def _outlast(
        self, held: dict[str, Any], on_wait: Callable[[str], None], stopped: Callable[[], bool]
    ) -> None:
        on_wait(_holder(held))
        end = time.monotonic() + LEASE_SECONDS
        while time.monotonic() < end:
            if stopped():
                raise KeyboardInterrupt
            time.sleep(LOOK_SECONDS)
            found = _lease_of(self._run)
            if found is None:
                return
            if found != held:
                raise LockedError(_holder(found))

    def _renew(self) -> None:
        while not self._over.wait(RENEW_SECONDS):
            try:
                self.check()
                self._write()
            except LeaseLostError:
                return
            except Exception:  # the storage fails, of which the files taken there tell
                continue

    def _write(self) -> None:
        values = {
            "session": self.session,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "renewed": time.time(),
        }
        self._run.write(LEASE, json.dumps(values).encode())


def _lease_of(run: "Storage") -> dict[str, Any] | None:
    """What lies in the storage: None where nothing does, nothing known where it is damaged."""
    content = run.read(LEASE)
    if content is None:
        return None
    with suppress(ValueError):
        if isinstance(values := json.loads(content), dict):
            return values
    return {}


def _holder(lease: dict[str, Any]) -> str:
    """As `trainable.locks` names one."""
    if not {"host", "pid"} <= lease.keys():
        return "another session"
    return f"process {lease['pid']} on {lease['host']}"
