"""What a sweep is after: accuracy alone, or accuracy against what a student costs to run."""

from collections.abc import Mapping

from trainable.config.trial_config import TrialConfig

DEPTH, LATENCY = "depth", "latency"
OBJECTIVES = (DEPTH, LATENCY)
LEAST_DEPTH = 2  # in a single layer a space finds no lower, upper or even ones to align


def student_depths(teacher_layers: int, deepest: float) -> tuple[int, ...]:
    """The depths that are tried against accuracy: from the deepest down to half of it, those that
    divide the teacher's. Where it is half the teacher's: a half, a third and a quarter of them."""
    least = max(deepest / 2, LEAST_DEPTH)
    every = range(teacher_layers, 0, -1)
    return tuple(n for n in every if least <= n <= deepest and teacher_layers % n == 0)


def cost_of(config: TrialConfig, against: str, latencies: Mapping[str, float]) -> float:
    """What accuracy is weighed against: layers, or milliseconds an example as measured by depth."""
    depth = config.student_layers
    return float(depth if against == DEPTH else latencies[str(depth)])
