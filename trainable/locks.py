"""Locks that the system takes back however the process that holds them ends."""

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LOCK = ".lock"


class LockedError(Exception):
    """Another process holds the lock; the message names it."""


@contextmanager
def locked(folder: Path, *, wait: bool) -> Iterator[None]:
    """Holds the folder's lock file; where another process does, waits or raises LockedError."""
    descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            holder = os.read(descriptor, 200).decode(errors="replace")
            raise LockedError(holder or "another process") from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
        yield
    finally:
        os.close(descriptor)
