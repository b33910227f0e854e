"""A teacher fine-tuned on the labels, which goes on where it was interrupted."""

import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from trainable.common.errors import TrainingDivergedError
from trainable.config.trial_config import TeacherSettings
from trainable.data.batches import remaining_batches, steps_per_epoch
from trainable.data.examples import Examples
from trainable.engine.cuda_graph import Executor
from trainable.engine.devices import Runtime
from trainable.engine.learning_rate import learning_rate_at
from trainable.engine.training_state import (
    CheckpointError,
    read_state,
    restore_training,
    training_tensors,
    write_state,
)
from trainable.engine.training_step import Training, TrainingStep, label_losses, make_optimiser

PROGRESS_SECONDS = 10.0
SAVE_SECONDS = 60.0  # between two states, each a gigabyte for a teacher of full size


def fine_tune(
    model: PreTrainedModel,
    train: Examples,
    settings: TeacherSettings,
    *,
    runtime: Runtime,
    executor: Executor,
    state: Path,
) -> None:
    """Trains with cross-entropy in place; logs progress every ten seconds.

    Goes on from the file `state`, whose name stands for all that the fine-tuning depends on, where
    it is there. Raises TrainingDivergedError where the loss is NaN or infinite.
    """
    torch.manual_seed(settings.seed)
    model.train()
    parameters = dict(model.named_parameters())
    optimiser = make_optimiser([model], settings.weight_decay)
    training = Training(
        TrainingStep(model, optimiser, label_losses(runtime.precision), settings.gradient_clip),
        train,
        settings.batch_size,
        executor,
    )
    if runtime.device.type == "cuda":
        training.fit_memory()
        torch.manual_seed(settings.seed)
    total = settings.epochs * steps_per_epoch(len(train), settings.batch_size)
    runtime.log(f"Fine-tuning the teacher: {total} steps on {len(train):,} examples")
    done = _restore(state, parameters, optimiser, runtime.device)
    if done:
        runtime.log(f"  resuming from step {done}")
    logged = saved = time.perf_counter()
    for rows in remaining_batches(train.lengths, settings.batch_size, settings.seed, done, total):
        rate = learning_rate_at(done, total, settings.learning_rate, settings.warmup_share)
        training.step(rows, rate)
        done += 1
        now = time.perf_counter()
        if now - logged > PROGRESS_SECONDS or done == total:
            logged, loss = now, training.means.take()["loss"]
            if not np.isfinite(loss):
                raise TrainingDivergedError(f"the teacher's loss is {loss} at step {done}")
            runtime.log(f"  teacher step {done} of {total}, loss {loss:.3f}")
        if now - saved > SAVE_SECONDS:
            state.parent.mkdir(parents=True, exist_ok=True)
            tensors = training_tensors(parameters, optimiser, runtime.device)
            write_state(state, {"step": done}, tensors)
            saved = time.perf_counter()


def _restore(
    state: Path,
    parameters: dict[str, Tensor],
    optimiser: torch.optim.Optimizer,
    device: torch.device,
) -> int:
    """Puts model and optimiser back; the steps that were taken, 0 where none were saved."""
    try:
        header, tensors = read_state(state)
        restore_training(parameters, optimiser, device, tensors)
    except CheckpointError:
        return 0
    return int(header["step"])
