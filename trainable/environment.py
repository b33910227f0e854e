"""Where and how the shared inputs are made: cache folder, device, arithmetic, and whom to tell."""

import platform
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch

from trainable.execution import Execution


def best_device() -> torch.device:
    """The first CUDA GPU where one is visible, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def device_name() -> str:
    """The GPU's name, or the processor's."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


@dataclass(frozen=True)
class Environment:
    """`say` is given one line at a time, for the user to read."""

    cache: Path
    device: torch.device
    precision: str
    say: Callable[[str], None]
    execution: Execution = field(default_factory=Execution)
