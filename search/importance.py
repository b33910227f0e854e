"""Which settings of a run matter: importance by Optuna's fANOVA, and means by value."""

from collections.abc import Iterator
from typing import Any

import pandas as pd
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.importance import FanovaImportanceEvaluator
from optuna.study import Study, create_study
from optuna.trial import create_trial

from search.strata import EVERYTHING
from search.table import SETTINGS

NOT_APPLICABLE = "-"  # the value of a setting that a trial does not have
FEW_VALUES = 6  # a number with more values is continuous, with no more each is a category
SCORE = "common_best5"


def importance(table: pd.DataFrame, score: str = SCORE, seed: int = 0) -> dict[str, float]:
    """Share of the variance of `score` that each varying setting explains, largest first.

    fANOVA (Hutter, Hoos & Leyton-Brown 2014, ICML): main effects of a random forest fitted to the
    trials of `trials_table` (or some of its rows) that have a score; they sum to 1, interactions
    being left out. `seed` decides the forest. Empty below two usable trials, where no setting
    varies, and where all scores are equal.

    `common_best5`, the default, compares trials that ASHA stopped with finished ones after equally
    many evaluations; `best5` does so only among rows that are all finished.
    """
    usable = table[table[score].notna()] if score in table else table.iloc[:0]
    varying = varying_settings(usable)
    if len(usable) < 2 or not varying or usable[score].nunique() < 2:
        return {}
    evaluator = FanovaImportanceEvaluator(seed=seed)
    return dict(evaluator.evaluate(_as_study(usable, varying, score)))


def importance_by_stratum(table: pd.DataFrame, score: str = SCORE, seed: int = 0) -> pd.DataFrame:
    """`importance` over all trials and, where there are several, within each stratum.

    Columns `stratum` ("all trials" for all), `parameter`, `importance` (a share), `trials` (how
    many had a score); in the order of the strata's names, within them by falling importance.
    """
    rows = [
        {
            "stratum": name,
            "parameter": parameter,
            "importance": share,
            "trials": int(part[score].notna().sum()),
        }
        for name, part in _parts(table)
        for parameter, share in importance(part, score, seed).items()
    ]
    return pd.DataFrame(rows, columns=["stratum", "parameter", "importance", "trials"])


def marginals(table: pd.DataFrame, parameter: str, score: str = SCORE) -> pd.DataFrame:
    """Mean `score` by value of a setting, over all trials of `table` that have one.

    Columns `value` ("-" where the setting does not apply), `mean`, `spread` (standard deviation
    between trials; NaN for one), `count`; by rising value, names alphabetically. The other settings
    are not held equal unless the run tried each value with the same of them. Raises KeyError for a
    parameter that is no setting.
    """
    if parameter not in SETTINGS:
        raise KeyError(parameter)
    if score not in table:
        return pd.DataFrame(columns=["value", "mean", "spread", "count"])
    usable = table[table[score].notna()]
    groups = usable[score].groupby(_values(usable, parameter), sort=False)
    found = groups.agg(mean="mean", spread="std", count="count").rename_axis("value")
    found = found.reset_index()
    return found.sort_values("value", key=lambda column: column.map(_rank), ignore_index=True)


def varying_settings(table: pd.DataFrame) -> list[str]:
    """The settings that have more than one value among these rows, in TrialConfig's order."""
    return [name for name in SETTINGS if name in table and _values(table, name).nunique() > 1]


def _parts(table: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    yield EVERYTHING, table
    if "stratum" in table and table["stratum"].nunique() > 1:
        for name, part in table.groupby("stratum"):
            yield str(name), part


def _values(table: pd.DataFrame, name: str) -> pd.Series:
    """A setting's values, with a name of its own where it does not apply."""
    column = table[name].astype(object)
    return column.where(column.notna(), NOT_APPLICABLE)


def _rank(value: Any) -> tuple[bool, Any]:
    """Numbers before names."""
    return isinstance(value, str), value


def _as_study(table: pd.DataFrame, varying: list[str], score: str) -> Study:
    """An in-memory study of these trials and settings."""
    columns = {name: _values(table, name) for name in varying}
    distributions = {name: _distribution(column) for name, column in columns.items()}
    study = create_study(direction="maximize")
    study.add_trials(
        create_trial(
            params={name: columns[name][index] for name in varying},
            distributions=distributions,
            value=float(table[score][index]),
        )
        for index in table.index
    )
    return study


def _distribution(column: pd.Series) -> BaseDistribution:
    values = sorted(column.unique(), key=_rank)
    if len(values) > FEW_VALUES and not isinstance(values[-1], str):
        return FloatDistribution(float(values[0]), float(values[-1]))
    return CategoricalDistribution(values)
