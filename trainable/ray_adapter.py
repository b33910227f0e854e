"""The one place in this package that knows of Ray: a trial as a Tune function trainable."""

import socket
from collections.abc import Callable
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

import torch
from ray import tune

from trainable.checkpoint import load_checkpoint
from trainable.config import TrialConfig
from trainable.environment import out_of_gpu_memory
from trainable.errors import TrainingDivergedError, first_line
from trainable.files import remove_leftovers
from trainable.locks import locked
from trainable.pause import PauseRequest
from trainable.quiet import quiet_libraries
from trainable.remote import Remote
from trainable.saving import Saver
from trainable.task import Task
from trainable.training_state import CheckpointError
from trainable.trial import Evaluation, Trial
from trainable.workbench import Workbench

TROUBLE, REASON = "trouble", "reason"  # keys of a result that says why the trial is about to fail
DIVERGED, OUT_OF_MEMORY = "diverged", "out of GPU memory"
DISK = "disk"  # a file that can't be read or written; other trials would fail on it, too


def train_student(
    config: dict[str, Any],
    task_values: dict[str, Any],
    run_folder: Path,
    count_recorded: Callable[[str], int],
    remote: Remote | None = None,
) -> None:
    """Trains one student from its checkpoint, where there is one, and reports each evaluation.

    `task_values` is `Task.to_dict()`; `count_recorded` gives the evaluations that the run has of a
    digest. An evaluation is reported when its checkpoint is on disk: a kill in between costs
    nothing, since what the checkpoint holds and the run does not is reported again. Where trying
    again would not help by itself, a result with TROUBLE and REASON goes before the error. `remote`
    is there where other nodes train, too: this one may not see the run's folder or cache then.
    """
    quiet_libraries()
    torch.set_num_threads(1)  # as many trials run as there are cores
    described, task = TrialConfig.from_dict(config), Task.from_dict(task_values)
    pause = PauseRequest(run_folder, None if remote is None else remote.paused)
    if pause:
        return
    try:
        with ExitStack() as stack:
            folder = _trial_folder(described, run_folder, remote)
            stack.enter_context(locked(folder, wait=True))  # a killed trial lives for seconds
            remove_leftovers(folder)
            share = None
            if remote is not None:
                task = remote.task_here(task)
            if remote is not None and not remote.in_place:
                share = stack.enter_context(remote.checkpoints(folder)).share
            saver = stack.enter_context(Saver(folder, share))
            trial = _start_or_restore(described, task, folder)
            for evaluation in trial.history[count_recorded(described.digest) :]:
                _report(evaluation)
            _train(trial, saver, pause)
    except Exception as error:
        trouble = _trouble(error)
        if trouble is not None:
            tune.report({TROUBLE: trouble, REASON: first_line(error)})
        raise


def _trial_folder(config: TrialConfig, run_folder: Path, remote: Remote | None) -> Path:
    """The trial's folder on this node, made where it is not there."""
    if remote is not None and not remote.in_place:
        run_folder = remote.folder
        run_folder.mkdir(parents=True, exist_ok=True)
    elif not run_folder.is_dir():
        raise OSError(
            f"{socket.gethostname()} does not see {run_folder}: give --storage a URI, or a folder "
            "that all nodes share"
        )
    folder = run_folder / config.folder_name
    folder.mkdir(exist_ok=True)
    return folder


@cache
def _workbench() -> Workbench:
    """This process's: Ray runs many trials in it, one after the other."""
    return Workbench()


def _start_or_restore(config: TrialConfig, task: Task, folder: Path) -> Trial:
    device, workbench = torch.device(task.device), _workbench()
    try:
        return load_checkpoint(folder, config, task, device, workbench)
    except CheckpointError:  # none yet, or damaged: then that is all that is lost
        return Trial.start(config, task, device, workbench)


def _train(trial: Trial, saver: Saver, pause: PauseRequest) -> None:
    """Trains to the end or to a pause; the scheduler's stop comes as SystemExit from a report."""
    unreported: Evaluation | None = None
    while not trial.finished and not pause:
        try:
            evaluation = trial.advance()
        except Exception:
            _report_saved(unreported, saver)  # what was reached before counts
            raise
        if evaluation is not None or not saver.busy:
            _report_saved(unreported, saver)
            unreported = evaluation
        if evaluation is not None:
            saver.save(trial)
    _report_saved(unreported, saver)
    if not trial.finished and trial.trained_seconds:  # between two evaluations
        saver.save(trial)
        saver.wait()


def _report_saved(evaluation: Evaluation | None, saver: Saver) -> None:
    """Reports an evaluation, if there is one, when its checkpoint is on disk."""
    saver.wait()
    if evaluation is not None:
        held, saver.held_seconds = saver.held_seconds, 0.0
        _report(evaluation, held)


def _report(evaluation: Evaluation, saving_seconds: float = 0.0) -> None:
    tune.report(
        {
            **evaluation.to_dict(),
            "saving_seconds": saving_seconds,
            "training_iteration": evaluation.evaluations,
        }
    )


def _trouble(error: Exception) -> str | None:
    """The kind of error that must not simply be tried again, or None."""
    if isinstance(error, TrainingDivergedError):
        return DIVERGED
    if isinstance(error, OSError):
        return DISK
    return OUT_OF_MEMORY if out_of_gpu_memory(error) else None
