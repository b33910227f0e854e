"""The spaces that list what they try: constants and `tune.grid_search`, each one function."""

from typing import Any

from trainable.names import INITIALISATIONS, NAMED_LAYER_SETS

SHAPES = ("growth", "descent", "vshape", "^shape")


def fixed(alpha: float) -> dict[str, Any]:
    """Constant alpha; 1 is cross-entropy alone."""
    return {"alpha_schedule": "fixed", "alpha": alpha}


def cosine(shape: str, sharpness: float = 1.0) -> dict[str, Any]:
    """A cosine schedule of alpha: one of SHAPES."""
    return {"alpha_schedule": f"cosine_{shape}", "sharpness": sharpness}


def baselines() -> dict[str, Any]:
    """Cross-entropy only: what each initialisation reaches without the teacher's outputs."""
    from ray import tune

    return {
        "initialisation": tune.grid_search(list(INITIALISATIONS)),
        "aligned_layers": "none",
        "alpha": fixed(1.0),
    }


def logits(coarse: bool = False) -> dict[str, Any]:
    """The teacher's logits alone: how much they count, and how soft they are."""
    from ray import tune

    alphas = [0.5] if coarse else [0.0, 0.25, 0.5, 0.75]
    return {
        "initialisation": tune.grid_search(["random", "teacher_spread"]),
        "aligned_layers": "none",
        "alpha": tune.grid_search([fixed(alpha) for alpha in alphas]),
        "temperature": tune.grid_search([1.0, 2.0, 4.0] if coarse else [1.0, 2.0, 4.0, 8.0]),
    }


def layers() -> dict[str, Any]:
    """Which hidden layers to align, none among them, at the reference study's fixed alpha."""
    from ray import tune

    return {
        "initialisation": tune.grid_search(["random", "teacher_spread"]),
        "aligned_layers": tune.grid_search(list(NAMED_LAYER_SETS)),
        "alpha": fixed(0.5),
    }


def schedules(coarse: bool = False) -> dict[str, Any]:
    """How alpha moves over a trial, and how sharply, which `fixed` has none of."""
    from ray import tune

    sharpness = [1.0, 3.0] if coarse else [0.5, 1.0, 2.0]
    return {
        "initialisation": tune.grid_search(["random", "teacher_spread"]),
        "aligned_layers": tune.grid_search(["lower"] if coarse else ["none", "lower", "all"]),
        "alpha": tune.grid_search(
            [fixed(0.5), *(cosine(shape, k) for shape in SHAPES for k in sharpness)]
        ),
    }
