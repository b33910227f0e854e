"""Where and how the shared inputs are made: cache folder, device, precision and log."""

import ctypes
import gc
import os
import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch

from trainable.config.training_inputs import Execution

CPU_WITH_BF16 = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")  # not in every torch


def best_device() -> torch.device:
    """The first CUDA GPU if one is visible, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def release_memory(device: torch.device) -> None:
    """Gives memory that no live object holds back: a GPU's to other processes and to captures, a
    CPU's to the system. glibc would keep it, half a gigabyte more with each trial of MPNet."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif sys.platform == "linux" and (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)):
        trim(0)


def faster_precision(device: torch.device) -> str:
    """`bf16` if the device multiplies bf16 matrices itself, else `fp32`. oneDNN's own answer is of
    no use: it emulates bf16 on any CPU with AVX512."""
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        native = any(getattr(torch.cpu, name, bool)() for name in CPU_WITH_BF16)
    return "bf16" if native else "fp32"


def free_share(device: torch.device) -> float:
    """The share of a GPU's memory that no process holds, unused blocks given back; 0 on a CPU."""
    if device.type != "cuda":
        return 0.0
    release_memory(device)
    free, total = torch.cuda.mem_get_info(device)
    return free / total


def synchronise(device: torch.device) -> None:
    """Waits until the device has done all it was given; a CPU always has."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def device_name(*, of_cpu: bool = False) -> str:
    """The GPU's name if there is one and `of_cpu` is not asked for, else the processor's."""
    if torch.cuda.is_available() and not of_cpu:
        return torch.cuda.get_device_name()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class Runtime:
    """Where and how the shared inputs are made; `log` is given a line at a time for the user."""

    cache: Path
    device: torch.device
    precision: str
    log: Callable[[str], None]
    execution: Execution = field(default_factory=Execution)
