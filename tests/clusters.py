"""Ray nodes of the tests' own, several on one machine, each with a cache folder of its own."""

import os
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import psutil

REPOSITORY = Path(__file__).parent.parent
RAY = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--disable-usage-stats"]
# A node that is gone refuses each check and is found out in seconds; one that is slow is not.
HEALTH = {"period_ms": 500, "timeout_ms": 10000, "failure_threshold": 3}


class Cluster:
    """A head and whatever joins it; all of them are killed at the end, and nothing else is."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._sessions = tempfile.TemporaryDirectory(
            prefix="ray-", dir="/tmp", ignore_cleanup_errors=True
        )  # a short path, for sockets
        self._nodes = []
        self.address = f"127.0.0.1:{free_port()}"
        self.environment = {
            **os.environ,
            **{f"RAY_health_check_{name}": str(value) for name, value in HEALTH.items()},
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": uuid4().hex,
            "PYTHONPATH": str(REPOSITORY),
            "CUDA_VISIBLE_DEVICES": "",
        }

    def __enter__(self) -> "Cluster":
        port = self.address.rpartition(":")[2]
        self.start("head", "--head", f"--port={port}", "--include-dashboard=false")
        return self

    def __exit__(self, *error: object) -> None:
        for node in self._nodes:
            kill_tree(node.pid)
            node.wait()
        self._sessions.cleanup()

    def start(self, name, *options):
        """A node with one CPU that is up, as a process whose children are all of it."""
        log = self.folder / f"{name}.log"
        node = subprocess.Popen(
            [
                *(*RAY, *options, "--num-cpus=1", "--object-store-memory=100000000"),
                *("--temp-dir", f"{self._sessions.name}/{name}", "--include-log-monitor=false"),
            ],
            env=self.environment | {"XDG_CACHE_HOME": str(self.folder / name)},
            stdout=log.open("w"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._nodes.append(node)
        wait_until(lambda: "Ray runtime started" in log.read_text() or node.poll() is not None, 300)
        assert node.poll() is None, log.read_text()
        return node

    def join(self, name):
        """A node more."""
        return self.start(name, f"--address={self.address}")


def free_port():
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


def wait_until(holds, seconds):
    """Until it holds; fails where it does not in time."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "not within the time given"
        time.sleep(0.1)


def kill_tree(process):
    """Kills a process and all that it started at once, itself first."""
    with suppress(psutil.NoSuchProcess):
        parent = psutil.Process(process)
        for killed in (parent, *parent.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                killed.kill()
