"""What a practitioner would search to get the best student: conditional, mostly continuous.

Its values are drawn one configuration after another by a searcher (`--searcher`). PRIORS say where
good values are expected, and how surely. No hidden states are aligned: students gained nothing from
it that lasted on other examples, and the teacher's states of made texts take room. `--set` fixes
what is wanted all the same.
"""

from typing import TYPE_CHECKING, Any

from spaces._alpha_settings import fixed
from trainable.config.alpha_schedules import ALPHA_SCHEDULES
from trainable.config.initialisations import INITIALISATIONS, PRETRAINED

if TYPE_CHECKING:
    from optuna import Trial

Point = dict[str, Any]
EMA_DECAYS = (0.0, 0.98, 0.995)  # averages over the last 50 and 200 steps, about


def recipe(trial: "Trial") -> Point:
    """One configuration: each setting is drawn only where it changes something."""
    point: Point = {
        "initialisation": trial.suggest_categorical("initialisation", INITIALISATIONS),
        "learning_rate_factor": trial.suggest_float("learning_rate_factor", 0.25, 4.0, log=True),
        "ema_decay": trial.suggest_categorical("ema_decay", EMA_DECAYS),
        "alpha_schedule": trial.suggest_categorical("alpha_schedule", ALPHA_SCHEDULES),
    }
    if point["alpha_schedule"] == "fixed":
        point["alpha"] = trial.suggest_float("alpha", 0.0, 1.0)
        if point["alpha"] == 1.0:
            return point  # cross-entropy only: the teacher's part has no weight
    else:
        point["sharpness"] = trial.suggest_float("sharpness", 0.25, 4.0, log=True)
    point["temperature"] = trial.suggest_float("temperature", 1.0, 8.0, log=True)
    return point


DEFAULT: Point = {  # what a preset does if nothing is searched
    "initialisation": "teacher_spread",
    "learning_rate_factor": 1.0,
    "ema_decay": 0.0,
    **fixed(0.5),
    "temperature": 2.0,
    "sharpness": 1.0,  # where --set asks for a schedule
}
# All that a short search tries; no average of weights is among them, since all finals have one.
POINTS_TO_EVALUATE: list[Point] = [DEFAULT, {**DEFAULT, "initialisation": "teacher_lower"}]
PRIORS: dict[str, Any] = {
    "initialisation": {"teacher_spread": 20, "teacher_lower": 10, PRETRAINED: 20},
    "learning_rate_factor": (1.0, 1.6),
    "ema_decay": {0.0: 2, 0.98: 3},
    "alpha_schedule": {"fixed": 12},
    "alpha": (0.5, 0.2),
    "sharpness": (1.0, 2.0),
    "temperature": (2.0, 1.6),
}
