"""Which settings of a run matter: importance by fANOVA, and means by value."""

from collections.abc import Sequence
from itertools import combinations, pairwise
from numbers import Real
from typing import Any

import numpy as np
import optuna
import pandas as pd
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.importance import FanovaImportanceEvaluator
from optuna.trial import FrozenTrial

from search.results.statistics import BOOTSTRAP_SEED, TAILS
from search.results.table import SETTINGS

NOT_APPLICABLE = "-"  # the value of a setting that changes nothing in a trial
FEW_VALUES = 6  # a number with more values is continuous, with no more each is a category
MOST_CATEGORIES = 8
QUARTERS = (0.0, 0.25, 0.5, 0.75, 1.0)
SCORE = "common_best5"
TREES = 64  # of a forest
RESAMPLES, RESAMPLED_TREES = 40, 8  # few, as each takes up to 0.1 s; the interval is a little wider


def importance(table: pd.DataFrame) -> pd.DataFrame:
    """`share` of the variance of `common_best5` that each independent setting explains on its own.

    By setting, largest first, with `low` and `high`: the 95% percentile bootstrap interval over
    trials, each resample with a forest of its own. fANOVA (Hutter, Hoos & Leyton-Brown 2014, ICML;
    Optuna's) over the rows of `trials_table` that have a score; main effects, which sum to at most
    1, interactions being the rest. Empty if no setting or no score varies.

    The forest explains noise, too: if trials differ by chance alone, a setting with more values
    looks more important, and the interval does not show that.
    """
    rows = scored(table)
    names = independent_settings(rows)
    if not names or rows[SCORE].nunique() < 2:
        return pd.DataFrame(columns=["share", "low", "high"])
    trials = _as_optuna(rows, names)
    generator = np.random.default_rng(BOOTSTRAP_SEED)
    drawn = generator.integers(len(trials), size=(RESAMPLES, len(trials)))
    resampled = [
        _shares([trials[k] for k in rows_drawn], RESAMPLED_TREES, number)
        for number, rows_drawn in enumerate(drawn)
    ]
    shares = pd.DataFrame({"share": _shares(trials, TREES, BOOTSTRAP_SEED)}, index=names)
    shares[["low", "high"]] = pd.DataFrame(resampled, columns=names).quantile(list(TAILS)).T.values
    return shares.sort_values("share", ascending=False, kind="stable")


def _shares(trials: Sequence[FrozenTrial], trees: int, seed: int) -> dict[str, float]:
    """Optuna's fANOVA of these trials; 0 of each setting where the scores are all equal."""
    if len({trial.value for trial in trials}) == 1:
        return dict.fromkeys(trials[0].params, 0.0)
    study = optuna.create_study(direction="maximize")
    study.add_trials(trials)
    return dict(FanovaImportanceEvaluator(n_trees=trees, seed=seed).evaluate(study))


def scored(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of `trials_table` that have a score at the run's common number of evaluations.

    There, trials that were stopped at a rung are compared with finished ones after equally many.
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
    groups = scores[SCORE].groupby(values.astype(pd.CategoricalDtype(order)), observed=False)
    means = groups.agg(mean="mean", spread="std", count="count")
    return means.rename_axis("value").reset_index()


def comparable_settings(table: pd.DataFrame) -> list[str]:
    """The settings that have at least two values where they apply, in TrialConfig's order."""
    varying = [name for name in SETTINGS if _values(table, name).nunique() > 1]
    return [name for name in varying if table[name].nunique() > 1]


def independent_settings(table: pd.DataFrame) -> list[str]:
    """The comparable settings, without those that follow from another one."""
    follows = followers(table)
    return [name for name in comparable_settings(table) if name not in follows]


def followers(table: pd.DataFrame) -> dict[str, str]:
    """Settings that only follow from another one, with it: `learning_rate` from `initialisation`.

    Their effects can't be separated. Of two that follow from each other the later one does; what
    others follow from follows from none. Settings that do not always apply are left out, and
    nothing follows from one that hardly ever has the same value twice.
    """
    counts = table[comparable_settings(table)].nunique()
    always = [name for name in counts.index if table[name].notna().all()]
    leaders: dict[str, str] = {}
    for first, second in combinations(sorted(always, key=lambda name: -counts[name]), 2):
        one_each = len(table[[first, second]].drop_duplicates()) == counts[first]
        if one_each and counts[first] <= len(table) / 2 and first not in leaders:
            leaders.setdefault(second, first)
    return leaders


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
    labels = [f"{low:.6g} to {high:.6g}" for low, high in pairwise(edges)]
    quarters = pd.cut(numeric, [*edges[:-1], np.inf], labels=labels, right=False)
    return quarters.astype(object).fillna(column), [*labels, *order[numeric.nunique() :]]


def _rank(value: Any) -> tuple[bool, Any]:
    """Numbers before names."""
    return not isinstance(value, Real), value


def _as_optuna(table: pd.DataFrame, settings: Sequence[str]) -> list[FrozenTrial]:
    """These trials as Optuna has them."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # it logs each study that is made
    described = {name: _described(_values(table, name)) for name in settings}
    params = pd.DataFrame({name: values for name, (values, _) in described.items()}, dtype=object)
    kinds = {name: kind for name, (_, kind) in described.items()}
    rows = zip(params.to_dict("records"), table[SCORE].astype(float), strict=True)
    return [
        optuna.create_trial(params=values, distributions=kinds, value=score)
        for values, score in rows
    ]


def _described(column: pd.Series) -> tuple[pd.Series, BaseDistribution]:
    """A setting's values and how they are distributed: continuous, or categories.

    Many names are numbered: fANOVA takes twice as long for each category more.
    """
    values = sorted(column.unique(), key=_rank)
    if len(values) > FEW_VALUES and isinstance(values[-1], Real):
        return column, FloatDistribution(float(values[0]), float(values[-1]))
    grouped, order = _grouped(column)
    if len(order) <= MOST_CATEGORIES:
        return grouped, CategoricalDistribution(order)
    numbers = {value: float(number) for number, value in enumerate(order)}
    return grouped.map(numbers), FloatDistribution(0.0, len(order) - 1.0)
