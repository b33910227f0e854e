"""The Ray cluster that a sweep runs in: found, checked and counted before anything is prepared."""

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from functools import lru_cache
from pathlib import Path
from tempfile import NamedTemporaryFile
from threading import Event, Thread, Timer
from typing import Any

from search.plan.request import LOCAL
from search.record.storage import uri_of
from search.sweep.processes.signals import Interruption
from trainable.common.errors import UserError, as_user_error, first_line
from trainable.common.files import nearest_existing

AUTO = "auto"
CONNECT_SECONDS, ANSWER_SECONDS = 5.0, 60.0
LIFE_SECONDS = 25.0  # without an answer; Ray itself gives up after 60 s
RAY_DIED = "Ray's own processes have died, killed or out of memory"
POLL_SECONDS = 5.0  # between two counts of the nodes
# How long Ray waits to learn why a process is gone, which distinguishes a lost node from a crash.
DEATH_INFO = {"RAY_timeout_ms_task_wait_for_death_info": "60000"}


def check_address(address: str | None, runs: Path) -> None:
    """UserError, within seconds, if there is no cluster to join at this address, or one of its
    nodes can't run a trial: it lacks this package, or does not share the folder of all runs."""
    if address is None or address == LOCAL:
        return
    if address.startswith("ray://"):
        raise UserError(
            f"--address {address}: Ray's client can't run a sweep; run this command on a node of "
            "the cluster (ray exec, or ray attach) with --address auto"
        )
    if address != AUTO:
        host, _, port = address.rpartition(":")
        if not host or not port.isdecimal():
            raise UserError(f"--address {address}: give auto, HOST:PORT or {LOCAL}")
        _check_reachable(address, host, int(port))
    import ray

    with _signals_kept():
        join(address)
    try:
        _check_nodes(address, runs)
    finally:
        ray.shutdown()


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Ray takes signals as it starts, and never gives them back."""
    taken = (signal.SIGINT, signal.SIGTERM)
    before = {n: handler for n in taken if (handler := signal.getsignal(n)) is not None}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _check_nodes(address: str, runs: Path) -> None:
    import ray
    from ray.exceptions import RayError

    nodes = [node for node in ray.nodes() if node["Alive"]]
    # In the folder of all runs, or where it is yet to be made; None where that has a storage's
    # copies. Its name is new to every node: network file systems cache that a file was missing.
    shared, folder = uri_of(runs) is None, nearest_existing(runs)
    with NamedTemporaryFile(prefix=".probe-", dir=folder) if shared else nullcontext() as probe:
        question = _question(probe.name if probe else None)
        answers = [_on_node(node["NodeID"], question) for node in nodes]
        for node, answer in zip(nodes, answers, strict=True):
            host = node["NodeManagerHostname"]
            with as_user_error(f"--address {address}: {host} does not answer; ", RayError):
                installed, shares = ray.get(answer, timeout=ANSWER_SECONDS)
            if not installed:
                raise UserError(
                    f"--address {address}: {host} lacks this package; install it on every node, "
                    "with the same Python"
                )
            if not shares:
                raise UserError(
                    f"--storage {runs}: {host} does not see that folder of this machine, or can't "
                    "write to it; give a URI (s3://...) or a folder that all nodes share, or "
                    f"--address {LOCAL} for this machine alone"
                )


def _question(probe: str | None) -> Callable[[], tuple[bool, bool]]:
    """Runs on a node: whether our packages are installed there, and this file is visible."""
    packages = ("search", "spaces", "trainable")

    def look() -> tuple[bool, bool]:  # nested: Ray pickles it by value, as the node may lack us
        import os
        from importlib.util import find_spec

        installed = all(find_spec(name) is not None for name in packages)
        seen = probe is None or os.path.isfile(probe)
        return installed, seen and (not probe or os.access(os.path.dirname(probe), os.W_OK))

    return look


def _on_node(node: str, question: Callable[[], Any]) -> Any:
    """The question put to a node, answered in a process there."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    there = NodeAffinitySchedulingStrategy(node, soft=False)
    return ray.remote(question).options(num_cpus=0, scheduling_strategy=there).remote()


def _check_reachable(address: str, host: str, port: int) -> None:
    try:
        socket.create_connection((host, port), CONNECT_SECONDS).close()
    except OSError as error:
        raise UserError(
            f"--address {address}: {first_line(error)}; give that of a Ray head that is up "
            f"(ray start --head prints it), auto on one of its nodes, or {LOCAL}"
        ) from None


def join(address: str, **more: Any) -> None:
    """Connects this process, which must be on a node of the cluster; UserError where it can't."""
    os.environ.update(DEATH_INFO)
    import ray
    from ray.exceptions import RayError

    try:
        ray.init(address=address, logging_level="ERROR", log_to_driver=False, **more)
    except (ConnectionError, RuntimeError, ValueError, RayError) as error:
        reason = first_line(error)
        if "AuthToken" in f"{error!r} {error.__cause__!r}":
            reason += "; it asks for a token: set RAY_AUTH_MODE=token here, too"
        elif address == AUTO and isinstance(error, ConnectionError):
            reason = (
                f"{reason.rstrip('.')}; start one here (ray start --head), or give --address "
                f"{LOCAL} for this machine alone"
            )
        raise UserError(f"--address {address}: {reason}") from None


@contextmanager
def watched(interruption: Interruption) -> Iterator[None]:
    """Pauses the sweep when Ray's own processes die: Tune would wait for ever, or Ray end this
    process a minute later without a word."""
    ended = Event()
    Thread(target=_watch, args=(interruption, ended), daemon=True).start()
    try:
        yield
    finally:
        ended.set()


def _watch(interruption: Interruption, ended: Event) -> None:
    import ray

    def died() -> None:
        if not ended.is_set():
            interruption.pause(RAY_DIED)

    while not ended.wait(POLL_SECONDS):
        deadline = Timer(LIFE_SECONDS, died)
        deadline.daemon = True
        deadline.start()  # without its head node, Ray does not answer
        with suppress(Exception):
            if any(node["Alive"] for node in ray.nodes()):
                deadline.cancel()
                continue
        died()
        return


def cluster_size(*, with_gpus: bool) -> tuple[int, int]:
    """CPUs and GPUs of the nodes that are alive; no GPUs where trials train on the CPU."""
    import ray

    resources = ray.cluster_resources()
    return int(resources.get("CPU", 0)), int(resources.get("GPU", 0)) if with_gpus else 0


def recounted(count: Callable[[], int]) -> Callable[[], int]:
    """The same count, made anew every few seconds only: nodes come and go."""
    cached = lru_cache(maxsize=1)(lambda _: count())
    return lambda: cached(time.monotonic() // POLL_SECONDS)
