"""What a sweep is after: accuracy alone, or accuracy against what a student costs to run."""

from collections.abc import Mapping

from trainable.config import TrialConfig

DEPTH, LATENCY = "depth", "latency"
OBJECTIVES = (DEPTH, LATENCY)
SHARES = (1, 2 / 3, 1 / 2)  # of the student's depth; of 6 layers: 6, 4, 3


def depths(student_layers: int) -> tuple[int, ...]:
    """The depths that are tried against accuracy: a half, a third and a quarter of the teacher's
    where that is twice the student's, as far as they are whole."""
    found = [student_layers * share for share in SHARES]
    return tuple(round(depth) for depth in found if abs(depth - round(depth)) < 1e-9)


def directions(against: str | None) -> list[str]:
    """Of each objective, as Optuna names them; best5 comes first."""
    return ["maximize"] if against is None else ["maximize", "minimize"]


def names(against: str | None) -> list[str]:
    """Of each objective, as `optuna-dashboard` shows them."""
    return ["best5_accuracy", *([] if against is None else [against])]


def cost_of(config: TrialConfig, against: str, latencies: Mapping[str, float]) -> float:
    """What accuracy is weighed against: layers, or milliseconds a sentence as measured by depth."""
    depth = config.student_layers
    return float(depth if against == DEPTH else latencies[str(depth)])
