"""Processes that measure something side by side, and tell how they fail; a GPU shared by trials.

The caller's process touches no GPU: what the others take of it is given back when they end, and a
CUDA that a failed step has broken goes with them.
"""

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Protocol

import torch

from trainable.environment import out_of_gpu_memory
from trainable.errors import first_line
from trainable.gpu_sharing import Measurement, Probe

LEAST_STEPS = 3  # that are timed, whatever they take
QUEUED_STEPS = 20  # that may be given to the GPU before it is waited for
WARM_UP_STEPS = 10


@dataclass(frozen=True)
class TimeLimits:
    """In seconds. What takes longer has failed."""

    timed: float = 2.5  # that a trial alone is timed; more at once then take the same steps
    start: float = 300.0  # for a process to load, build, capture and warm up
    rest: float = 60.0  # for whatever should take no time


TIME_LIMITS = TimeLimits()


class ProbeSubject(Protocol):
    """A trial whose steps are measured. What a trial does once, such as a capture, is done before
    `start` returns or in the steps that warm up."""

    @property
    def execution(self) -> str:
        """How its steps are executed: GRAPH or EAGER."""

    @property
    def reason(self) -> str:
        """Why they are not captured, in a line; nothing where they are."""

    def step(self) -> int:
        """Takes a step on the next batch; returns its sentences. Needs not wait for the GPU."""

    def longest_step(self) -> int:
        """The same on the longest sentences there are."""


Start = Callable[[dict[str, Any], dict[str, Any]], ProbeSubject]  # of TrialConfig and Task as dicts


def device_memory() -> tuple[int, int]:
    """Bytes of the GPU that are free and that there are; takes some for the CUDA context."""
    return torch.cuda.mem_get_info()


class ProbeError(Exception):
    """A measurement that came to nothing; the message says why in a line."""

    def __init__(self, message: str, *, out_of_memory: bool = False) -> None:
        super().__init__(message)
        self.out_of_memory = out_of_memory


def measure(
    trials: int,
    start: Start,
    config: dict[str, Any],
    task: dict[str, Any],
    *,
    steps: int | None = None,
    limits: TimeLimits = TIME_LIMITS,
) -> Probe:
    """Steps so many equal trials at once, each in a process of its own; one measurement.

    Each takes `steps` steps, the same batches in each; where None, as many as there is time for.
    All have taken one on the longest sentences before, and all hold their memory until the last
    has finished. Another process watches the GPU's memory, since a trial sees only what torch
    reserves for it. `start` must be picklable. Never raises for what goes wrong in the processes.
    """
    free = total = 0
    try:
        of_trials = [(_take_steps, start, config, task)] * trials
        with side_by_side([(_watch, device_memory), *of_trials]) as (watch, *take_steps):
            free, total = ask([watch], limits.start)[0]
            tell(take_steps, "start")
            ready = ask(take_steps, limits.start)
            tell(take_steps, (steps, limits.timed))
            reports = ask(take_steps, limits.rest + 10 * trials * limits.timed)
            tell([watch], "look")
            taken = free - ask([watch], limits.rest)[0][0]
    except ProbeError as error:
        failed = Measurement(trials, error=str(error), out_of_memory=error.out_of_memory)
        return Probe(free, total, (failed,))
    torch_bytes = max(report["torch_bytes"] for report in reports)
    measurement = Measurement(
        trials,
        steps=reports[0]["steps"],
        sentences=reports[0]["sentences"],
        seconds=max(report["seconds"] for report in reports),
        bytes_per_trial=max(taken // trials, torch_bytes),
        torch_bytes=torch_bytes,
        execution=ready[0]["execution"],
        reason=ready[0]["reason"],
    )
    return Probe(free, total, (measurement,))


@dataclass(frozen=True)
class Child:
    """A process and our end of the pipe to it."""

    process: BaseProcess
    pipe: Connection

    def death(self) -> ProbeError:
        """How it ended, after its pipe was found closed."""
        self.process.join(TIME_LIMITS.rest)
        code = self.process.exitcode
        if code is not None and code < 0:
            return ProbeError(f"a probing process was ended by {signal.Signals(-code).name}")
        return ProbeError(f"a probing process ended with exit code {code}")


@contextmanager
def side_by_side(
    works: Sequence[tuple[Callable[..., None], *tuple[Any, ...]]],
) -> Iterator[list[Child]]:
    """A process for each function, given its end of a pipe and the arguments; none outlives this.

    What the function does stands in `telling`; functions and arguments must be picklable.
    """
    children: list[Child] = []
    try:
        for work, *arguments in works:
            children.append(_spawn(work, *arguments))
        yield children
    finally:
        for child in children:
            child.process.kill()
        for child in children:
            child.process.join()
            child.pipe.close()


def _spawn(target: Callable[..., None], *arguments: Any) -> Child:
    """Starts a process of its own Python, which a Ctrl-C in the terminal does not reach."""
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=target, args=(theirs, *arguments), daemon=True)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        process.start()
    finally:
        signal.signal(signal.SIGINT, before)
    theirs.close()  # so that ours tells when the process ends
    return Child(process, ours)


def tell(children: Sequence[Child], message: Any) -> None:
    """Sends each a message; ProbeError for the first that has ended."""
    for child in children:
        try:
            child.pipe.send(message)
        except OSError:
            raise child.death() from None


def ask(children: Sequence[Child], seconds: float) -> list[Any]:
    """The next message of each within so many seconds; ProbeError for the first that has none."""
    deadline = time.monotonic() + seconds
    answers: dict[Connection, Any] = {}
    waiting = {child.pipe: child for child in children}
    while waiting:
        heard = wait(list(waiting), max(deadline - time.monotonic(), 0.0))
        if not heard:
            raise ProbeError(f"a probing process did not answer within {seconds:g} s")
        for pipe in heard:
            assert isinstance(pipe, Connection)
            child = waiting.pop(pipe)
            try:
                answers[pipe] = pipe.recv()
            except (EOFError, OSError):
                raise child.death() from None
            if isinstance(answers[pipe], ProbeError):
                raise answers[pipe]
    return [answers[child.pipe] for child in children]


def _watch(pipe: Connection, memory: Callable[[], tuple[int, int]]) -> None:
    """The process that tells the GPU's free and total memory, at its start and when asked."""
    with telling(pipe):
        while True:
            pipe.send(memory())
            pipe.recv()


def _take_steps(
    pipe: Connection, start: Start, config: dict[str, Any], task: dict[str, Any]
) -> None:
    """The process of a trial."""
    with telling(pipe):
        pipe.recv()
        torch.set_num_threads(1)  # as in a sweep
        subject = start(config, task)
        subject.longest_step()
        for _ in range(WARM_UP_STEPS):
            subject.step()
        _wait_for_gpu()
        pipe.send({"execution": subject.execution, "reason": subject.reason})
        steps, seconds = pipe.recv()
        pipe.send(_time_steps(subject, steps, seconds))
        pipe.recv()  # holds its memory until it is killed


def _time_steps(subject: ProbeSubject, steps: int | None, seconds: float) -> dict[str, Any]:
    """Takes so many steps; where None, those of so many seconds."""
    taken = sentences = 0
    begin = time.perf_counter()
    end = begin + seconds
    while taken < (LEAST_STEPS if steps is None else steps) or (
        steps is None and time.perf_counter() < end
    ):
        sentences += subject.step()
        taken += 1
        if taken % QUEUED_STEPS == 0:
            _wait_for_gpu()
    _wait_for_gpu()
    spent = time.perf_counter() - begin
    reserved = torch.cuda.max_memory_reserved() if _uses_gpu() else 0
    return {"steps": taken, "sentences": sentences, "seconds": spent, "torch_bytes": reserved}


def _wait_for_gpu() -> None:
    if _uses_gpu():
        torch.cuda.synchronize()


def _uses_gpu() -> bool:
    """Whether this process has turned to a GPU at all."""
    return bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]


@contextmanager
def telling(pipe: Connection) -> Iterator[None]:
    """Sends what is raised as a ProbeError; ends quietly, printing nothing, also where nobody
    listens any more."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):
        os.dup2(nowhere, descriptor)
    try:
        yield
    except (EOFError, BrokenPipeError):
        pass  # our parent is gone
    except Exception as error:
        with suppress(OSError):
            message = f"{type(error).__name__}: {first_line(error)}"
            pipe.send(ProbeError(message, out_of_memory=out_of_gpu_memory(error)))
