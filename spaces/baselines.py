"""Cross-entropy only: what each initialisation reaches without the teacher's outputs."""

from typing import Any

from trainable.names import INITIALISATIONS


def baselines(coarse: bool) -> list[dict[str, Any]]:
    """One trial for each initialisation, alpha 1 throughout; the same when coarse."""
    return [
        {
            "initialisation": initialisation,
            "aligned_layers": "none",
            "alpha_schedule": "fixed",
            "alpha": 1.0,
        }
        for initialisation in INITIALISATIONS
    ]
