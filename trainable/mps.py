"""Whether NVIDIA's Multi-Process Service is running, through which processes share a GPU's time."""

import os
import stat
from collections.abc import Mapping
from pathlib import Path

PIPES, CONTROL, PID = "/tmp/nvidia-mps", "control", "nvidia-cuda-mps-control.pid"
DAEMON = "nvidia-cuda-mps"  # the start of its name; the system cuts names after 15 letters


def mps_running(
    environment: Mapping[str, str] = os.environ, processes: Path = Path("/proc")
) -> bool:
    """Whether CUDA programs started in this environment reach a running MPS daemon.

    False unless all speaks for it: the daemon's pipe is there and may be written to, and the
    process that its file names is alive and is the daemon. The pipe alone outlives a daemon that
    was killed. `processes` is where the system lists them.
    """
    pipes = Path(environment.get("CUDA_MPS_PIPE_DIRECTORY") or PIPES)
    try:
        kind = (pipes / CONTROL).stat().st_mode
        number = int((pipes / PID).read_text(encoding="ascii").strip())
        name = (processes / str(number) / "comm").read_text(encoding="utf-8")
    except (OSError, ValueError):
        return False
    reachable = stat.S_ISSOCK(kind) or stat.S_ISFIFO(kind)
    return reachable and os.access(pipes / CONTROL, os.W_OK) and name.startswith(DAEMON)
