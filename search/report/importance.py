"""Which settings of a run matter: importance by Optuna's fANOVA, and means by value."""

from itertools import pairwise, permutations
from numbers import Real
from typing import Any

import numpy as np
import optuna
import pandas as pd
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.importance import FanovaImportanceEvaluator

from search.results.table import SETTINGS

NOT_APPLICABLE = "-"  # the value of a setting that changes nothing in a trial
FEW_VALUES = 6  # a number with more values is continuous, with no more each is a category
QUARTERS = (0.0, 0.25, 0.5, 0.75, 1.0)
SCORE = "common_best5"


def importance(table: pd.DataFrame, seed: int = 0) -> dict[str, float]:
    """Share of the variance of `common_best5` that each comparable setting explains, largest first.

    fANOVA (Hutter, Hoos & Leyton-Brown 2014, ICML): the main effects of a random forest fitted to
    those rows of `trials_table` that have a score. They sum to at most 1, interactions
    being the rest; `seed` decides the forest. Empty below two scored trials, where no setting
    varies, and where all scores are equal.

    The forest explains noise, too: where trials differ by chance alone, the setting with the most
    values looks the most important. A varying `seed` stands among the settings as a yardstick.
    """
    scores = scored(table)
    varying = comparable_settings(scores)
    if len(scores) < 2 or not varying or scores[SCORE].nunique() < 2:
        return {}
    return dict(FanovaImportanceEvaluator(seed=seed).evaluate(_as_study(scores, varying)))


def scored(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of `trials_table` that have a score at the run's common number of evaluations.

    There, trials that ASHA stopped are compared with finished ones after equally many.
    """
    return table[table[SCORE].notna()]


def marginals(table: pd.DataFrame, parameter: str) -> pd.DataFrame:
    """Mean `common_best5` by value of a setting, over all rows of `trials_table` that have one.

    Columns `value`, `mean`, `spread` (standard deviation between trials; NaN for one) and `count`;
    by rising value, names after numbers. A number with many values comes in quarters of its
    trials, `0.5 to 1.2`; `-` is where the setting changes nothing. Other settings are not held
    equal, unless the run tried each value with the same of them.
    """
    scores = scored(table)
    values, order = _grouped(_values(scores, parameter))
    groups = [scores[SCORE][values == value] for value in order]
    rows = [
        (value, found.mean(), found.std(), len(found))
        for value, found in zip(order, groups, strict=True)
    ]
    return pd.DataFrame(rows, columns=["value", "mean", "spread", "count"])


def varying_settings(table: pd.DataFrame) -> list[str]:
    """The settings that have more than one value among these rows, in TrialConfig's order."""
    return [name for name in SETTINGS if _values(table, name).nunique() > 1]


def comparable_settings(table: pd.DataFrame) -> list[str]:
    """The varying settings that have at least two values where they apply."""
    return [name for name in varying_settings(table) if table[name].nunique() > 1]


def independent_settings(table: pd.DataFrame) -> list[str]:
    """The comparable settings, without a learning rate that follows from the initialisation."""
    follows = (table.groupby("initialisation")["learning_rate"].nunique() == 1).all()
    return [n for n in comparable_settings(table) if n != "learning_rate" or not follows]


def confounded(table: pd.DataFrame) -> list[str]:
    """Settings whose effects can't be separated: `learning_rate follows from initialisation`.

    Of two that follow from each other the later is named. Left out are settings that do not always
    apply, and what follows from one that hardly ever has the same value twice.
    """
    names = [name for name in comparable_settings(table) if table[name].notna().all()]
    values = {name: int(table[name].nunique()) for name in names}
    return [
        f"{second} follows from {first}"
        for first, second in permutations(names, 2)
        if len(table[[first, second]].drop_duplicates()) == values[first] <= len(table) / 2
        and (values[second] < values[first] or names.index(first) < names.index(second))
    ]


def _values(table: pd.DataFrame, name: str) -> pd.Series:
    """A setting's values; NOT_APPLICABLE where it has none or changes nothing."""
    inactive = table["inactive"].map(lambda settings: name in settings.split(",")).astype(bool)
    return table[name].astype(object).mask(table[name].isna() | inactive, NOT_APPLICABLE)


def _grouped(column: pd.Series) -> tuple[pd.Series, list[Any]]:
    """The values, many numbers made quarters, and what there is of them in a reader's order."""
    order = sorted(column.unique(), key=_rank)
    numeric = pd.to_numeric(column.where(column.map(lambda value: isinstance(value, Real))))
    if numeric.nunique() <= FEW_VALUES:
        return column, order
    edges = np.unique(numeric.quantile(QUARTERS))
    labels = [f"{low:.3g} to {high:.3g}" for low, high in pairwise(edges)]
    quarters = pd.cut(numeric, [*edges[:-1], np.inf], labels=labels, right=False)
    return quarters.astype(object).fillna(column), [*labels, *order[numeric.nunique() :]]


def _rank(value: Any) -> tuple[bool, Any]:
    """Numbers before names."""
    return not isinstance(value, Real), value


def _as_study(table: pd.DataFrame, varying: list[str]) -> optuna.Study:
    """An in-memory study of these trials and settings."""
    described = {name: _described(_values(table, name)) for name in varying}
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # it logs each study that is made
    study = optuna.create_study(direction="maximize")
    study.add_trials(
        optuna.create_trial(
            params={name: values[index] for name, (values, _) in described.items()},
            distributions={name: kind for name, (_, kind) in described.items()},
            value=float(table[SCORE][index]),
        )
        for index in table.index
    )
    return study


def _described(column: pd.Series) -> tuple[pd.Series, BaseDistribution]:
    """A setting's values and how they are distributed: continuous, or categories."""
    values = sorted(column.unique(), key=_rank)
    if len(values) > FEW_VALUES and isinstance(values[-1], Real):
        return column, FloatDistribution(float(values[0]), float(values[-1]))
    grouped, order = _grouped(column)
    return grouped, CategoricalDistribution(order)
