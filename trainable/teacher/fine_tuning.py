"""A teacher fine-tuned on the labels, which goes on where it was interrupted."""

import time
from pathlib import Path

import numpy as np
import torch
from transformers import PreTrainedModel

from trainable.common.errors import TrainingDivergedError
from trainable.config.metrics import ACCURACY
from trainable.config.trial_config import TeacherSettings
from trainable.data.batches import evaluation_steps, remaining_batches, steps_per_epoch
from trainable.data.examples import Examples
from trainable.engine.cuda_graph import Executor
from trainable.engine.devices import Runtime
from trainable.engine.learning_rate import learning_rate_at
from trainable.engine.metrics import example_scores
from trainable.engine.training_state import (
    CheckpointError,
    read_state,
    restore_training,
    training_tensors,
    write_state,
)
from trainable.engine.training_step import Evaluator, TrainingStep, label_losses, make_optimiser
from trainable.teacher.early_stopping import EarlyStopping, hold_out_examples

PROGRESS_SECONDS = 10.0
SAVE_SECONDS = 60.0  # between two states, each a gigabyte for a teacher of full size


def fine_tune(
    model: PreTrainedModel,
    train: Examples,
    settings: TeacherSettings,
    *,
    metric: str = ACCURACY,
    runtime: Runtime,
    executor: Executor,
    state: Path,
) -> None:
    """Trains on the labels in place until the metric gets worse; logs progress every ten seconds.

    The epochs of the settings are a round, in which the learning rate rises and falls to 0. How
    many a teacher needs depends on its labels: after one that gained, another follows (warm
    restarts: Loshchilov and Hutter 2017, SGDR).

    Goes on from the file `state` if it exists; its name stands for all that the fine-tuning depends
    on. Raises TrainingDivergedError if the loss is NaN or infinite.
    """
    torch.manual_seed(settings.seed)
    rest, held_out = hold_out_examples(train)
    step = _make_step(model, rest, settings, runtime, executor)
    per_epoch = steps_per_epoch(len(rest), settings.batch_size)
    looks = min(settings.evaluations_per_epoch, per_epoch)
    of_round, rounds = settings.epochs * per_epoch, settings.rounds
    due = evaluation_steps(rounds * of_round, rounds * settings.epochs * looks)
    evaluator = Evaluator(model, held_out, runtime.precision, executor)
    stopping = EarlyStopping(
        dict(model.named_parameters()),
        lambda: example_scores(metric, evaluator.predictions(), evaluator.labels),
        due if len(held_out) else [],
        settings.patience,
    )
    runtime.log(
        f"Fine-tuning the teacher: {of_round} steps on {len(rest):,} examples"
        f"{executor.reduced and f', {executor.reduced}'}"
    )
    done, total = _restore(state, step, stopping) or (0, of_round)
    if done:
        runtime.log(f"  resuming from step {done}")
    logged = saved = time.perf_counter()
    batches = remaining_batches(
        rest.lengths, settings.batch_size, settings.seed, done, rounds * of_round
    )
    while done < total and not stopping.over:
        of_it = done % of_round
        rate = learning_rate_at(of_it, of_round, settings.learning_rate, settings.warmup_share)
        step.take(next(batches), rate)
        done += 1
        stopping.look(done)
        now = time.perf_counter()
        if now - logged > PROGRESS_SECONDS or done == total or stopping.over:
            logged, loss = now, step.means.take()["loss"]
            if not np.isfinite(loss):
                raise TrainingDivergedError(f"the teacher's loss is {loss} at step {done}")
            runtime.log(f"  teacher step {done} of {total}, loss {loss:.3f}")
        if done == total < rounds * of_round and stopping.gained(looks):
            total += of_round
            runtime.log(f"  it gained in the last epoch: another {of_round} steps")
        if now - saved > SAVE_SECONDS:
            _save(state, (done, total), step, stopping)
            saved = time.perf_counter()
    runtime.log(stopping.restore_kept(total, len(rest)))


def _make_step(
    model: PreTrainedModel,
    examples: Examples,
    settings: TeacherSettings,
    runtime: Runtime,
    executor: Executor,
) -> TrainingStep:
    step = TrainingStep(
        model.train(),
        make_optimiser([model], settings.weight_decay),
        label_losses(runtime.precision),
        settings.gradient_clip,
        examples=examples,
        batch_size=settings.batch_size,
        executor=executor,
    )
    if runtime.device.type == "cuda":
        step.warm_up()
        torch.manual_seed(settings.seed)  # dropout is drawn from the seed
    return step


def _save(state: Path, steps: tuple[int, int], step: TrainingStep, stopping: EarlyStopping) -> None:
    state.parent.mkdir(parents=True, exist_ok=True)
    values, kept = stopping.state()
    tensors = training_tensors(stopping.parameters, step.optimiser, step.examples.device)
    write_state(state, {"steps": steps, **values}, {**tensors, **kept})


def _restore(state: Path, step: TrainingStep, stopping: EarlyStopping) -> tuple[int, int] | None:
    """Puts all back that `_save` kept; the steps that were taken and those to take, None if none
    were saved."""
    try:
        header, tensors = read_state(state)
        restore_training(stopping.parameters, step.optimiser, step.examples.device, tensors)
    except CheckpointError:
        return None
    stopping.restore(header, tensors)
    done, total = header["steps"]
    return done, total
