"""The teacher's logits alone: how much they count, and how soft they are."""

from typing import Any

from spaces._alpha_settings import fixed
from spaces._inputs import Inputs


def logits(inputs: Inputs = Inputs()) -> dict[str, Any]:
    """Initialisation x fixed alpha x temperature; fewer values when coarse."""
    from ray import tune

    alphas = [0.5] if inputs.coarse else [0.0, 0.25, 0.5, 0.75]
    return {
        "initialisation": tune.grid_search(["random", "teacher_spread"]),
        "aligned_layers": "none",
        "alpha": tune.grid_search([fixed(alpha) for alpha in alphas]),
        "temperature": tune.grid_search([1.0, 2.0, 4.0] if inputs.coarse else [1.0, 2.0, 4.0, 8.0]),
    }
