"""How precise a difference between two recipes becomes with how many seeds, foretold from a run."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from math import hypot, sqrt

import numpy as np
from scipy.stats import norm
from scipy.stats import t as student_t

from search.record.run import Run
from search.record.trial_record import FINISHED, by_recipe
from search.results.best_trials import best_trials
from search.results.confirmation import looks_until
from search.results.scores import last_scores, seed_sd_of
from search.results.statistics import SEED_SD, look_levels, rest_variance

RECIPES = 5  # of the run's best, that tell of those retrained
OWN = 0.3  # of what two recipes of one seed each disagree on, the share that more seeds leave
POWER = 0.8  # chance that a gap shows which is expected to


@dataclass(frozen=True)
class Spread:
    """What the difference of two recipes' scores varies by, as variances in shares squared."""

    of_seed: float  # each recipe's, of one seed: from seed to seed on these examples
    of_examples: float  # of the difference, by the choice of examples: no seeds take it away

    def half_width(self, seeds: int, level: float) -> float:
        """Of the interval of `seeds_difference` at this level, with so many seeds each."""
        of_seeds = student_t.isf(level / 2, 2 * (seeds - 1)) * sqrt(2 * self.of_seed / seeds)
        return hypot(of_seeds, norm.isf(level / 2) * sqrt(self.of_examples))

    def shown_gap(self, seeds: int, comparisons: int) -> float:
        """The gap that is significant with chance POWER, where Holm's procedure asks the most."""
        error = sqrt(2 * self.of_seed / seeds + self.of_examples)
        level = last_level(seeds) / comparisons
        return self.half_width(seeds, level) + float(norm.ppf(POWER)) * error


def last_level(most: int) -> float:
    """Of the tests at the last look, at the most seeds."""
    return float(look_levels(looks_until(most))[-1])


def spread_of(recipes: Sequence[np.ndarray], seed_sd: float = SEED_SD) -> Spread | None:
    """From scores [S, N] of each recipe on the same N examples; None of fewer than two recipes.

    The mean variance of the difference between two recipes' scores on an example is that of
    examples, and what neither seeds nor examples explain divided by the seeds. Where recipes have
    several seeds, their two-way tables show the latter, and how much seeds differ. One seed shows
    neither: `seed_sd` and OWN are assumed then. (OWN: two seeds of one recipe disagree on 0.7 times
    as many examples as two recipes do.)
    """
    pairs = list(combinations(recipes, 2))
    if not pairs:
        return None
    gaps = [first.mean(axis=0) - second.mean(axis=0) for first, second in pairs]
    of_gaps = float(np.mean([np.var(gap, ddof=1) / len(gap) for gap in gaps]))
    rest = (1 - OWN) * of_gaps / 2
    of_seed = seed_sd**2 + rest
    if several := [scores for scores in recipes if len(scores) > 1]:
        rest = float(np.mean([len(scores) * rest_variance(scores) for scores in several]))
        of_seed = float(np.mean([np.var(scores.mean(axis=1), ddof=1) for scores in several]))
    chance = rest * float(np.mean([1 / len(first) + 1 / len(second) for first, second in pairs]))
    return Spread(max(of_seed, rest), max(of_gaps - chance, 0.0))


def spread_in(run: Run) -> Spread | None:
    """From the final evaluations of the run's best finished recipes; None if it has too few."""
    finished = [t for t in best_trials(run.trials.values()) if t.outcome == FINISHED]
    recipes = [
        [scores for trial in seeds if (scores := last_scores(trial, run)) is not None]
        for seeds in by_recipe(finished).values()
    ]
    tables = [np.array(scores) for scores in recipes if scores][:RECIPES]
    return spread_of(tables, seed_sd_of(run))
