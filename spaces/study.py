"""The 18 rows of the reference study, with the accuracy it reports on SST-2."""

from typing import Any

from spaces.alpha import cosine, fixed

CE_ONLY, FIXED = fixed(1.0), fixed(0.5)
DESCENT, GROWTH = cosine("descent"), cosine("growth")
V_SHAPE, INVERTED_V = cosine("vshape"), cosine("^shape")

# table, initialisation, aligned layers, alpha, mean of its five best evaluations on SST-2
STUDY_ROWS: list[tuple[str, str, str, dict[str, Any], float]] = [
    ("baseline", "random", "none", CE_ONLY, 0.8266),
    ("baseline", "teacher_spread", "none", CE_ONLY, 0.8853),
    ("logits", "random", "none", FIXED, 0.8342),
    ("logits", "teacher_spread", "none", FIXED, 0.8931),
    ("layers", "teacher_spread", "all", FIXED, 0.8929),
    ("layers", "random", "all", FIXED, 0.8383),
    ("layers", "random", "upper", FIXED, 0.8321),
    ("layers", "random", "lower", FIXED, 0.8362),
    ("layers", "random", "even", FIXED, 0.8358),
    ("layers", "random", "odd", FIXED, 0.8358),
    ("schedules", "random", "lower", DESCENT, 0.8312),
    ("schedules", "random", "lower", GROWTH, 0.8431),
    ("schedules", "random", "lower", V_SHAPE, 0.8353),
    ("schedules", "random", "lower", INVERTED_V, 0.8365),
    ("schedules", "teacher_spread", "lower", DESCENT, 0.8174),
    ("schedules", "teacher_spread", "lower", GROWTH, 0.8991),
    ("schedules", "teacher_spread", "lower", V_SHAPE, 0.8908),
    ("schedules", "teacher_spread", "lower", INVERTED_V, 0.8956),
]


def study() -> dict[str, Any]:
    """One trial for each row."""
    from ray import tune

    rows = [
        {"initialisation": initialisation, "aligned_layers": layer_set, **alpha}
        for _, initialisation, layer_set, alpha, _ in STUDY_ROWS
    ]
    return {"row": tune.grid_search(rows)}
