"""Which settings of a run matter: importance by fANOVA, and means by value."""

from itertools import combinations, pairwise
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd

from search.report.fanova import main_effects
from search.results.statistics import BOOTSTRAP_SEED, TAILS
from search.results.table import SETTINGS

NOT_APPLICABLE = "-"  # the value of a setting that changes nothing in a trial
FEW_VALUES = 6  # a number with more values is continuous, with no more each is a category
QUARTERS = (0.0, 0.25, 0.5, 0.75, 1.0)
SCORE = "common_best5"
TREES = 64  # of a forest, as in Optuna
RESAMPLES, RESAMPLED_TREES = 200, 8  # few trees only make the interval a little wider


def importance(table: pd.DataFrame) -> pd.DataFrame:
    """`share` of the variance of `common_best5` that each independent setting explains on its own.

    By setting, largest first, with `low` and `high`: the 95% percentile bootstrap interval over
    trials, each resample with a forest of its own. fANOVA's main effects over those rows of
    `trials_table` that have a score; they sum to at most 1, interactions being the rest. Empty
    below two scored trials, where no setting varies, and where all scores are equal.

    The forest explains noise, too: where trials differ by chance alone, a setting with more values
    looks more important, and the interval knows nothing of that.
    """
    rows = scored(table)
    names, scores = independent_settings(rows), rows[SCORE].to_numpy()
    if not names or len(np.unique(scores)) < 2:
        return pd.DataFrame(columns=["share", "low", "high"])
    settings = [_encoded(_values(rows, name)) for name in names]
    generator = np.random.default_rng(BOOTSTRAP_SEED)
    resampled = [
        main_effects([values[drawn] for values in settings], scores[drawn], RESAMPLED_TREES, number)
        for number, drawn in enumerate(generator.integers(len(rows), size=(RESAMPLES, len(rows))))
    ]
    low, high = np.quantile(resampled, TAILS, axis=0)
    share = main_effects(settings, scores, TREES, BOOTSTRAP_SEED)
    found = pd.DataFrame({"share": share, "low": low, "high": high}, index=names)
    return found.sort_values("share", ascending=False, kind="stable")


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
    """The comparable settings, without those that follow from another one."""
    follows = followers(table)
    return [name for name in comparable_settings(table) if name not in follows]


def followers(table: pd.DataFrame) -> dict[str, str]:
    """Settings that only follow from another one, with it: `learning_rate` from `initialisation`.

    Their effects can't be separated. Of two that follow from each other it is the later; the other
    one itself follows from none. Settings that do not always apply are left aside, and nothing
    follows from one that hardly ever has the same value twice.
    """
    counts = table[comparable_settings(table)].nunique()
    always = [name for name in counts.index if table[name].notna().all()]
    found: dict[str, str] = {}
    for first, second in combinations(sorted(always, key=lambda name: -counts[name]), 2):
        one_each = len(table[[first, second]].drop_duplicates()) == counts[first]
        if one_each and counts[first] <= len(table) / 2 and first not in found:
            found.setdefault(second, first)
    return found


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


def _encoded(column: pd.Series) -> np.ndarray:
    """A setting's values within 0 and 1: of many numbers [N, 1], else of K categories [N, K]."""
    values = sorted(column.unique(), key=_rank)
    if len(values) > FEW_VALUES and isinstance(values[-1], Real):
        numbers = column.to_numpy(dtype=np.float64)[:, None]
        return np.asarray((numbers - numbers.min()) / np.ptp(numbers))
    grouped, order = _grouped(column)
    return np.array([grouped == value for value in order], dtype=np.float64).T
