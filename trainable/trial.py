"""One trial: a student trained on a task, one record an evaluation. Plain Python, no Ray."""

import random
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedModel

from trainable.alpha import alpha_at
from trainable.batches import evaluation_steps, remaining_batches, steps_per_epoch
from trainable.config import TrialConfig
from trainable.distillation import Distillation
from trainable.engine import LossMeans, TrainingStep, accuracy, evaluate, make_optimiser
from trainable.errors import TrainingDivergedError
from trainable.learning_rate import learning_rate_at
from trainable.metrics import best5_accuracy, pack_bits
from trainable.names import NO_LAYERS
from trainable.student import build_student
from trainable.task import Task
from trainable.teacher import load_teacher
from trainable.teacher_outputs import LOGITS, TeacherOutputs, open_outputs
from trainable.tokens import TokenisedSplit, load_split, padded_batch
from trainable.vocabulary import dense_split, load_vocabulary, trim_embedding


@dataclass(frozen=True)
class Evaluation:
    """What is known of a trial after its n-th evaluation; losses are means since the one before."""

    evaluations: int  # n, from 1
    step: int  # optimiser steps taken
    accuracy: float
    best5_accuracy: float
    alpha: float  # at the last step
    learning_rate: float  # at the last step
    loss: float
    loss_cross_entropy: float
    loss_kl: float
    loss_hidden: float
    training_seconds: float  # since the evaluation before
    evaluation_seconds: float
    correct: str  # packed bits: which sentences of the evaluation split were right
    # On the whole evaluation split where that one is a sample, after the last step only.
    whole_accuracy: float | None = None
    whole_correct: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


EVALUATION_KEYS = tuple(key.name for key in fields(Evaluation))


@lru_cache(maxsize=4)
def load_dense_splits(tokens_folder: Path, *, with_whole: bool) -> dict[str, TokenisedSplit]:
    """All splits with dense token ids; kept, since a worker runs many trials on one task."""
    in_use = load_vocabulary(tokens_folder)
    names = ("train", "evaluation", *(["whole"] if with_whole else []))
    return {name: dense_split(load_split(tokens_folder, name), in_use) for name in names}


@dataclass
class Trial:
    """A student in training, and all that decides how it goes on from `step`."""

    config: TrialConfig
    task: Task
    device: torch.device
    student: PreTrainedModel
    distillation: Distillation
    optimiser: torch.optim.Optimizer
    splits: dict[str, TokenisedSplit]
    step: int = 0
    history: list[Evaluation] = field(default_factory=list)
    means: LossMeans = field(default_factory=LossMeans)  # since the last evaluation
    trained_seconds: float = 0.0  # since the last evaluation

    def __post_init__(self) -> None:
        self._due = set(evaluation_steps(self.total_steps, self.config.evaluations))
        self._batches: Iterator[np.ndarray] | None = None  # opened at the first step taken
        self._take_step = TrainingStep(
            self.student, self.optimiser, self.distillation.losses, self.config.gradient_clip
        )

    @classmethod
    def start(cls, config: TrialConfig, task: Task, device: torch.device) -> "Trial":
        """A trial before its first step; seeds all random generators from the configuration."""
        random.seed(config.seed)
        np.random.seed(config.seed)
        splits = load_dense_splits(Path(task.tokens), with_whole="whole" in task.sentences)
        teacher = load_teacher(Path(task.teacher.folder))
        student = build_student(teacher, config)
        trim_embedding(student, load_vocabulary(Path(task.tokens)))
        student.to(device).train()
        distillation = Distillation.build(
            config, teacher.config, _teacher_outputs(config, task, splits["train"]), device
        )
        modules: list[nn.Module] = [student, distillation.projections]
        optimiser = make_optimiser(modules, config.weight_decay)
        torch.manual_seed(config.seed)  # dropout is the same whatever the initialisation drew
        return cls(config, task, device, student, distillation, optimiser, splits)

    @property
    def total_steps(self) -> int:
        """Optimiser steps of the whole trial."""
        per_epoch = steps_per_epoch(len(self.splits["train"]), self.config.batch_size)
        return self.config.epochs * per_epoch

    @property
    def finished(self) -> bool:
        """Whether all steps are taken."""
        return self.step >= self.total_steps

    def run(self) -> Iterator[Evaluation]:
        """Trains to the end, yielding after each evaluation; raises what `advance` raises."""
        while not self.finished:
            evaluation = self.advance()
            if evaluation is not None:
                yield evaluation

    def advance(self) -> Evaluation | None:
        """Takes one step; returns the evaluation where one is due after it.

        Raises TrainingDivergedError where a loss since the last evaluation is NaN or infinite, and
        StopIteration where the trial is finished.
        """
        start = time.perf_counter()
        alpha, rate = self._controls()
        self.distillation.alpha.fill_(alpha)
        rows = self._next_rows()
        batch = padded_batch(self.splits["train"], rows, self.task.pad_id, self.device)
        self.means.add(self._take_step(batch, rate))
        self.step += 1
        due = self.step in self._due
        losses = self.means.take() if due else {}
        self.trained_seconds += time.perf_counter() - start
        if not due:
            return None
        self._check_finite(losses, alpha, rate)
        self.history.append(self._evaluate(losses, alpha, rate, self.trained_seconds))
        self.trained_seconds = 0.0
        return self.history[-1]

    def _next_rows(self) -> np.ndarray:
        if self._batches is None:
            self._batches = remaining_batches(
                self.splits["train"].lengths,
                self.config.batch_size,
                self.config.seed,
                self.step,
                self.total_steps,
            )
        return next(self._batches)

    def _controls(self) -> tuple[float, float]:
        """Alpha and the learning rate at the step about to be taken."""
        config = self.config
        alpha = alpha_at(
            self.step,
            self.total_steps,
            config.alpha_schedule,
            alpha=config.alpha,
            sharpness=config.sharpness,
        )
        rate = learning_rate_at(
            self.step, self.total_steps, config.learning_rate, config.warmup_share
        )
        return alpha, rate

    def _check_finite(self, losses: dict[str, float], alpha: float, rate: float) -> None:
        bad = [f"{name} is {value}" for name, value in losses.items() if not np.isfinite(value)]
        if bad:
            raise TrainingDivergedError(
                f"{bad[0]} by step {self.step} (learning rate {rate:.2g}, alpha {alpha:.2f})"
            )

    def _evaluate(
        self, losses: dict[str, float], alpha: float, rate: float, trained: float
    ) -> Evaluation:
        start = time.perf_counter()
        correct = self._answers("evaluation")
        whole = self._answers("whole") if self.finished and "whole" in self.splits else None
        accuracies = [*(past.accuracy for past in self.history), accuracy(correct)]
        return Evaluation(
            evaluations=len(accuracies),
            step=self.step,
            accuracy=accuracies[-1],
            best5_accuracy=best5_accuracy(accuracies),
            alpha=alpha,
            learning_rate=rate,
            loss=losses["loss"],
            loss_cross_entropy=losses["cross_entropy"],
            loss_kl=losses.get("kl", 0.0),
            loss_hidden=losses.get("hidden", 0.0),
            training_seconds=trained,
            evaluation_seconds=time.perf_counter() - start,
            correct=pack_bits(correct),
            whole_accuracy=None if whole is None else accuracy(whole),
            whole_correct=None if whole is None else pack_bits(whole),
        )

    def _answers(self, name: str) -> np.ndarray:
        """Whether each sentence of a split is classified right."""
        split, precision = self.splits[name], self.config.precision
        return evaluate(self.student, split, self.task.pad_id, self.device, precision)


def _teacher_outputs(
    config: TrialConfig, task: Task, train: TokenisedSplit
) -> TeacherOutputs | None:
    if not config.uses_teacher_outputs:
        return None
    aligned = config.aligned_layers != NO_LAYERS
    return open_outputs(
        Path(task.outputs[LOGITS]),
        Path(task.outputs[config.hidden_pool]) if aligned else None,
        config.hidden_pool if aligned else None,
        train,
    )
