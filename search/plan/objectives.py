"""What a sweep is after: the score alone, or the score against what a student costs to run."""

from collections.abc import Mapping, Sequence
from typing import Any

from trainable.config.initialisations import PRETRAINED, RANDOM
from trainable.config.trial_config import TrialConfig

LAYERS = "student_layers"  # the setting that is weighed, if --against is given
DEPTH, LATENCY, PARAMETERS = "depth", "latency", "parameters"
OBJECTIVES = (DEPTH, LATENCY, PARAMETERS)


def cost_of(config: TrialConfig, against: str, costs: Mapping[str, float]) -> float:
    """What the score is weighed against: layers, or what `costs` has of students of that shape."""
    return float(config.student_layers if against == DEPTH else costs[_shape(config)])


def shapes(
    depths: Sequence[int], width: int | None, pretrained: Mapping[str, Any]
) -> dict[str, TrialConfig]:
    """A configuration of each shape whose cost is to be known: by depth, and of `--student`."""
    configs = [
        TrialConfig(initialisation=RANDOM, alpha=1.0, student_layers=depth, student_width=width)
        for depth in sorted(depths)
    ]
    if pretrained:
        configs.append(TrialConfig(initialisation=PRETRAINED, alpha=1.0, **pretrained))
    return {_shape(config): config for config in configs}


def _shape(config: TrialConfig) -> str:
    """`3`, or `pretrained`, which has a shape of its own."""
    pretrained = config.initialisation == PRETRAINED
    return PRETRAINED if pretrained else str(config.student_layers)
