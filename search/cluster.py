"""The Ray cluster that a sweep runs in: found, checked and counted before anything is prepared."""

import socket
from contextlib import closing
from typing import Any

from trainable.errors import UserError, first_line

LOCAL, AUTO = "local", "auto"
CONNECT_SECONDS = 5.0
CLIENT = "ray://"
# Ray waits so long to hear why a trial's process is gone, so that a lost node is told from a crash.
DEATH_INFO = {"RAY_timeout_ms_task_wait_for_death_info": "60000"}
NODE_LOST = "its node was lost"
SIGN_OF_LOST_NODE = "its node has died"  # what Ray says


def check_address(address: str | None) -> None:
    """UserError, within seconds, where there is no cluster to join at this address."""
    if address in (None, LOCAL):
        return
    assert address is not None
    if address.startswith(CLIENT):
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

    with closing(_Joined(address)):
        if not any(node["Alive"] for node in ray.nodes()):
            raise UserError(f"--address {address}: no node of that cluster is alive")


class _Joined:
    """A connection to a cluster, for a moment."""

    def __init__(self, address: str) -> None:
        join(address)

    def close(self) -> None:
        """Leaves it; it runs on."""
        import ray

        ray.shutdown()


def _check_reachable(address: str, host: str, port: int) -> None:
    try:
        socket.create_connection((host, port), CONNECT_SECONDS).close()
    except OSError as error:
        raise UserError(
            f"--address {address}: {first_line(error)}; give that of a Ray head that is up "
            "(ray start --head prints it), or auto on one of its nodes"
        ) from None


def join(address: str, **more: Any) -> None:
    """Connects this process, which must be on a node of the cluster; UserError where it can't."""
    import ray
    from ray.exceptions import RayError

    try:
        ray.init(address=address, logging_level="ERROR", log_to_driver=False, **more)
    except (ConnectionError, RuntimeError, ValueError, RayError) as error:
        said = first_line(error)
        if "AuthToken" in f"{error!r} {error.__cause__!r}":
            said += "; it asks for a token: set RAY_AUTH_MODE=token here, too"
        raise UserError(f"--address {address}: {said}") from None


def cluster_size() -> tuple[int, int]:
    """CPUs and GPUs of the nodes that are alive."""
    import ray

    found = ray.cluster_resources()
    return int(found.get("CPU", 0)), int(found.get("GPU", 0))
