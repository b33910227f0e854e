"""Frozen descriptions of a trial and of a teacher's fine-tuning: all that decides their numbers."""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from hashlib import sha256
from typing import Any

from trainable.common.errors import UserError, unknown_name
from trainable.config.alpha_schedules import ALPHA_SCHEDULES
from trainable.config.fields import check_fields, described, field_types, merged, plain
from trainable.config.initialisations import INITIALISATIONS, PRETRAINED, RANDOM
from trainable.config.layer_sets import resolve_layer_set
from trainable.config.names import BALANCED, EQUAL, HIDDEN_POOLS, NO_LAYERS, PRECISIONS, RELATIONS


@dataclass(frozen=True, kw_only=True)
class TrialConfig:
    """What one student is and how it is trained. Construct from outside data with `from_dict`."""

    initialisation: str = described(
        "first weights: random, or teacher layers: spread over its depth, its lowest, its highest, "
        "or its embeddings only; or those of --student",
        "teacher_spread",
        choices=(*INITIALISATIONS, PRETRAINED),
    )
    aligned_layers: str = described(
        "student layers pulled to the teacher's: none, all, lower, upper, even, odd, or 1,2,3",
        NO_LAYERS,
    )
    alpha_schedule: str = described(
        "schedule of alpha, the weight of the cross-entropy with the labels",
        "fixed",
        choices=ALPHA_SCHEDULES,
    )
    alpha: float | None = described(
        "constant alpha, for alpha_schedule fixed only (0.5 where not given); 1 trains without the "
        "teacher",
        None,
        low=0.0,
        high=1.0,
    )
    sharpness: float | None = described(
        "exponent k of the alpha schedule, for every schedule but fixed; 1 is the plain cosine",
        None,
        above=0.0,
    )
    class_weight: str = described(
        "weights of classes in the cross-entropy: balanced is N / (C x the class's count) in the "
        "training examples",
        EQUAL,
        choices=(EQUAL, BALANCED),
    )
    temperature: float = described("softmax temperature T in the KL term", 2.0, above=0.0)
    hidden_weight: float = described("weight of the sum over aligned layers", 1.0, above=0.0)
    hidden_pool: str = described(
        "hidden states compared: the first token, the mean, or each real token",
        "cls",
        choices=HIDDEN_POOLS,
    )
    relation_weight: float = described("weight of the last layer's token relations", 0.0, low=0.0)
    relation_heads: int = described("heads of the token relations; divide the widths", 12, low=1)
    transfer_share: float = described(
        "texts of --transfer for each training example, in every epoch; alpha is 0 on them",
        0.0,
        low=0.0,
        high=1000.0,
    )
    student_layers: int = described("depth of the student; divides the teacher's", 6, low=1)
    student_width: int | None = described("hidden size; the teacher's if not given", None, low=1)
    feedforward_share: float = described(
        "share of the teacher's feed-forward neurons that each layer has; copied layers keep those "
        "with the largest weights",
        1.0,
        above=0.0,
        high=1.0,
    )
    learning_rate: float = described("peak learning rate of AdamW", 5e-5, above=0.0)
    weight_decay: float = described("weight decay, not on biases and norms", 0.01, low=0.0)
    warmup_share: float = described("share of warm-up steps", 0.1, low=0.0, below=1.0)
    gradient_clip: float = described("largest L2 norm of the gradient", 1.0, above=0.0)
    ema_decay: float = described(
        "decay per step of an exponential moving average of the weights, which is then what is "
        "evaluated and kept; no more than (1 + step) / (10 + step); 0 for none",
        0.0,
        low=0.0,
        below=1.0,
    )
    batch_size: int = described("examples per step", 32, low=1)
    epochs: int = described("passes over the training examples", 3, low=1)
    max_steps: int | None = described(
        "optimiser steps, in the place of epochs: the same budget whatever transfer_share adds",
        None,
        low=1,
    )
    evaluations: int = described("number, equally spaced, the last at the end", 15, low=1)
    seed: int = described("of random weights, order and dropout", 0, low=0, high=2**32 - 1)
    precision: str = described("arithmetic of the forward pass", "fp32", choices=PRECISIONS)

    def __post_init__(self) -> None:
        check_fields(self)
        layers = resolve_layer_set(self.aligned_layers, self.student_layers)
        object.__setattr__(self, "aligned_layers", layers)
        self._check_alpha()
        self._check_relations()
        self._check_width()

    def _check_alpha(self) -> None:
        schedule, fixed = self.alpha_schedule, self.alpha_schedule == "fixed"
        if fixed and self.alpha is None:
            object.__setattr__(self, "alpha", 0.5)
        if fixed and self.sharpness is not None:
            raise UserError(f"sharpness: {self.sharpness} given, but alpha_schedule fixed has none")
        if not fixed and self.sharpness is None:
            raise UserError(f"sharpness: missing; {schedule} needs one above 0")
        if not fixed and self.alpha is not None:
            raise UserError(f"alpha: {self.alpha} given, but {schedule} sets alpha itself")
        if not self.uses_teacher_outputs and self.aligned_layers != NO_LAYERS:
            raise UserError(
                f"aligned_layers: {self.aligned_layers!r} has no effect at alpha 1; give none"
            )

    def _check_relations(self) -> None:
        weight, layers = self.relation_weight, self.aligned_layers
        if weight and not self.uses_teacher_outputs:
            raise UserError(f"relation_weight: {weight} has no effect at alpha 1; give 0")
        if weight and layers != NO_LAYERS:
            raise UserError(
                f"relation_weight: {weight} does not go with aligned layers {layers}; "
                f"give aligned_layers {NO_LAYERS}"
            )

    def _check_width(self) -> None:
        if self.student_width is not None and self.initialisation not in (RANDOM, PRETRAINED):
            raise UserError(
                f"student_width: {self.student_width} needs initialisation random, "
                f"not {self.initialisation}: the teacher's weights would not fit"
            )
        if self.feedforward_share != 1.0 and self.initialisation == PRETRAINED:
            raise UserError(
                f"feedforward_share: {self.feedforward_share} does not go with initialisation "
                f"{PRETRAINED}, which has a shape of its own"
            )

    @property
    def shape(self) -> tuple[Any, ...]:
        """What decides a student's sizes, with the teacher's or `--student`'s."""
        kind = self.initialisation == PRETRAINED
        return kind, self.student_layers, self.student_width, self.feedforward_share

    @property
    def uses_teacher_outputs(self) -> bool:
        """False where alpha is 1 throughout: the teacher's part of the loss has no weight."""
        return not (self.alpha_schedule == "fixed" and self.alpha == 1.0)

    @property
    def teacher_states(self) -> str | None:
        """What the loss compares beside logits: a hidden pool, RELATIONS, or nothing."""
        if self.aligned_layers != NO_LAYERS:
            return self.hidden_pool
        return RELATIONS if self.relation_weight else None

    @property
    def transfer(self) -> float:
        """`transfer_share` where it has an effect: at alpha 1 nothing is learned without labels."""
        return self.transfer_share if self.uses_teacher_outputs else 0.0

    @property
    def inactive_settings(self) -> set[str]:
        """Settings that change nothing beside the others' values."""
        of_hidden = {"hidden_weight", "hidden_pool"} if self.aligned_layers == NO_LAYERS else set()
        of_relations = set() if self.relation_weight else {"relation_heads"}
        of_logits = set() if self.uses_teacher_outputs else {"temperature", "transfer_share"}
        of_length = set() if self.max_steps is None else {"epochs"}
        of_labels = {"class_weight"} if self.alpha == 0.0 else set()
        return of_hidden | of_relations | of_logits | of_length | of_labels

    @cached_property
    def recipe(self) -> "TrialConfig":
        """The same for all that train alike but for the seed; inactive settings at their
        defaults."""
        inactive = {key: getattr(TrialConfig, key) for key in self.inactive_settings}
        return replace(self, **inactive, seed=0)

    def with_fixed_alpha(self, alpha: float) -> "TrialConfig":
        """The same at a constant alpha; at 1 without the teacher's part of the loss."""
        return replace(
            self,
            alpha_schedule="fixed",
            alpha=alpha,
            sharpness=None,
            aligned_layers=NO_LAYERS if alpha == 1.0 else self.aligned_layers,
            relation_weight=0.0 if alpha == 1.0 else self.relation_weight,
        )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "TrialConfig":
        """A checked configuration; UserError for an unknown key or a value out of its range.

        Settings may stand in groups: `{"alpha": {"alpha_schedule": "fixed", "alpha": 1.0}}`.
        """
        known, flat = {setting.name for setting in fields(cls)}, merged(values)
        for key in flat:
            if key not in known:
                raise unknown_name("setting", key, sorted(known))
        return cls(**{key: _plain_number(key, value) for key, value in flat.items()})

    @cached_property
    def digest(self) -> str:
        """Eight hexadecimal digits that are the same exactly for equal configurations."""
        text = json.dumps(asdict(self), sort_keys=True)
        return sha256(text.encode()).hexdigest()[:8]

    def label(self) -> str:
        """The searched settings in short: `teacher_spread, layers 1,2,3, ...`."""
        last = [] if self.class_weight == EQUAL else [f"class weight {self.class_weight}"]
        last += [f"ema {self.ema_decay:g}"] if self.ema_decay else []
        last += [f"seed {self.seed}"] if self.seed else []
        if not self.uses_teacher_outputs:
            return ", ".join([self.initialisation, "cross-entropy only", *last])
        parts = [self.initialisation, "logits only"]
        if self.aligned_layers != NO_LAYERS:
            parts[1] = f"layers {self.aligned_layers}"
            parts += [f"pool {self.hidden_pool}"] if self.hidden_pool != "cls" else []
            parts += [f"weight {self.hidden_weight:g}"] if self.hidden_weight != 1.0 else []
        if self.relation_weight:
            parts[1] = f"relations weight {self.relation_weight:g}"
            parts += [f"heads {self.relation_heads}"] if self.relation_heads != 12 else []
        if self.alpha_schedule == "fixed":
            parts.append(f"fixed {self.alpha:g}")
        else:
            parts.append(f"{self.alpha_schedule} k={self.sharpness:g}")
        parts += [f"T={self.temperature:g}"] if self.temperature != 2.0 else []
        parts += [f"transfer {self.transfer_share:g}"] if self.transfer_share else []
        return ", ".join([*parts, *last])

    @property
    def folder_name(self) -> str:
        """Label and digest as a folder's name, safe on any file system."""
        return f"{re.sub(r'[^A-Za-z0-9.=_]+', '-', self.label())}-{self.digest}"


@dataclass(frozen=True)
class TeacherSettings:
    """How a teacher is fine-tuned, and when it stops, judged on a held-out tenth of the training
    examples; names that TrialConfig has mean the same."""

    learning_rate: float = 2e-5
    epochs: int = 3  # of a round, after which the rate is 0
    rounds: int = 3  # at most; another one only while it gains
    evaluations_per_epoch: int = 2
    patience: int = 3  # worse evaluations in a row, after which it stops
    batch_size: int = 32
    weight_decay: float = 0.01
    warmup_share: float = 0.1
    gradient_clip: float = 1.0
    seed: int = 0


def _plain_number(key: str, value: Any) -> Any:
    """Values that are equal become the same: 1 and 1.0, 0.0 and -0.0 are one configuration."""
    value = plain(value)  # samplers and schedulers of Tune may draw numpy's
    if field_types(TrialConfig).get(key, (None,))[0] is float and type(value) in (int, float):
        return float(value) + 0.0
    return value
