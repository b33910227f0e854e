"""What a sweep is after: the score alone, or the score against what a student costs to run."""

from collections.abc import Mapping, Sequence
from typing import Any

from trainable.config.initialisations import PRETRAINED, RANDOM
from trainable.config.trial_config import TrialConfig

LAYERS, FEEDFORWARD = "student_layers", "feedforward_share"  # of a shape whose cost counts
HALF = 0.5  # of the feed-forward neurons, the share that a searched space tries beside all of them
DEPTH, LATENCY, PARAMETERS = "depth", "latency", "parameters"
OBJECTIVES = (DEPTH, LATENCY, PARAMETERS)

Shape = tuple[int, float]  # layers, and the share of the teacher's feed-forward neurons


def cost_of(config: TrialConfig, against: str, costs: Mapping[str, float]) -> float:
    """What the score is weighed against: layers, or what `costs` has of students of that shape."""
    return float(config.student_layers if against == DEPTH else costs[_shape(config)])


def shapes(
    tried: Sequence[Shape], width: int | None, pretrained: Mapping[str, Any]
) -> dict[str, TrialConfig]:
    """A configuration of each shape whose cost is to be known, by its name, and of `--student`."""
    fixed: dict[str, Any] = {"initialisation": RANDOM, "alpha": 1.0, "student_width": width}
    configs = [TrialConfig(**fixed, **settings_of(shape)) for shape in sorted(tried)]
    if pretrained:
        configs.append(TrialConfig(initialisation=PRETRAINED, alpha=1.0, **pretrained))
    return {_shape(config): config for config in configs}


def settings_of(shape: Shape) -> dict[str, Any]:
    """A shape's settings, by name."""
    return dict(zip((LAYERS, FEEDFORWARD), shape, strict=True))


def shape_name(shape: Shape) -> str:
    """`3`, or `3 x 0.5` with half of the feed-forward neurons."""
    layers, share = shape
    return f"{layers}" if share == 1.0 else f"{layers} x {share:g}"


def _shape(config: TrialConfig) -> str:
    """Its name; `pretrained` has a shape of its own."""
    pretrained = config.initialisation == PRETRAINED
    own = config.student_layers, config.feedforward_share
    return PRETRAINED if pretrained else shape_name(own)
