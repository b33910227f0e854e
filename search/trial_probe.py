"""Seconds and bytes of a sweep's trials, measured on a few steps in processes of their own.

As many processes step at once as trials will run at a time, on the same cores and GPUs.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import cycle
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch

from search.measure import synchroniser
from trainable.batches import epoch_batches, steps_per_epoch
from trainable.config import TrialConfig
from trainable.engine import Training
from trainable.gpu_probe import TrialSteps
from trainable.names import GRAPH
from trainable.probe_processes import Child, ask, side_by_side, tell, telling
from trainable.quiet import quiet_libraries
from trainable.saving import Saver
from trainable.task import Task
from trainable.trial import Trial
from trainable.workbench import Workbench

STEP_SECONDS, LEAST_STEPS = 3.0, 4  # that the steps of one kind of trial are timed
WARM_UP_STEPS = 2
PROBE_ALPHA = 0.5
MOST_PROCESSES = 8
LIMIT = 600.0  # seconds from one answer of a process to its next


@dataclass(frozen=True)
class TrialCost:
    """Of one trial, beside as many others as run at a time; in seconds."""

    setup: float  # in a process that had a trial before
    evaluation: float  # from one evaluation to the next: the training between, itself, its saving


@dataclass(frozen=True)
class Probed:
    """What was measured: by trial, and of the processes."""

    costs: tuple[TrialCost, ...]  # of the trials asked for, in their order
    start: float  # seconds from a process's start until its first trial is ready
    bytes_per_trial: int  # resident memory of a trial's process, at the most
    gpu_bytes_per_trial: int  # held by torch, at the most; 0 without a GPU
    processes: int


def probe_trials(configs: Sequence[TrialConfig], task: Task, places: int, scratch: Path) -> Probed:
    """Steps, evaluates and saves one trial after the other, in each of as many processes.

    ProbeError where that fails.
    """
    processes = min(places, MOST_PROCESSES)
    began = time.time()
    wanted = [config.to_dict() for config in configs]
    folders = [str(scratch / f"trial-{n}") for n in range(processes)]
    with side_by_side([(_probe, wanted, task.to_dict(), folder) for folder in folders]) as children:
        reports = _reports(children)
    costs = tuple(
        TrialCost(*(float(np.mean(column)) for column in zip(*of_trial, strict=True)))
        for of_trial in zip(*(report["costs"] for report in reports), strict=True)
    )
    return Probed(
        costs=costs,
        start=max(report["ready"] for report in reports) - began,
        bytes_per_trial=max(report["bytes"] for report in reports),
        gpu_bytes_per_trial=max(report["gpu_bytes"] for report in reports),
        processes=processes,
    )


def in_a_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """What the function returns in a process of its own; ProbeError where that fails."""
    with side_by_side([(_answer, function, arguments)]) as children:
        return ask(children, LIMIT)[0]


def _answer(pipe: Connection, function: Callable[..., Any], arguments: Sequence[Any]) -> None:
    with telling(pipe):
        pipe.send(function(*arguments))


def _reports(children: Sequence[Child]) -> list[dict[str, Any]]:
    """Of each process; whenever all wait for one another, they go on."""
    while True:
        answers = ask(children, LIMIT)
        if None not in answers:
            return answers
        tell(children, "go on")


def _probe(
    pipe: Connection, wanted: list[dict[str, Any]], task: dict[str, Any], folder: str
) -> None:
    """The process of a trial."""

    def together() -> None:
        """Waits for the other processes, so that what is timed runs beside theirs."""
        pipe.send(None)
        pipe.recv()

    with telling(pipe):
        pipe.send(_report(wanted, Task.from_dict(task), Path(folder), together))


def _report(
    wanted: list[dict[str, Any]], task: Task, folder: Path, together: Callable[[], None]
) -> dict[str, Any]:
    """What is measured in one process, with all that it loads in a sweep."""
    import trainable.ray_adapter  # noqa: F401 # for its memory

    quiet_libraries()
    torch.set_num_threads(1)  # as in a sweep
    workbench, costs, ready = Workbench(), [], 0.0
    for number, values in enumerate(wanted):
        config = TrialConfig.from_dict(values)
        _started(config, task, workbench)
        ready = ready or time.time()
        begin = time.perf_counter()
        trial = _started(config, task, workbench)
        setup = time.perf_counter() - begin
        costs.append((setup, _evaluation_seconds(trial, folder / str(number), together)))
    return {
        "costs": costs,
        "ready": ready,
        "bytes": peak_resident_bytes(),
        "gpu_bytes": torch.cuda.max_memory_reserved() if task.device == "cuda" else 0,
    }


def _started(config: TrialConfig, task: Task, workbench: Workbench) -> Trial:
    return Trial.start(config, task, torch.device(task.device), workbench)


def _evaluation_seconds(trial: Trial, folder: Path, together: Callable[[], None]) -> float:
    """From one evaluation to the next: steps, the evaluation, and what saving holds them up.

    `together` waits until all other processes have come as far.
    """
    config, evaluators = trial.config, trial.apparatus.evaluators
    take = _stepper(trial)
    together()
    step = _step_seconds(trial, take)
    together()
    evaluation = _seconds(evaluators["evaluation"].correct, trial)
    folder.mkdir(parents=True)
    with Saver(folder) as saver:
        saver.save(trial)
        saver.wait()
    total = config.epochs * steps_per_epoch(
        len(trial.apparatus.training.sentences), config.batch_size
    )
    seconds = total * step / config.evaluations + evaluation + saver.held_seconds
    if "whole" in evaluators:  # once a trial, at its end
        shares = {name: len(evaluators[name].sentences) for name in evaluators}
        seconds += evaluation * shares["whole"] / shares["evaluation"] / config.evaluations
    return seconds


def _stepper(trial: Trial) -> Callable[[np.ndarray], None]:
    """Takes a step on some rows; what is captured has been."""
    training = trial.apparatus.training
    if trial.task.execution.executor == GRAPH:
        TrialSteps(trial)
    trial.distillation.alpha.fill_(PROBE_ALPHA)

    def take(rows: np.ndarray) -> None:
        training.step(rows, 0.0)

    return take


def _step_seconds(trial: Trial, take: Callable[[np.ndarray], None]) -> float:
    """The mean over an epoch, from some of its batches by their tokens, padding counted."""
    training, config = trial.apparatus.training, trial.config
    epoch = epoch_batches(training.sentences.lengths, config.batch_size, config.seed, epoch=0)
    tokens = [_tokens(training, rows) for rows in epoch]
    for rows in epoch[:WARM_UP_STEPS]:
        take(rows)
    wait = synchroniser(trial.device)
    wait()
    begin, taken, seen = time.perf_counter(), 0, 0
    for rows, size in cycle(zip(epoch, tokens, strict=True)):
        take(rows)
        taken, seen = taken + 1, seen + size
        if taken % LEAST_STEPS == 0:
            wait()
            if time.perf_counter() - begin > STEP_SECONDS:
                break
    return (time.perf_counter() - begin) / seen * float(np.mean(tokens))


def _tokens(training: Training, rows: np.ndarray) -> int:
    return len(rows) * training.executor.width(training.sentences.longest(rows))


def _seconds(work: Callable[[], Any], trial: Trial) -> float:
    wait = synchroniser(trial.device)
    wait()
    begin = time.perf_counter()
    work()
    wait()
    return time.perf_counter() - begin


def peak_resident_bytes() -> int:
    """The most memory that this process had; 0 where the system does not tell.

    Not from getrusage: that is at least what the parent had when it started this process.
    """
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0
