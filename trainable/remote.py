"""A run that lies in a storage which nodes reach by its URI, as one of them sees it.

What trials share comes to a node once, by its digest; a trial's checkpoints go to the storage as
they are written, so that another node can go on with it.
"""

import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from trainable.arguments import default_cache
from trainable.checkpoint import STATE, best_student, student_files
from trainable.digest import digest_file
from trainable.folders import MANIFEST, sealed_values, whole_folder
from trainable.lease import check_lease
from trainable.locks import locked
from trainable.storage import Storage, runs_here, trials_here
from trainable.task import Task
from trainable.training_state import CheckpointError, read_header

SHARED = ".shared"  # beside the runs of a storage; no run can have that name
FETCHED = "fetched"  # in a node's cache
CONTENT = "content"
STATE_NAME = r"state-(\d{9})\.safetensors"  # in a storage each state has a name of its own


@dataclass(frozen=True)
class Remote:
    """What a trial must know of its run where it may not see the run's folder.

    `shared` gives the digest of each of the task's folders. `at_home` tells whether this is the
    node where they were made, `paused` whether the sweep is to pause, `recorded` how many
    evaluations the run has of a digest, and `note` is told, as plain values, what was fetched here.
    `in_place` says that all nodes see the storage as the folder that it is: trials have theirs in
    it, and only what they share is fetched. Where the `session` is given that the trials belong to,
    nothing is shared once another has the run.
    """

    storage: str  # URI of all runs
    run: str
    shared: Mapping[str, str]
    at_home: Callable[[], bool]
    paused: Callable[[], bool]
    recorded: Callable[[str], int]
    note: Callable[[dict[str, Any]], None]
    in_place: bool = False
    session: str | None = None

    @property
    def folder(self) -> Path:
        """The folder on this node that the run's trials have theirs in, where not in place."""
        place = runs_here if self.at_home() else trials_here
        return place(self.storage) / self.run

    def task_here(self, task: Task) -> Task:
        """The task with its folders where this node has them; OSError as `folder_here` raises."""
        if self.at_home():
            return task
        here = {
            path: str(folder_here(self.storage, digest, self.note))
            for path, digest in self.shared.items()
        }
        return task.moved(here)

    def checkpoints(self, folder: Path) -> "RemoteCheckpoints":
        """Of the trial that has this folder on this node."""
        run = Storage(self.storage).below(self.run)
        check = _nothing if self.session is None else partial(check_lease, run, self.session)
        return RemoteCheckpoints(run.below(folder.name), folder, check)


def _nothing() -> None:
    pass


def manifest_digest(folder: Path) -> str | None:
    """What a sealed folder holds, in sixteen digits; None where it has no manifest."""
    manifest = folder / MANIFEST
    return digest_file(manifest)[:16] if manifest.is_file() else None


def share_folder(storage: Storage, folder: Path, *, link: bool = False) -> tuple[str, int]:
    """Has a sealed folder in the storage; its digest, and the bytes that had to be uploaded.

    With `link` they take no more room where they lie on the same disk.
    The manifest goes last, so that where it is, all is, unless the storage has lost some of it.
    Where it is not, files of the right size may be damaged: `folder_here` removes it then.
    """
    digest = manifest_digest(folder)
    assert digest is not None, f"{folder} is not sealed"
    there = storage.below(SHARED).below(digest)
    paths = {str(p.relative_to(folder)): p for p in sorted(folder.rglob("*")) if p.is_file()}
    wanted = {name: path.stat().st_size for name, path in paths.items()}
    found = there.sizes()
    if MANIFEST not in found:
        found = {}
    missing = [name for name, size in wanted.items() if found.get(name) != size]
    for name in sorted(missing, key=lambda name: name == MANIFEST):
        there.upload(paths[name], name, link=link)
    return digest, sum(wanted[name] for name in missing)


def folder_here(
    uri: str, digest: str, note: Callable[[dict[str, Any]], None] | None = None
) -> Path:
    """Where this node has a shared folder, fetched from the storage by whichever trial is first.

    It appears whole, so that a manifest that is right vouches for the rest. OSError where what the
    storage gives is damaged; it is then uploaded anew by the next session.
    """
    place = default_cache() / FETCHED / digest
    place.mkdir(parents=True, exist_ok=True)
    content = place / CONTENT
    with locked(place, wait=True):  # other trials of this node want the same
        if manifest_digest(content) != digest:
            start, there = time.perf_counter(), Storage(uri).below(SHARED).below(digest)
            sizes = there.sizes()
            with whole_folder(content) as temporary:
                for name in sizes:
                    there.download(name, temporary / name)
                if manifest_digest(temporary) != digest or sealed_values(temporary) is None:
                    there.remove(MANIFEST)
                    raise OSError(f"{there.uri} is damaged; the next session uploads it again")
            seconds = round(time.perf_counter() - start, 3)
            if note is not None:
                note({"fetched": digest, "bytes": sum(sizes.values()), "seconds": seconds})
    return content


@dataclass(frozen=True)
class RemoteCheckpoints:
    """A trial's checkpoints in the storage, and on this node while it trains here.

    Each state goes there under a name of its own, and the one before is removed afterwards: a node
    that is lost on the way leaves the older one, on any file system. `check` raises OSError where
    nothing may be shared any more.
    """

    storage: Storage
    folder: Path
    check: Callable[[], None] = _nothing

    def fetch(self) -> None:
        """Brings here the newest whole state, unless this node has one as new."""
        for step in sorted(_steps(self.storage.sizes()), reverse=True):
            if step <= self._step_here():
                return
            self.storage.download(_state_name(step), self.folder / STATE)

    def share(self) -> None:
        """Has what `write_checkpoint` has just written in the storage, and no more than that."""
        self.check()
        state = _state_name(self._step_here())
        there = self.storage.sizes()
        students = student_files(self.folder)
        for student in students:
            if there.get(student.name) != student.stat().st_size:
                self.storage.upload(student, student.name)
        self.storage.upload(self.folder / STATE, state)
        best = best_student(read_header(self.folder / STATE)["history"])
        for name in there:
            if (re.fullmatch(STATE_NAME, name) or name.startswith("student-")) and (
                name not in (state, best)
            ):
                self.storage.remove(name)
        for name in self.storage.leftovers():  # of a node that was lost; other files are not ours
            if f"{Path(STATE).suffix}." in name:
                self.storage.remove(name)

    def __enter__(self) -> "RemoteCheckpoints":
        self.fetch()
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        """Removes this node's copies, unless an error may have kept them from the storage."""
        if kind is not None and issubclass(kind, Exception):
            return
        (self.folder / STATE).unlink(missing_ok=True)
        for student in student_files(self.folder):
            student.unlink(missing_ok=True)

    def _step_here(self) -> int:
        try:
            return int(read_header(self.folder / STATE)["step"])
        except CheckpointError:
            return -1


def _state_name(step: int) -> str:
    return f"state-{step:09d}.safetensors"


def _steps(names: Iterable[str]) -> list[int]:
    return [int(found[1]) for name in names if (found := re.fullmatch(STATE_NAME, name))]
