"""What trials on any node ask of the machine that the sweep runs on, where they don't see its disk.

A Ray actor beside the sweep answers them from the run's folder.
"""

import json
import socket
import time
from functools import partial
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from rich.console import Console

from search.cluster import LOCAL
from search.disk import in_words
from search.record import Run, read_run
from search.remote_runs import SHARED, storage_of, uri_of
from trainable.files import write_json
from trainable.lease import session_of
from trainable.pause import PAUSE
from trainable.remote import Remote, share_folder
from trainable.storage import Storage
from trainable.task import Task

NODES = "nodes.jsonl"  # in the run's folder: what each node fetched, a JSON line each


class RunDesk:
    """Answers from a run's folder."""

    def __init__(self, run_folder: Path) -> None:
        self._folder = run_folder

    def paused(self) -> bool:
        """Whether the sweep is to pause."""
        return (self._folder / PAUSE).exists()

    def recorded(self, digest: str) -> int:
        """How many evaluations the run has of a trial."""
        return len(read_run(self._folder).trials[digest].evaluations)

    def note(self, values: dict[str, Any]) -> None:
        """Keeps what a node did."""
        with (self._folder / NODES).open("a", encoding="utf-8") as file:
            file.write(json.dumps({"time": round(time.time(), 3), **values}) + "\n")


def open_desk(run_folder: Path) -> Any:
    """The run's desk, on this node, for as long as the handle that is returned lives."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    desk = ray.remote(RunDesk).options(
        num_cpus=0,
        max_concurrency=4,
        max_restarts=-1,  # all that it knows is on disk
        max_task_retries=-1,
        scheduling_strategy=here,
    )
    return desk.remote(run_folder)


def ask(desk: Any, question: str, *values: Any) -> Any:
    """The desk's answer, from any node."""
    return ray.get(getattr(desk, question).remote(*values))


def note(desk: Any, values: dict[str, Any]) -> None:
    """Tells the desk what this node did."""
    node = ray.get_runtime_context().get_node_id()
    ask(desk, "note", {"node": node, "host": socket.gethostname(), **values})


def _is_here(node: str) -> bool:
    return bool(ray.get_runtime_context().get_node_id() == node)


def remote_run(desk: Any, run: Run, shared: dict[str, str]) -> Remote:
    """What trials must know of a run whose shared folders have these digests; see `Remote`."""
    runs = run.folder.parent
    return Remote(
        storage=storage_of(runs),
        run=run.folder.name,
        shared=shared,
        at_home=partial(_is_here, ray.get_runtime_context().get_node_id()),
        paused=partial(ask, desk, "paused"),
        recorded=partial(ask, desk, "recorded"),
        note=partial(note, desk),
        in_place=uri_of(runs) is None,
        session=session_of(run.folder) or None,
    )


def open_remote(run: Run, console: Console) -> Remote | None:
    """What trials must know of a run that other nodes may train, with what they share uploaded.

    That is a run in a storage, or one of a cluster's in a folder that all nodes share, where each
    has a cache of its own all the same; also where there is one node so far: others may join. None
    for a run of this machine alone. Says in a line what was uploaded.
    """
    runs = run.folder.parent
    if uri_of(runs) is None and run.sweep.get("address") in (None, LOCAL):
        return None
    storage, shared, uploaded = Storage(storage_of(runs)), {}, 0
    for folder in Task.from_dict(run.sweep["task"]).folders():
        shared[str(folder)], size = share_folder(storage, folder, link=uri_of(runs) is None)
        uploaded += size
    if uploaded:
        place = uri_of(runs) or runs
        console.print(f"What trials share is uploaded to {place}: {in_words(uploaded)}.")
    write_json(run.folder / SHARED, shared)
    desk = open_desk(run.folder)
    note(desk, {"shared": list(shared.values()), "bytes": uploaded})
    return remote_run(desk, run, shared)
