"""What a sweep is after: accuracy alone, or accuracy against what a student costs to run."""

from typing import TYPE_CHECKING

from trainable.config import TrialConfig

if TYPE_CHECKING:
    from search.record import Run
    from search.request import Request

DEPTH, LATENCY = "depth", "latency"
OBJECTIVES = (DEPTH, LATENCY)
SHARES = (1, 2 / 3, 1 / 2)  # of the student's depth; of 6 layers: 6, 4, 3


def depths(student_layers: int) -> tuple[int, ...]:
    """The depths that are tried against accuracy: a half, a third and a quarter of the teacher's
    where that is twice the student's, as far as they are whole."""
    found = [student_layers * share for share in SHARES]
    return tuple(round(depth) for depth in found if abs(depth - round(depth)) < 1e-9)


def directions(request: "Request") -> list[str]:
    """Of each objective, as Optuna names them; best5 comes first."""
    return ["maximize"] if request.against is None else ["maximize", "minimize"]


def names(request: "Request") -> list[str]:
    """Of each objective, as `optuna-dashboard` shows them."""
    return ["best5_accuracy", *([] if request.against is None else [request.against])]


def cost_of(run: "Run", config: TrialConfig) -> list[float]:
    """The second objective of a configuration, where the sweep has one.

    Depth in layers; latency in milliseconds, as measured on this machine before the sweep.
    """
    against = run.request.against
    if against is None:
        return []
    depth = config.student_layers
    return [float(depth) if against == DEPTH else float(run.sweep[LATENCY][str(depth)])]
