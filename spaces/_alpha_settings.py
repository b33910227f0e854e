"""The settings of alpha that belong together, for `tune.grid_search` over them."""

from typing import Any


def fixed(alpha: float) -> dict[str, Any]:
    """Constant alpha; 1 is cross-entropy alone."""
    return {"alpha_schedule": "fixed", "alpha": alpha}


def scheduled(name: str, sharpness: float = 1.0) -> dict[str, Any]:
    """A schedule of `trainable.config.alpha_schedules.CURVES`."""
    return {"alpha_schedule": name, "sharpness": sharpness}
