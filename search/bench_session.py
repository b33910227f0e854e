"""The rungs of a bench side by side: set up one after the other, then timed by turns."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from time import perf_counter

import numpy as np

from search.bench_inputs import Workload
from search.bench_rungs import CannotRunHere, Prepared
from search.measure import (
    Memory,
    covered_seconds,
    memory_now,
    peak_memory,
    profiled_intervals,
    synchroniser,
    timed,
    wake,
)
from trainable.environment import release_memory
from trainable.errors import first_line

PROFILED_STEPS = 10


@dataclass
class Entry:
    """A rung and what was measured of it; `failure` is why there is no more, as JSON."""

    name: str
    make: Callable[[Workload], Prepared]
    prepared: Prepared | None = None
    setup_seconds: float = 0.0
    warmup_seconds: float = 0.0
    peak: Memory | None = None  # its own: weights, optimiser, prepared outputs, activations
    repeat_seconds: list[float] = field(default_factory=list)  # of an epoch
    busy_share: float | None = None
    operations_per_step: float | None = None  # kernels, copies and fills on the GPU
    failure: dict[str, str] | None = None

    def set_up(self, workload: Workload, warmup: int) -> None:
        """Prepares the rung and takes its first steps, none of which is timed as a step."""
        device = workload.device
        release_memory(device)
        before, start = memory_now(device), perf_counter()
        prepared = self.make(workload)
        synchroniser(device)()
        self.setup_seconds = perf_counter() - start
        release_memory(device)  # what only the setting up needed is no part of the peak
        memory_now(device)
        first = warmup_order(prepared.batches, workload.split.lengths, warmup)
        self.warmup_seconds = timed(lambda: take_steps(prepared, first), synchroniser(device))
        peak = peak_memory(device)
        self.peak = None if peak is None or before is None else peak - before
        self.prepared = prepared

    def time_once(self, workload: Workload) -> None:
        """One repeat: an epoch."""
        prepared = self.ready
        every = range(len(prepared.batches))
        seconds = timed(lambda: take_steps(prepared, every), synchroniser(workload.device))
        self.repeat_seconds.append(seconds)

    def profile(self, workload: Workload) -> None:
        """On a GPU, the share of a few steps in which it works; nothing on a CPU.

        The steps are timed first and profiled then, since recording slows down the launching of
        kernels, though not the kernels. RuntimeError where the profiler sees none.
        """
        if workload.device.type != "cuda" or self.failure is not None:
            return
        prepared, synchronise = self.ready, synchroniser(workload.device)
        few = range(min(PROFILED_STEPS, len(prepared.batches)))
        seconds = timed(lambda: take_steps(prepared, few), synchronise)
        intervals = profiled_intervals(lambda: take_steps(prepared, few), synchronise)
        if not intervals:
            raise RuntimeError("the profiler recorded nothing on the GPU")
        self.busy_share = min(covered_seconds(intervals) / seconds, 1.0)
        self.operations_per_step = len(intervals) / len(few)

    @property
    def ready(self) -> Prepared:
        """The rung as `set_up` left it."""
        assert self.prepared is not None, "set_up comes first"
        return self.prepared

    def attempt(self, action: Callable[[], None]) -> None:
        """Runs `action` unless the rung has failed; keeps why where it fails now."""
        if self.failure is not None:
            return
        try:
            action()
        except CannotRunHere as reason:
            self.failure = {"skipped": str(reason)}
        except Exception as error:  # one rung's failure, of whatever kind, is not the others'
            self.failure = {"error": f"{type(error).__name__}: {first_line(error)}"}
            self.prepared = None


def take_steps(prepared: Prepared, indices: Iterable[int]) -> None:
    """Trains on these batches, waiting for nothing."""
    for index in indices:
        prepared.step(index)


def warmup_order(batches: Sequence[np.ndarray], lengths: np.ndarray, count: int) -> list[int]:
    """Indices of `count` batches to begin with: the longest, then the first ones, over and over.

    The longest first, so that memory for every other is there from then on.
    """
    longest = max(range(len(batches)), key=lambda index: int(lengths[batches[index]].max()))
    return [longest, *(index % len(batches) for index in range(count - 1))]


def run_session(
    entries: Sequence[Entry],
    workload: Workload,
    *,
    warmup: int,
    repeats: int,
    say: Callable[[str], None],
) -> None:
    """Measures all entries; in each repeat every rung has its turn, so that drift hits all alike.

    `say` is told what goes on, a line at a time.
    """
    wake(workload.device)
    for entry in entries:
        say(f"{entry.name}: setting up")
        entry.attempt(partial(entry.set_up, workload, warmup))
        for kind, reason in (entry.failure or {}).items():
            say(f"{entry.name}: {kind}: {reason}")
    for repeat in range(repeats):
        say(f"repeat {repeat + 1} of {repeats}")
        for entry in entries:
            entry.attempt(partial(entry.time_once, workload))
    for entry in entries:
        try:
            entry.profile(workload)
        except Exception as error:  # the times are there: what the profiler can't do is not fatal
            say(f"{entry.name}: no GPU-busy share: {first_line(error)}")
