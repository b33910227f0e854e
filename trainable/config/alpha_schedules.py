"""Alpha schedules: the weight of the labels against the teacher over a trial.

Pure functions of the step; another schedule is a function and a line in CURVES. The reference study
(`spaces.study`) has the cosine r(p) = 1 - cos(pi p / 2); the sharpness k raises it to r(p)^k.
"""

from collections.abc import Callable
from math import cos, pi

HOLD_SHARE = 0.1  # of all steps, at the start, keep the schedule's first value


def growth(progress: float, sharpness: float) -> float:
    """r_k(p) = (1 - cos(pi p / 2))^k, 0 -> 1: the teacher leads, then the labels."""
    return float((1.0 - cos(pi * progress / 2.0)) ** sharpness)


def descent(progress: float, sharpness: float) -> float:
    """1 -> 0: the labels lead, then the teacher."""
    return 1.0 - growth(progress, sharpness)


def vshape(progress: float, sharpness: float) -> float:
    """1 -> 0 -> 1: the descent over the first half, mirrored over the second."""
    return descent(1.0 - abs(1.0 - 2.0 * progress), sharpness)


def inverted_vshape(progress: float, sharpness: float) -> float:
    """0 -> 1 -> 0: one minus the v-shape."""
    return 1.0 - vshape(progress, sharpness)


CURVES: dict[str, Callable[[float, float], float]] = {
    "cosine_growth": growth,
    "cosine_descent": descent,
    "cosine_vshape": vshape,
    "cosine_^shape": inverted_vshape,
}
ALPHA_SCHEDULES = ("fixed", *CURVES)


def schedule_progress(step: int, total_steps: int) -> float:
    """p in [0, 1] at `step` (from 0): 0 through the hold, then linear, 1 at the last step."""
    hold = round(HOLD_SHARE * total_steps)
    after_hold = total_steps - 1 - hold
    if step <= hold or after_hold <= 0:
        return 0.0
    return (step - hold) / after_hold


def alpha_at(
    step: int,
    total_steps: int,
    schedule: str,
    *,
    alpha: float | None = None,
    sharpness: float | None = None,
) -> float:
    """Alpha in [0, 1] at optimiser step `step`: `alpha` for `fixed`, else the curve at `sharpness`,
    of which a TrialConfig has the one that its schedule needs."""
    if alpha is not None:
        return alpha
    return CURVES[schedule](schedule_progress(step, total_steps), sharpness or 1.0)
