"""How alpha moves over a trial, and how sharply."""

from typing import Any

from trainable.names import ALPHA_SCHEDULES


def schedules(coarse: bool) -> list[dict[str, Any]]:
    """Initialisation x layer set x schedule x sharpness, which `fixed` has none of."""
    alphas: list[dict[str, Any]] = [{"alpha_schedule": "fixed", "alpha": 0.5}]
    alphas += [
        {"alpha_schedule": schedule, "sharpness": sharpness}
        for schedule in ALPHA_SCHEDULES
        if schedule != "fixed"
        for sharpness in ((1.0, 3.0) if coarse else (0.5, 1.0, 2.0))
    ]
    return [
        {"initialisation": initialisation, "aligned_layers": layer_set, **alpha}
        for initialisation in ("random", "teacher_spread")
        for layer_set in (("lower",) if coarse else ("none", "lower", "all"))
        for alpha in alphas
    ]
