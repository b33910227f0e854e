"""Which of several trials or recipes are tied with the best: a model confidence set."""

from collections.abc import Sequence
from copy import deepcopy

import numpy as np

from search.results.statistics import (
    LEVEL,
    ROUNDING,
    SEED_SD,
    resampled_means,
    resamples,
    seed_variance,
)


def tied_with_first(
    scores: np.ndarray, *, seed_sd: float | np.ndarray = SEED_SD, level: float = LEVEL
) -> np.ndarray:
    """Which of K trials are statistically tied with the best of them, boolean [K].

    `scores` [K, N]: each trial's scores on the same examples. The first of several best is tied.

    The best is itself selected, so that testing each of the others against it claims too much. This
    is a model confidence set (Hansen, Lunde & Nason 2011, Econometrica 79, 453-497): those that are
    further below any other of the set than its widest gap would be, in a share of 1 - `level`, if
    all of the set were equal, are excluded, until none is. The quantiles are of a bootstrap of all
    trials on jointly resampled examples, centred. If all K are equal, any is excluded with a chance
    of at most `level`.

    One seed does not show how much seeds differ, so that is assumed: `seed_sd`, the standard
    deviation between seeds of the score on ALL examples, in shares, is added to every resample;
    for means over seeds it is smaller, and can be given for each, [K]: gaps are then in units of
    their own standard deviation, or the noisiest would hide what the others differ by. What a seed
    changes on these examples by chance is in the resampling already. What lasts is what
    `seeds_difference` finds on fresh seeds.
    """
    table = np.atleast_2d(np.asarray(scores, dtype=np.float64))
    order = np.argsort(-table.mean(axis=1), kind="stable")
    means, deviations = table.mean(axis=1)[order], np.broadcast_to(seed_sd, len(table))[order]
    shifts = resampled_means(table[order] - means[:, None])
    of_examples = 2 * float((shifts - shifts.mean(axis=1, keepdims=True)).var(axis=0).mean())
    generator = deepcopy(resamples(table.shape[1])[1])
    shifts += generator.normal(0.0, deviations, shifts.shape)
    noises, noise_of = np.unique(deviations, return_inverse=True)
    units = np.sqrt(noises[:, None] ** 2 + noises**2 + of_examples)  # [noises, noises]
    units = units / units.max() if units.any() else np.ones(units.shape)
    gaps = (means - means[:, None]) / units[noise_of[:, None], noise_of]  # of i below j, [K, K]
    kept = np.ones(len(table), dtype=bool)
    while True:
        alike = [kept & (noise_of == noise) for noise in range(len(noises))]
        highest, lowest = (
            np.array([end(shifts, axis=1, where=of, initial=first) for of in alike])
            for end, first in ((np.max, -np.inf), (np.min, np.inf))
        )  # [noises, RESAMPLES]
        widest = ((highest[:, None] - lowest) / units[..., None]).max(axis=(0, 1))
        below = gaps[:, kept].max(axis=1) > np.quantile(widest, 1 - level) + ROUNDING
        if not (kept & below).any():
            break
        kept &= ~below
    tied = np.zeros(len(table), dtype=bool)
    tied[order[kept]] = True
    return tied


def tied_recipes(
    recipes: Sequence[np.ndarray],
    kinds: Sequence[str],
    level: float = LEVEL,
    seed_sd: float = SEED_SD,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which of K recipes are tied with the best (`tied_with_first` at this level), boolean [K].

    From each seed's scores [S, N], on the same examples, and the standard deviation between seeds,
    which is taken for larger where recipes of the same kind show that it is: students of random
    weights differ by ten points where copied layers differ by half a point. A kind without several
    seeds is taken to be as all. Before it, the recipes' means over seeds [K, N], and what the
    choice of seeds adds to their standard deviations, [K].
    """
    variances = {}
    for kind in dict.fromkeys(kinds):
        own = [scores for scores, other in zip(recipes, kinds, strict=True) if other == kind]
        shown = any(len(scores) > 1 for scores in own)
        variances[kind] = seed_variance(own if shown else recipes, seed_sd)
    means = np.array([scores.mean(axis=0) for scores in recipes])
    counts = np.array([len(scores) for scores in recipes])
    deviations = np.sqrt(np.array([variances[kind] for kind in kinds]) / counts)
    return means, deviations, tied_with_first(means, seed_sd=deviations, level=level)
