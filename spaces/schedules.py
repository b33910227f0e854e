"""How alpha moves over a trial, and how sharply."""

from typing import Any

from spaces._alpha_settings import fixed, scheduled
from spaces._inputs import Inputs
from trainable.config.alpha_schedules import CURVES


def schedules(inputs: Inputs = Inputs()) -> dict[str, Any]:
    """Initialisation x layer set x schedule x sharpness, which `fixed` has none of."""
    from ray import tune

    sharpness = [1.0, 3.0] if inputs.coarse else [0.5, 1.0, 2.0]
    return {
        "initialisation": tune.grid_search(["random", "teacher_spread"]),
        "aligned_layers": tune.grid_search(
            ["lower"] if inputs.coarse else ["none", "lower", "all"]
        ),
        "alpha": tune.grid_search(
            [fixed(0.5), *(scheduled(name, k) for name in CURVES for k in sharpness)]
        ),
    }
