"""What a practitioner would search to get the best student: conditional, mostly continuous.

Its values are drawn one configuration after another by a searcher (`--searcher`) that learns from
the scores of those before.
"""

from typing import TYPE_CHECKING, Any

from spaces._alpha import scheduled
from spaces._inputs import Inputs
from trainable.config.alpha_schedules import ALPHA_SCHEDULES
from trainable.config.initialisations import INITIALISATIONS
from trainable.config.names import HIDDEN_POOLS, NAMED_LAYER_SETS

if TYPE_CHECKING:
    from optuna import Trial

Point = dict[str, Any]
EMA_DECAYS = (0.0, 0.98, 0.995)  # averages over the last 50 and 200 steps, about
RELATION_WEIGHTS = (0.0, 0.1, 1.0, 10.0)
TRANSFER_SHARES = (0.0, 1.0, 2.0)


def recipe(trial: "Trial", inputs: Inputs = Inputs()) -> Point:
    """One configuration: each setting is drawn only where it changes something.

    A pretrained student that has not the teacher's tokens is never compared token by token.
    """
    point: Point = {
        "initialisation": trial.suggest_categorical("initialisation", INITIALISATIONS),
        "learning_rate": trial.suggest_float("learning_rate", 1e-5, 5e-4, log=True),
        "ema_decay": trial.suggest_categorical("ema_decay", EMA_DECAYS),
        "alpha_schedule": trial.suggest_categorical("alpha_schedule", ALPHA_SCHEDULES),
        "aligned_layers": "none",
    }
    if point["alpha_schedule"] == "fixed":
        point["alpha"] = trial.suggest_float("alpha", 0.0, 1.0)
        if point["alpha"] == 1.0:
            return point  # cross-entropy only: the teacher's part has no weight
    else:
        point["sharpness"] = trial.suggest_float("sharpness", 0.25, 4.0, log=True)
    point["temperature"] = trial.suggest_float("temperature", 1.0, 8.0, log=True)
    point["aligned_layers"] = trial.suggest_categorical("aligned_layers", NAMED_LAYER_SETS)
    if inputs.transfer:
        point["transfer_share"] = trial.suggest_categorical("transfer_share", TRANSFER_SHARES)
    tokens = inputs.teachers_tokens or point["initialisation"] != "pretrained"
    if point["aligned_layers"] != "none":
        pool = trial.suggest_categorical("hidden_pool", HIDDEN_POOLS)
        point["hidden_pool"] = pool if tokens or pool != "tokens" else "mean"
        point["hidden_weight"] = trial.suggest_float("hidden_weight", 1.0, 10_000.0, log=True)
    elif inputs.relation_heads and tokens:
        point["relation_heads"] = inputs.relation_heads
        point["relation_weight"] = trial.suggest_categorical("relation_weight", RELATION_WEIGHTS)
    return point


PLAIN: Point = {
    "initialisation": "teacher_spread",
    "learning_rate": 5e-5,
    "ema_decay": 0.0,
    "alpha_schedule": "fixed",
    "temperature": 2.0,
    "aligned_layers": "none",
    "relation_weight": 0.0,
    "transfer_share": 0.0,
}
LOWER: Point = {"aligned_layers": "lower", "hidden_pool": "cls", "hidden_weight": 1.0}
ALL_TOKENS: Point = {"aligned_layers": "all", "hidden_pool": "tokens", "hidden_weight": 100.0}
# Tried first, whatever the searcher: the reference study's best recipe, the plain baselines, and
# all tokens of all layers aligned, as TinyBERT does.
POINTS_TO_EVALUATE: list[Point] = [
    {**PLAIN, **scheduled("cosine_growth"), **LOWER},
    {**PLAIN, "alpha": 0.5},
    {**PLAIN, "alpha": 1.0},
    {**PLAIN, "alpha": 1.0, "initialisation": "random", "learning_rate": 1e-4},
    {**PLAIN, "alpha": 0.5, **ALL_TOKENS},
]
