"""Cross-entropy only: what each initialisation reaches without the teacher's outputs."""

from typing import Any

from spaces._alpha_settings import fixed
from trainable.config.initialisations import INITIALISATIONS


def baselines() -> dict[str, Any]:
    """One trial for each initialisation, alpha 1 throughout."""
    from ray import tune

    return {
        "initialisation": tune.grid_search(list(INITIALISATIONS)),
        "aligned_layers": "none",
        "alpha": fixed(1.0),
    }
