"""What a sweep is after: accuracy alone, or accuracy against what a student costs to run."""

from collections.abc import Mapping, Sequence
from typing import Any

from trainable.config.initialisations import PRETRAINED, RANDOM
from trainable.config.trial_config import TrialConfig

DEPTH, LATENCY, PARAMETERS = "depth", "latency", "parameters"
OBJECTIVES = (DEPTH, LATENCY, PARAMETERS)
LEAST_DEPTH = 2  # in a single layer a space finds no lower, upper or even ones to align


def student_depths(teacher_layers: int, deepest: float) -> tuple[int, ...]:
    """The depths that are tried against accuracy: from the deepest down to half of it, those that
    divide the teacher's. Where it is half the teacher's: a half, a third and a quarter of them."""
    least = max(deepest / 2, LEAST_DEPTH)
    every = range(teacher_layers, 0, -1)
    return tuple(n for n in every if least <= n <= deepest and teacher_layers % n == 0)


def cost_of(config: TrialConfig, against: str, costs: Mapping[str, float]) -> float:
    """What accuracy is weighed against: layers, or what `costs` has of students of that shape."""
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
