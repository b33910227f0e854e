"""One trial: a student trained step by step, a record per evaluation. Plain Python, no Ray."""

import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from trainable.common.errors import TrainingDivergedError
from trainable.config.alpha_schedules import alpha_at
from trainable.config.training_inputs import TrainingInputs
from trainable.config.trial_config import TrialConfig
from trainable.data.batches import evaluation_steps, remaining_batches, trial_steps
from trainable.engine.calibration import calibration_errors
from trainable.engine.learning_rate import learning_rate_at
from trainable.engine.losses import TEACHER_TERMS
from trainable.engine.metrics import (
    PREDICTIONS,
    agreement,
    mean_of_best5,
    pack_predictions,
    predicted,
    score,
    unpack_predictions,
)
from trainable.engine.training_step import mean_label_loss
from trainable.trial.training_setup import SetupCache, TrainingSetup


@dataclass(frozen=True)
class Evaluation:
    """A trial's n-th evaluation; losses are means over the steps since the one before."""

    evaluations: int  # n, from 1
    step: int  # optimiser steps taken
    score: float  # of the inputs' metric
    best5: float  # mean of the five highest scores so far
    validation_loss: float  # of the evaluation split's labels: cross-entropy, or squared error
    teacher_agreement: float  # of student and teacher there: `trainable.engine.metrics.agreement`
    alpha: float  # at the last step
    learning_rate: float  # at the last step
    loss: float
    # Its parts, not weighed by alpha: `cross_entropy` (the labels' loss, 0 without labels) and
    # TEACHER_TERMS.
    losses: dict[str, float]
    training_seconds: float  # since the evaluation before; both without compilers and captures,
    evaluation_seconds: float  # which a worker's first trial waits for
    predictions: str  # packed, of the evaluation split
    # On the full evaluation split where that one is a subset, after the last step only.
    full_score: float | None = None
    full_predictions: str | None = None
    one_label: bool = False  # whether all its predictions are the same
    # Expected calibration error, and that at the temperature that fits best: of classes, after the
    # last step only, on the full split.
    calibration_error: float | None = None
    calibrated_error: float | None = None

    def recorded(self) -> dict[str, Any]:
        """Plain values, the parts of the loss as `loss_kl` and so on."""
        values = {key: getattr(self, key) for key in EVALUATION_KEYS}
        return values | {f"loss_{name}": part for name, part in self.losses.items()}

    def scalars(self, metric: str) -> dict[str, Any]:
        """`recorded` without the predictions, and without what is None; the score and best5 under
        the metric's name, too: `accuracy` and `best5_accuracy`."""
        values = {metric: self.score, f"best5_{metric}": self.best5, **self.recorded()}
        return {k: v for k, v in values.items() if k not in PREDICTIONS and v is not None}


EVALUATION_KEYS = tuple(key.name for key in fields(Evaluation) if key.name != "losses")


@dataclass
class Trial:
    """A student in training, and all that decides how it goes on from `step`."""

    config: TrialConfig
    inputs: TrainingInputs
    device: torch.device
    setup: TrainingSetup
    step: int = 0
    history: list[Evaluation] = field(default_factory=list)
    trained_seconds: float = 0.0  # since the last evaluation

    def __post_init__(self) -> None:
        self._due = set(evaluation_steps(self.total_steps, self.config.evaluations))

    @classmethod
    def start(
        cls,
        config: TrialConfig,
        inputs: TrainingInputs,
        device: torch.device,
        setups: SetupCache | None = None,
    ) -> "Trial":
        """A trial before its first step; seeds all random generators from the configuration.

        An earlier trial of the same cache must be over.
        """
        inputs = inputs.of(config)
        random.seed(config.seed)
        np.random.seed(config.seed)
        setup = (setups or SetupCache()).set_up(config, inputs, device)
        torch.manual_seed(config.seed)  # dropout is the same whatever the initialisation drew
        return cls(config, inputs, device, setup)

    @property
    def student(self) -> PreTrainedModel:
        """The model in training."""
        return self.setup.student

    @property
    def total_steps(self) -> int:
        """Optimiser steps of the trial."""
        return trial_steps(self.labelled, self.config)

    @property
    def labelled(self) -> int:
        """Training examples with labels; those behind them, of `--transfer`, have none."""
        return self.inputs.examples["train"]

    @property
    def finished(self) -> bool:
        """Whether all steps are taken."""
        return self.step >= self.total_steps

    @property
    def seconds(self) -> float:
        """That training and evaluations took up to the last evaluation."""
        return sum(past.training_seconds + past.evaluation_seconds for past in self.history)

    def run(self) -> Iterator[Evaluation]:
        """Trains to the end, yielding after each evaluation; raises what `advance` raises."""
        while not self.finished:
            if evaluation := self.advance():
                yield evaluation

    def advance(self) -> Evaluation | None:
        """Takes one step; returns the evaluation if one is due after it.

        Raises TrainingDivergedError if a loss since the last evaluation is NaN or infinite, and
        StopIteration if the trial is finished.
        """
        start = self._clock()
        config, training_step = self.config, self.setup.step
        position = (self.step, self.total_steps)
        alpha = alpha_at(
            *position, config.alpha_schedule, alpha=config.alpha, sharpness=config.sharpness
        )
        rate = learning_rate_at(*position, config.learning_rate, config.warmup_share)
        rows = next(self._batches)
        if rows[0] >= self.labelled:
            alpha = 0.0  # texts without labels: the teacher alone
        self.setup.distillation.alpha.fill_(alpha)
        if training_step.averages is not None:
            training_step.averages.set_decay(config.ema_decay, self.step)
        training_step.take(rows, rate)
        self.step += 1
        due = self.step in self._due
        losses = training_step.means.take() if due else {}
        self.trained_seconds += self._clock() - start
        if not due:
            return None
        # The whole first, whatever order an earlier trial or a checkpoint has left the sums in.
        self._check_finite({"loss": losses["loss"], **losses}, alpha, rate)
        with self.setup.averaged():
            evaluation = self._evaluate(losses, alpha, rate)
        self._check_finite({"the validation loss": evaluation.validation_loss}, alpha, rate)
        self.history.append(evaluation)
        self.trained_seconds = 0.0
        return evaluation

    def _clock(self) -> float:
        """Seconds, in which captures and what is compiled for them don't count."""
        return time.perf_counter() - self.setup.step.feed.executor.setup_seconds

    @cached_property
    def _batches(self) -> Iterator[np.ndarray]:
        """The batches from the first step taken here on."""
        config, lengths = self.config, self.setup.step.examples.lengths
        position = (config.batch_size, config.seed, self.step, self.total_steps)
        return remaining_batches(lengths, *position, labelled=self.labelled, share=config.transfer)

    @cached_property
    def _teacher_predictions(self) -> np.ndarray:
        """Of the examples of the evaluation split, [N]."""
        count, classes = self.inputs.examples["evaluation"], len(self.inputs.label_names)
        return unpack_predictions(self.inputs.teacher.predictions, count, classes)

    def _check_finite(self, losses: dict[str, float], alpha: float, rate: float) -> None:
        bad = [f"{name} is {value}" for name, value in losses.items() if not np.isfinite(value)]
        if bad:
            raise TrainingDivergedError(
                f"{bad[0]} by step {self.step} (learning rate {rate:.2g}, alpha {alpha:.2f})"
            )

    def _evaluate(self, losses: dict[str, float], alpha: float, rate: float) -> Evaluation:
        start = self._clock()
        evaluators, metric = self.setup.evaluators, self.inputs.metric
        labels, classes = evaluators["evaluation"].labels, len(self.inputs.label_names)
        logits = evaluators["evaluation"].logits()
        predictions = predicted(logits.numpy())
        largest, largest_logits, full = labels, logits, None
        if self.finished and "full" in evaluators:
            largest, largest_logits = evaluators["full"].labels, evaluators["full"].logits()
            full = predicted(largest_logits.numpy())
        # 0 where alpha is 1 throughout, though a captured step may have computed them.
        read = self.config.uses_teacher_outputs
        terms = {name: losses[name] if read else 0.0 for name in TEACHER_TERMS}
        scores = [*(past.score for past in self.history), score(metric, predictions, labels)]
        full_score = None if full is None else score(metric, full, largest)
        return Evaluation(
            evaluations=len(scores),
            step=self.step,
            score=scores[-1],
            best5=mean_of_best5(scores),
            validation_loss=mean_label_loss(logits, labels),
            teacher_agreement=agreement(predictions, self._teacher_predictions, labels),
            alpha=alpha,
            learning_rate=rate,
            loss=losses["loss"],
            losses={"cross_entropy": losses["cross_entropy"], **terms},
            training_seconds=self.trained_seconds,
            evaluation_seconds=self._clock() - start,
            predictions=pack_predictions(predictions, classes),
            full_score=full_score,
            full_predictions=None if full is None else pack_predictions(full, classes),
            one_label=bool((predictions == predictions[0]).all()),
            **self._calibration(largest_logits, largest),
        )

    def _calibration(self, logits: Tensor, labels: np.ndarray) -> dict[str, float]:
        """The calibration errors of a trial's last evaluation, of its largest split."""
        if not self.finished or not self.inputs.label_names or not logits.isfinite().all():
            return {}
        _, error, calibrated = calibration_errors(logits.numpy(), labels)
        return {"calibration_error": error, "calibrated_error": calibrated}
