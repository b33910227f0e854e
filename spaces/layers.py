"""Which hidden layers to align, at the reference study's fixed alpha."""

from typing import Any

from spaces._alpha_settings import fixed
from trainable.config.names import NAMED_LAYER_SETS


def layers() -> dict[str, Any]:
    """Initialisation x layer set, no alignment among them."""
    from ray import tune

    return {
        "initialisation": tune.grid_search(["random", "teacher_spread"]),
        "aligned_layers": tune.grid_search(list(NAMED_LAYER_SETS)),
        "alpha": fixed(0.5),
    }
