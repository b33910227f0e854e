"""A run's plan: what it was asked for, how it was made, what its trials share, and the trials."""

from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from search.plan.resolve import ResolvedRequest
from trainable.config.fields import check_types
from trainable.config.metrics import METRIC_LABELS
from trainable.config.training_inputs import TrainingInputs
from trainable.config.trial_config import TrialConfig

FORMAT = 12
CONFIRMATION = {"run", "started", "finalists", "scores", "seeds", "asked"}  # what `confirms` has


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Written as `sweep.json`; a run that is extended gets another one, of a higher revision.

    `requests` are what was asked for first and what was added, resolved; the last also has how the
    trials are run. A searched run's `trials` are those that come first, with the draw of each by
    its digest in `parameters`.
    """

    requests: tuple[ResolvedRequest, ...]
    provenance: Mapping[str, Any]  # command, started, commit, versions, device
    inputs: TrainingInputs
    trials: tuple[TrialConfig, ...]
    grace_evaluations: int  # before a trial may wait or be stopped
    parameters: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    costs: Mapping[str, float] = field(default_factory=dict)  # by shape (`objectives.shapes`)
    confirms: Mapping[str, Any] | None = None  # what of another run this one confirms
    revision: int = 0
    identity: str = ""  # drawn as the run is created, the same in all its plans
    format: int = FORMAT

    @property
    def request(self) -> ResolvedRequest:
        """What was asked for last."""
        return self.requests[-1]

    @property
    def compare_within(self) -> tuple[str, ...]:
        """The settings that divide trials into strata."""
        return self.requests[0].strata

    def check(self) -> None:
        """TypeError or ValueError where a value is not of its type, or what all runs have is
        missing."""
        check_types(self)
        sizes, made = self.inputs.examples, self.provenance
        if min(sizes.get("train", 0), sizes.get("evaluation", 0)) < 1 or not self.requests:
            raise TypeError("no examples or no request")
        labels, teacher = self.inputs.labels, self.inputs.teacher
        if self.inputs.metric not in METRIC_LABELS or "evaluation" not in labels:
            raise TypeError("no metric or no labels")
        for packed in (*labels.values(), teacher.predictions, teacher.full_predictions or ""):
            b64decode(packed)
        if not isinstance(made.get("versions", {}), Mapping):
            raise TypeError("its provenance has no versions")
        if self.confirms is not None and not self.confirms.keys() >= CONFIRMATION:
            raise TypeError("it confirms nothing")
