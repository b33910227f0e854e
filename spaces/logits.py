"""The teacher's logits alone: how much they count, and how soft they are."""

from typing import Any


def logits(coarse: bool) -> list[dict[str, Any]]:
    """Initialisation x fixed alpha x temperature."""
    return [
        {
            "initialisation": initialisation,
            "aligned_layers": "none",
            "alpha_schedule": "fixed",
            "alpha": alpha,
            "temperature": temperature,
        }
        for initialisation in ("random", "teacher_spread")
        for alpha in ((0.5,) if coarse else (0.0, 0.25, 0.5, 0.75))
        for temperature in ((1.0, 2.0, 4.0) if coarse else (1.0, 2.0, 4.0, 8.0))
    ]
