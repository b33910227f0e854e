"""Where runs lie: a folder, or a URI of any file system that pyarrow knows, as Ray Tune takes it.

Ray moves checkpoints and its own files. A run's record is written to a local folder, event by
event; where the run lies at a URI that is a copy, and the record is copied there after each event.
"""

import json
import os
import re
import socket
import sys
from contextlib import suppress
from functools import cache
from hashlib import sha256
from itertools import count
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import psutil
from pyarrow.fs import FileSelector, FileSystem, FileType, LocalFileSystem

from search.record.events import RECORD, merged
from search.record.plan_file import SWEEP
from trainable.common.errors import UserError, as_user_error
from trainable.common.files import atomic_file, parse_checked_json
from trainable.common.pause import PAUSE
from trainable.config.options import users_cache

ADDRESS = ".storage"  # in a folder of local copies: the URI that they are copies of
DIGESTS = "shared.json"  # in a run's folder: what its storage has of its inputs, by path
COPIED = (SWEEP, DIGESTS, RECORD)  # the record last: a copy that was cut short has none
ANSWER_SECONDS = 9.0  # that a storage has for its first answer
SESSION_LOCK = ".session"  # beside the record at a URI: which session writes to it
# In what comes before the last @ a colon that no port follows, or a query that carries a secret.
SECRET = r"[^:]*://[^/?#@]*:(?!\d+(/|$))[^?#]*@.*|.*[?&](client_secret|sig)=.*"


def is_uri(text: str) -> bool:
    """Whether a storage or run is given by a URI rather than by a path."""
    return "://" in text


def plain_uri(uri: str, flag: str = "--storage") -> str:
    """The same for all ways to write it that differ in a closing slash; UserError for no folder."""
    parts = urlsplit(uri)
    if not parts.netloc and not parts.path.strip("/"):
        raise UserError(f"{flag} {uri}: names no folder; give one, such as s3://bucket/runs")
    return urlunsplit(parts._replace(path=parts.path.rstrip("/")))


def split_run(uri: str, flag: str) -> tuple[str, str]:
    """The storage and the name of a run that is given by its own URI."""
    parts = urlsplit(plain_uri(uri, flag))
    path, _, name = parts.path.rpartition("/")
    return urlunsplit(parts._replace(path=path)), name


def join_name(location: str, name: str) -> str:
    """The path or URI of what lies in a folder, a URI's query kept."""
    if not is_uri(location):
        return str(Path(location) / name)
    parts = urlsplit(location)
    return urlunsplit(parts._replace(path=f"{parts.path}/{name}"))


def local_runs(uri: str) -> Path:
    """The folder of the local copies of a storage's runs; made where it is not there."""
    folder = Path(users_cache()) / "runs" / sha256(uri.encode()).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    if uri_of(folder) != uri:
        with atomic_file(folder / ADDRESS) as path:
            path.write_text(uri, encoding="utf-8")
    return folder


def uri_of(runs: Path) -> str | None:
    """The URI of the storage that this folder has copies of runs of; None for any other folder."""
    try:
        return (runs / ADDRESS).read_text(encoding="utf-8")
    except OSError:
        return None


def storage_of(runs: Path) -> str:
    """What Ray is given as storage: the folder of all runs, or the URI that it has copies of."""
    return uri_of(runs) or str(runs)


def location(run_folder: Path) -> str:
    """Where a run lies: its URI, or its folder."""
    return join_name(storage_of(run_folder.parent), run_folder.name)


def open_storage(where: str) -> tuple[FileSystem, str]:
    """The file system of a path or URI, and the path in it.

    UserError, which names --storage, for a URI of an unknown file system, or with a secret.
    """
    if not is_uri(where):
        return LocalFileSystem(), where
    refuse_secrets("--storage", where)
    with as_user_error(f"--storage {where}: "):  # pyarrow's own, ImportError, a plug-in's
        _check_answers(where)
        filesystem, path = FileSystem.from_uri(where)
    return filesystem, path


@cache
def _check_answers(uri: str) -> None:
    """TimeoutError where a storage does not answer: pyarrow's own calls wait for minutes."""

    def ask() -> None:
        with suppress(Exception):  # which shows when it is used
            filesystem, path = FileSystem.from_uri(uri)
            filesystem.get_file_info(path)

    (thread := Thread(target=ask, daemon=True)).start()
    thread.join(ANSWER_SECONDS)
    if thread.is_alive():
        raise TimeoutError(f"no answer in {ANSWER_SECONDS:.0f} s; can it be reached from here?")


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
    filesystem, path = open_storage(uri)
    probe = f"{path}/.probe.{uuid4().hex[:8]}"
    with as_user_error(f"--storage {uri}: "):  # also a ValueError, where it names no folder
        filesystem.create_dir(path, recursive=True)
        write_bytes(filesystem, probe, b"")
        filesystem.delete_file(probe)


def remote_names(uri: str) -> list[str]:
    """The runs of a storage."""
    filesystem, path = open_storage(uri)
    with as_user_error(f"--storage {uri}: ", OSError):
        entries = filesystem.get_file_info(FileSelector(path, allow_not_found=True))
    names = (entry.base_name for entry in entries if entry.type == FileType.Directory)
    return sorted(name for name in names if not name.startswith("."))


def has_remote_run(uri: str, name: str) -> bool:
    """Whether the storage has a run of that name."""
    filesystem, path = open_storage(join_name(uri, name))
    with as_user_error(f"--storage {uri}: ", OSError):
        return read_bytes(filesystem, f"{path}/{RECORD}") is not None


def remote_plan(uri: str, name: str) -> dict[str, Any] | None:
    """What the storage has of a run's plan; None without one."""
    filesystem, path = open_storage(join_name(uri, name))
    with as_user_error(f"--storage {uri}: ", OSError):
        return parse_checked_json(read_bytes(filesystem, f"{path}/{SWEEP}"))


def fetch_run(uri: str, name: str) -> Path:
    """The local copy of a run's record; UserError where the storage can't be reached.

    A copy that has all that the storage has, and perhaps events of a session that was killed before
    they were taken there, stays. What only one of two copies has is kept. One that differs, as the
    run went on elsewhere, stays under another name.
    """
    filesystem, path = open_storage(join_name(uri, name))
    folder = local_runs(uri) / name
    with as_user_error(f"--storage {uri}: ", OSError):
        there = read_bytes(filesystem, f"{path}/{RECORD}")
        here = (folder / RECORD).read_bytes() if (folder / RECORD).is_file() else None
        if there is None or (here is not None and here.startswith(there)):
            return folder
        where, both = join_name(uri, name), merged(there, here or b"")
        if both is None:
            names = (folder.with_name(f"{name}.diverged-{number}") for number in count(1))
            aside = folder.rename(next(free for free in names if not free.exists()))
            print(f"{where} differs from its copy here, now {aside}.", file=sys.stderr)
        elif both != merged(there, b""):
            print(f"{where} is damaged or older than {folder}, which counts.", file=sys.stderr)
            there = both
        folder.mkdir(parents=True, exist_ok=True)
        for file in COPIED:
            content = there if file == RECORD else read_bytes(filesystem, f"{path}/{file}")
            if content and (file == RECORD or parse_checked_json(content) is not None):
                with atomic_file(folder / file) as temporary:
                    temporary.write_bytes(content)
    return folder


def fetched(folder: Path) -> Path:
    """A run's folder, brought up to date by `fetch_run` where it is a copy of one at a URI."""
    uri = uri_of(folder.parent)
    return fetch_run(uri, folder.name) if uri else folder


def request_pause(run_folder: Path) -> None:
    """Asks the trials of a run to save and stop, on whatever node they are."""
    (run_folder / PAUSE).touch()
    if is_uri(where := location(run_folder)):
        filesystem, path = open_storage(where)
        write_bytes(filesystem, f"{path}/{PAUSE}", b"")


def withdraw_pause(run_folder: Path) -> None:
    """Takes the request back, also one that a killed session made."""
    (run_folder / PAUSE).unlink(missing_ok=True)
    if is_uri(where := location(run_folder)):
        filesystem, path = open_storage(where)
        with suppress(OSError):
            filesystem.delete_file(f"{path}/{PAUSE}")


class TakenOverError(OSError):
    """Another session has the run, and everything at its URI is that one's."""


class RecordCopy:
    """Keeps a run's record at its URI as it is here; does nothing for a run in a folder.

    A guard file there names the session that writes; it is looked at before each copy. OSError
    where the storage fails or another session has taken over.
    """

    def __init__(self, run_folder: Path) -> None:
        self.folder, self._where = run_folder, location(run_folder)
        self._session = uuid4().hex
        self._remote = is_uri(self._where)
        if self._remote:
            self._filesystem, self._path = open_storage(self._where)
            self._guard = f"{self._path}/{SESSION_LOCK}"

    def __enter__(self) -> "RecordCopy":
        """UserError where another session has the run."""
        if not self._remote:
            return self
        with as_user_error(f"--storage {self._where}: ", OSError):
            held = json.loads(read_bytes(self._filesystem, self._guard) or b"{}")
            if held and not _is_gone(held):
                raise UserError(
                    f"RUN {self._where}: process {held['pid']} on {held['host']} is running it; "
                    "wait for its end, or, if that machine is gone, remove "
                    f"{join_name(self._where, SESSION_LOCK)}"
                )
            self._filesystem.create_dir(self._path, recursive=True)
            mine = {"session": self._session, "host": socket.gethostname(), "pid": os.getpid()}
            write_bytes(self._filesystem, self._guard, json.dumps(mine).encode())
        return self

    def __exit__(self, *error: object) -> None:
        if self._remote:
            with suppress(OSError):
                self._check_guard()
                self._filesystem.delete_file(self._guard)

    def copy(self, *names: str) -> None:
        """Takes these files of the run's folder there, those of COPIED where none is named."""
        if not self._remote:
            return
        self._check_guard()
        for path in (self.folder / name for name in names or COPIED):
            if path.is_file():
                write_bytes(self._filesystem, f"{self._path}/{path.name}", path.read_bytes())

    def _check_guard(self) -> None:
        held = json.loads(read_bytes(self._filesystem, self._guard) or b"{}")
        if held.get("session") != self._session:
            raise TakenOverError(
                f"{self._where}: another session has gone on with it, and this one takes nothing "
                "more there"
            )


def _is_gone(held: dict[str, object]) -> bool:
    """Whether the session was on this machine, and its process is no more."""
    here, pid = held.get("host") == socket.gethostname(), int(str(held["pid"]))
    # Its own number, too: one before it had the same.
    return here and (not psutil.pid_exists(pid) or pid == os.getpid())


def read_bytes(filesystem: FileSystem, path: str) -> bytes | None:
    """A small file's content; None where there is none."""
    try:
        with filesystem.open_input_stream(path) as stream:
            return bytes(stream.readall())
    except FileNotFoundError:
        return None


def write_bytes(filesystem: FileSystem, path: str, content: bytes) -> None:
    """Puts a small file there; whole, as far as the file system can do that."""
    local = isinstance(filesystem, LocalFileSystem)
    target = f"{path}.{uuid4().hex[:8]}" if local else path  # object stores show whole ones only
    with filesystem.open_output_stream(target) as stream:
        stream.write(content)
    if local:
        filesystem.move(target, path)
