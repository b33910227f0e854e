"""The 18 rows of the reference study, with the accuracy it reports on SST-2.

Encoder Knowledge Distillation, lxxing666, SwanLab project Knowledge-Distillation.
"""

from typing import Any, NamedTuple

from spaces._alpha_settings import fixed, scheduled
from trainable.common.errors import UserError
from trainable.config.layer_sets import resolve_layer_set
from trainable.config.names import EQUAL
from trainable.config.trial_config import TrialConfig

CE_ONLY, FIXED = fixed(1.0), fixed(0.5)
DESCENT, GROWTH, V_SHAPE, INVERTED_V = (
    scheduled(f"cosine_{shape}") for shape in ("descent", "growth", "vshape", "^shape")
)

CONSTANTS = {  # in all rows
    "temperature": 2.0,
    "hidden_pool": "cls",
    "hidden_weight": 1.0,
    "relation_weight": 0.0,
    "student_width": None,  # the teacher's
    "feedforward_share": 1.0,
    "ema_decay": 0.0,
    "class_weight": EQUAL,
    "transfer_share": 0.0,
}


class StudyRow(NamedTuple):
    """A row of the study's tables."""

    table: str
    initialisation: str
    layers: str  # aligned, by name
    alpha: dict[str, Any]
    accuracy: float  # mean of its five best evaluations on SST-2


STUDY_ROWS = [
    StudyRow("baseline", "random", "none", CE_ONLY, 0.8266),
    StudyRow("baseline", "teacher_spread", "none", CE_ONLY, 0.8853),
    StudyRow("logits", "random", "none", FIXED, 0.8342),
    StudyRow("logits", "teacher_spread", "none", FIXED, 0.8931),
    StudyRow("layers", "teacher_spread", "all", FIXED, 0.8929),
    StudyRow("layers", "random", "all", FIXED, 0.8383),
    StudyRow("layers", "random", "upper", FIXED, 0.8321),
    StudyRow("layers", "random", "lower", FIXED, 0.8362),
    StudyRow("layers", "random", "even", FIXED, 0.8358),
    StudyRow("layers", "random", "odd", FIXED, 0.8358),
    StudyRow("schedules", "random", "lower", DESCENT, 0.8312),
    StudyRow("schedules", "random", "lower", GROWTH, 0.8431),
    StudyRow("schedules", "random", "lower", V_SHAPE, 0.8353),
    StudyRow("schedules", "random", "lower", INVERTED_V, 0.8365),
    StudyRow("schedules", "teacher_spread", "lower", DESCENT, 0.8174),
    StudyRow("schedules", "teacher_spread", "lower", GROWTH, 0.8991),
    StudyRow("schedules", "teacher_spread", "lower", V_SHAPE, 0.8908),
    StudyRow("schedules", "teacher_spread", "lower", INVERTED_V, 0.8956),
]


def reference_row(config: TrialConfig) -> StudyRow | None:
    """The row that a trial repeats, on whatever seed; what is inactive in it may differ."""
    recipe = config.recipe
    for row in STUDY_ROWS:
        try:
            layers = resolve_layer_set(row.layers, recipe.student_layers)
        except UserError:  # a student too shallow for that set
            continue
        wanted = {"initialisation": row.initialisation, "aligned_layers": layers, **CONSTANTS}
        wanted |= {"alpha": None, "sharpness": None, **row.alpha}
        if all(getattr(recipe, key) == value for key, value in wanted.items()):
            return row
    return None


def study() -> dict[str, Any]:
    """One trial for each row."""
    from ray import tune

    rows = [
        {"initialisation": initialisation, "aligned_layers": layer_set, **alpha}
        for _, initialisation, layer_set, alpha, _ in STUDY_ROWS
    ]
    return {"row": tune.grid_search(rows)}
