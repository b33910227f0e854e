"""Timing, memory and GPU-busy time of repeated work, apart from what the work is."""

import json
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import torch

Work = Callable[[], None]
Interval = tuple[float, float]  # start and end, seconds

GPU_CATEGORIES = ("kernel", "gpu_memcpy", "gpu_memset")  # in a trace; the rest are annotations
MICROSECOND = 1e-6


@dataclass(frozen=True)
class Spread:
    """The median and both ends of some measurements."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """At least one value."""
        return cls(median(values), min(values), max(values))


def synchroniser(device: torch.device) -> Work:
    """What waits until the device has done all it was given; nothing to wait for on a CPU."""
    return torch.cuda.synchronize if device.type == "cuda" else lambda: None


def wake(device: torch.device) -> None:
    """Has the device do something, so that its own starting up is nobody's set-up time."""
    square = torch.ones((8, 8), device=device)
    float((square @ square).sum())


def load_average() -> float | None:
    """Processes that wanted a core in the last minute, on average; None where none can tell.

    Above what the bench itself takes, someone else's work is part of a CPU's numbers.
    """
    try:
        return round(os.getloadavg()[0], 2)
    except (AttributeError, OSError):  # AttributeError: Windows
        return None


def timed(work: Work, synchronise: Work, clock: Callable[[], float] = time.perf_counter) -> float:
    """Seconds that `work` takes, from an idle device to an idle device."""
    synchronise()
    start = clock()
    work()
    synchronise()
    return clock() - start


class Memory(NamedTuple):
    """GPU memory in bytes: held by tensors, and held by PyTorch's allocator in all."""

    allocated: int
    reserved: int

    def __sub__(self, other: "Memory") -> "Memory":
        return Memory(self.allocated - other.allocated, self.reserved - other.reserved)


def memory_now(device: torch.device) -> Memory | None:
    """What this process holds, with the peak set back to it; None on a CPU."""
    if device.type != "cuda":
        return None
    torch.cuda.reset_peak_memory_stats()
    return Memory(torch.cuda.memory_allocated(), torch.cuda.memory_reserved())


def peak_memory(device: torch.device) -> Memory | None:
    """The most this process held since `memory_now`; None on a CPU."""
    if device.type != "cuda":
        return None
    return Memory(torch.cuda.max_memory_allocated(), torch.cuda.max_memory_reserved())


def covered_seconds(intervals: Iterable[Interval]) -> float:
    """The length of the union: time in which at least one interval runs."""
    total, end = 0.0, float("-inf")
    for start, stop in sorted(intervals):
        total += max(stop - max(start, end), 0.0)
        end = max(end, stop)
    return total


def gpu_intervals(trace: Mapping[str, Any]) -> list[Interval]:
    """When each kernel, copy and fill ran, from a trace in Chrome's format (microseconds)."""
    return [
        (event["ts"] * MICROSECOND, (event["ts"] + event["dur"]) * MICROSECOND)
        for event in trace["traceEvents"]
        if event.get("cat") in GPU_CATEGORIES and "dur" in event
    ]


def profiled_intervals(work: Work, synchronise: Work) -> list[Interval]:
    """When the GPU ran what `work` gave it. Only GPU events are recorded, to disturb least."""
    activities = [torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profiler:
        work()
        synchronise()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(path))
        return gpu_intervals(json.loads(path.read_text(encoding="utf-8")))
