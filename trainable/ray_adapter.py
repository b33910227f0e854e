"""The one place in this package that knows of Ray: a trial as a Tune function trainable."""

import tempfile
from pathlib import Path
from typing import Any

import torch
from ray import tune

from trainable.checkpoint import load_checkpoint, save_checkpoint
from trainable.config import TrialConfig
from trainable.quiet import quiet_libraries
from trainable.task import Task
from trainable.trial import Trial


def train_student(config: dict[str, Any], task_values: dict[str, Any]) -> None:
    """Trains one student and reports each evaluation to Tune with a checkpoint.

    `task_values` is `Task.to_dict()`. One thread a trial on a CPU: as many trials run as cores.
    """
    quiet_libraries()
    torch.set_num_threads(1)
    trial = _start_or_restore(TrialConfig.from_dict(config), Task.from_dict(task_values))
    for evaluation in trial.run():
        with tempfile.TemporaryDirectory() as folder:
            save_checkpoint(trial, Path(folder))
            tune.report(evaluation.to_dict(), checkpoint=tune.Checkpoint.from_directory(folder))


def _start_or_restore(config: TrialConfig, task: Task) -> Trial:
    device = torch.device(task.device)
    checkpoint = tune.get_checkpoint()
    if checkpoint is None:
        return Trial.start(config, task, device)
    with checkpoint.as_directory() as folder:
        return load_checkpoint(Path(folder), config, task, device)
