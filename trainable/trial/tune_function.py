"""A trial as a Ray Tune trainable: the one place in this package that knows of Ray."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from ray import tune

from trainable.common.errors import TrainingDivergedError, UserError, first_line
from trainable.common.files import temporary_folder
from trainable.common.gpus import out_of_gpu_memory
from trainable.common.pause import PauseRequest
from trainable.common.quiet import quiet_libraries
from trainable.config.fields import from_plain
from trainable.config.training_inputs import TrainingInputs
from trainable.config.trial_config import TrialConfig
from trainable.engine.cuda_graph import CaptureError
from trainable.engine.devices import available_cores, release_memory
from trainable.engine.training_state import CheckpointError, FinishedError
from trainable.trial.checkpoint import (
    SAVE_SHARE,
    SaveTimer,
    load_checkpoint,
    restore,
    write_checkpoint,
)
from trainable.trial.messages import DISK, DIVERGED, MESSAGE, NOT_CAPTURED, OUT_OF_MEMORY, Message
from trainable.trial.training_loop import Evaluation, Trial
from trainable.trial.training_setup import SetupCache
from trainable.trial.waiting import WaitingTrials

SAVED_STEP = "saved_step"  # in a result that only brings a checkpoint between two evaluations


@dataclass(frozen=True)
class Sweep:
    """What a trial of `search.run` must know of its run; plain values, sent to any node."""

    run: str  # path or URI of the run's folder
    save_at: tuple[int, ...] = ()  # evaluations after which a trial may wait or be stopped
    waiting_bytes: int = 0  # of memory that trials which wait may take in a process
    # The inputs with their folders where this node has them.
    localise: Callable[[TrainingInputs], TrainingInputs] | None = None


def student(inputs: TrainingInputs, *, save_share: float = SAVE_SHARE) -> Any:
    """A Tune function trainable that trains one student on the prepared inputs.

    It works in any `tune.Tuner`, with any scheduler and searcher; a configuration holds settings of
    `TrialConfig`, in groups or not, and leaves the others to the preset. It reports each evaluation
    (`score` and `best5`, also as `accuracy` and `best5_accuracy` where that is the metric, ...;
    `training_iteration` counts them). With the first one, and
    once the last checkpoint is older than its cost / `save_share`, comes a checkpoint: the student
    as it was evaluated, as a Hugging Face folder, and the state to go on from. 1 saves at every
    evaluation: schedulers that pause or clone trials need that. (Ray's population-based training
    multiplies by 1.2 whatever the bounds: its `custom_explore_fn` must keep shares below 1.) Asks
    for one CPU, and for one GPU if the inputs were prepared on one (`tune.with_resources` changes
    that).
    """
    train = partial(train_student, inputs=asdict(inputs), save_share=save_share)
    return tune.with_resources(train, {"cpu": 1, "gpu": int(inputs.device == "cuda")})


def train_student(
    config: dict[str, Any],
    inputs: dict[str, Any],
    save_share: float = SAVE_SHARE,
    sweep: Sweep | None = None,
) -> None:
    """Trains one student, from its checkpoint if it has one, and reports each evaluation.

    Within a sweep a result also has a `Message`, which the sweep takes out before Tune keeps it,
    and a pause is heeded after any step. Why a retry would not help is reported before the error.
    """
    quiet_libraries()
    cores = tune.get_context().get_trial_resources().required_resources.get("CPU", 1)
    torch.set_num_threads(max(1, min(int(cores), available_cores())))  # those that Ray gives it
    shared: TrainingInputs = from_plain(TrainingInputs, inputs)
    try:
        pause = None if sweep is None else PauseRequest(sweep.run)
        if pause:
            return
        if sweep is not None and sweep.localise is not None:
            try:
                shared = sweep.localise(shared)
            except UserError as error:  # of a storage that this node can't reach
                raise OSError(str(error)) from error
        trial = _start_or_restore(shared.config(config), shared, exact=sweep is not None)
        if trial is not None:
            _TuneLoop(trial, save_share, sweep, pause).run()
    except Exception as error:
        failure = _failure_kind(error)
        if failure is not None and sweep is not None:
            reason = error.reason if isinstance(error, CaptureError) else first_line(error)
            tune.report({MESSAGE: Message(failure=failure, reason=reason)})
        raise


class _TuneLoop:
    """A trial's loop under Tune."""

    def __init__(
        self, trial: Trial, save_share: float, sweep: Sweep | None, pause: PauseRequest | None
    ) -> None:
        self._trial, self._sweep, self._pause = trial, sweep, pause
        weights = sum(p.numel() * p.element_size() for p in trial.student.parameters())
        copies = 3 if trial.setup.step.averages is None else 4  # with two moments
        # One that waited in memory may have none.
        self._saved_step = 0 if tune.get_checkpoint() is None else trial.step
        unsaved_seconds = 0.0 if self._saved_step else trial.seconds
        self._saving = SaveTimer(save_share, copies * weights, unsaved_seconds)
        self._unreported_seconds = 0.0  # that saving took since the last evaluation

    def run(self) -> None:
        """To the end or to a pause; the scheduler's stop comes as SystemExit from a report."""
        trial = self._trial
        # In anyone's own Tuner, a trial that is stopped leaves a checkpoint behind.
        save_at = (1,) if self._sweep is None else self._sweep.save_at
        if self._sweep is not None:
            for past in trial.history:  # the sweep may have been killed before it received it
                self._report(past, restored=True)
        while not trial.finished and not self._pause:
            evaluation = trial.advance()
            if evaluation is not None:
                save = trial.finished or self._saving.due
                if evaluation.evaluations in save_at:
                    save = not self._keep_in_memory() or save or self._saving.pays
                self._report(evaluation, save=save)
                _waiting().take(trial.config)  # it goes on
            elif self._sweep is not None and self._saving.due:
                self._save_between()
        if trial.step > self._saved_step:
            self._save_between()

    def _keep_in_memory(self) -> bool:
        """Whether the trial, should it wait now, needs no checkpoint: its state fits into memory,
        and there is no older checkpoint that would be left if it is stopped."""
        if self._sweep is None or self._trial.finished:
            return False
        start = time.monotonic()
        kept = _waiting().keep(self._trial, self._sweep.waiting_bytes)
        self._unreported_seconds += time.monotonic() - start
        return kept and not self._saved_step

    def _report(
        self, evaluation: Evaluation, *, save: bool = False, restored: bool = False
    ) -> None:
        """Reports an evaluation, with a checkpoint or without."""
        of_evaluation = evaluation.scalars(self._trial.inputs.metric)
        metrics = {**of_evaluation, "training_iteration": evaluation.evaluations}
        if self._sweep is not None:
            fallbacks = self._trial.setup.fallbacks
            metrics[MESSAGE] = Message(evaluation.recorded(), restored, fallbacks)
        if save:
            self._save(metrics)
        else:
            self._hand_over(metrics)

    def _save_between(self) -> None:
        """A checkpoint beside the last evaluation, which is reported again."""
        trial = self._trial
        last = trial.history[-1].scalars(trial.inputs.metric) if trial.history else {}
        self._save({**last, "training_iteration": len(trial.history), SAVED_STEP: trial.step})

    def _save(self, metrics: dict[str, Any]) -> None:
        """Writes a checkpoint and reports it; measures the time that takes."""
        with temporary_folder("distillation-checkpoint-") as folder:
            start = time.monotonic()
            write_checkpoint(self._trial, folder, student=self._sweep is None)
            written = time.monotonic()
            self._saved_step = self._trial.step
            self._unreported_seconds += written - start
            self._hand_over(metrics, tune.Checkpoint.from_directory(folder))
            reported = time.monotonic()
        self._unreported_seconds = reported - written
        self._saving.saved(reported - start)

    def _hand_over(self, metrics: dict[str, Any], checkpoint: Any = None) -> None:
        """Reports metrics with the seconds that saving took since the last report."""
        seconds, self._unreported_seconds = self._unreported_seconds, 0.0
        metrics["saving_seconds"] = seconds
        if MESSAGE in metrics:
            metrics[MESSAGE].evaluation["saving_seconds"] = seconds
        tune.report(metrics, checkpoint=checkpoint)


# This process's: Ray runs many trials in it, one after the other.
_setups, _waiting = cache(SetupCache), cache(WaitingTrials)


def _start_or_restore(config: TrialConfig, inputs: TrainingInputs, *, exact: bool) -> Trial | None:
    """The trial as it waited in this process, or as its checkpoint left it; None if that, its own
    or a clone's, had finished."""
    device, setups = torch.device(inputs.device), _setups()
    if device.type == "cpu":  # what the trials before have freed; a GPU's is of use to the next
        release_memory(device)
    if (state := _waiting().take(config)) is not None:
        trial = Trial.start(config, inputs, device, setups)
        restore(trial, state)
        return trial
    checkpoint = tune.get_checkpoint()
    if checkpoint is not None:
        try:
            with checkpoint.as_directory() as folder:
                return load_checkpoint(Path(folder), config, inputs, device, setups, exact=exact)
        except CheckpointError as error:
            if isinstance(error, FinishedError) and not exact:
                return None
            print(f"checkpoint {error}; the trial starts again")
    return Trial.start(config, inputs, device, setups)


def _failure_kind(error: Exception) -> str | None:
    """The kind of error that must not simply be tried again, or None."""
    if isinstance(error, TrainingDivergedError):
        return DIVERGED
    uncompiled = type(error).__module__.startswith("triton.")  # a kernel of fused attention
    if uncompiled or isinstance(error, CaptureError):
        return NOT_CAPTURED
    if isinstance(error, OSError):
        return DISK
    return OUT_OF_MEMORY if out_of_gpu_memory(error) else None
