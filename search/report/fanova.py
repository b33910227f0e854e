"""fANOVA: how much of the variance of a random forest's prediction each setting explains alone.

The numbers are those of Optuna's FanovaImportanceEvaluator, which walks down each tree once for
every combination of split points, 2^K for a setting of K names: too slow to be resampled.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.ensemble import RandomForestRegressor


def main_effects(
    settings: Sequence[np.ndarray], scores: np.ndarray, trees: int, seed: int
) -> np.ndarray:
    """Share of the variance by each of S settings, [S]; 0 where nothing varies.

    `settings` has an array [N, K] each of N trials, within 0 and 1: a number has one column, a
    name one for each that there is. `scores` [N]. The mean over the trees of V_U / V over the unit
    cube (Hutter, Hoos & Leyton-Brown 2014, ICML).
    """
    forest = RandomForestRegressor(trees, random_state=seed).fit(np.hstack(settings), scores)
    owners = np.repeat(np.arange(len(settings)), [columns.shape[1] for columns in settings])
    variances = np.array([_variances(tree.tree_, owners) for tree in forest.estimators_])
    varying = variances[variances[:, 0] > 0]
    shares = varying[:, 1:] / varying[:, :1]
    return np.asarray(shares.sum(axis=0) / max(len(shares), 1))


def _variances(tree: Any, owners: np.ndarray) -> np.ndarray:
    """Of a tree's prediction: in all, then of each setting's marginal, [1 + S].

    `owners` says to which setting each column belongs. Leaves are boxes; the marginal's square is
    integrated pair by pair of leaves, over what they share of the setting's range.
    """
    low, high = np.zeros((2, tree.node_count, len(owners))) + [[[0.0]], [[1.0]]]
    for node in np.flatnonzero(tree.feature >= 0):  # a parent stands before its children
        left, right = tree.children_left[node], tree.children_right[node]
        column = tree.feature[node]
        low[[left, right]], high[[left, right]] = low[node], high[node]
        high[left, column] = low[right, column] = tree.threshold[node]
    leaves = tree.feature < 0
    low, high, values = low[leaves], high[leaves], tree.value[leaves, 0, 0]
    widths = high - low
    volumes = widths.prod(axis=1)
    values = values - volumes @ values
    found = [volumes @ values**2]
    for own in owners == np.unique(owners)[:, None]:
        weights = values * widths[:, ~own].prod(axis=1)
        ends = np.minimum(high[:, None, own], high[:, own])
        shared = (ends - np.maximum(low[:, None, own], low[:, own])).clip(min=0).prod(axis=2)
        found.append(weights @ shared @ weights)
    return np.array(found)
