"""Which hidden layers to align, at the study's fixed alpha."""

from typing import Any

from trainable.names import NAMED_LAYER_SETS


def layers(coarse: bool) -> list[dict[str, Any]]:
    """Initialisation x layer set (no alignment among them); the same when coarse."""
    return [
        {
            "initialisation": initialisation,
            "aligned_layers": layer_set,
            "alpha_schedule": "fixed",
            "alpha": 0.5,
        }
        for initialisation in ("random", "teacher_spread")
        for layer_set in NAMED_LAYER_SETS
    ]
