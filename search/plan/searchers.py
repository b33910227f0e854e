"""Searchers by name: what suggests the configurations of a space that can't be listed."""

import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # Optuna takes a second to load
    from optuna.samplers import BaseSampler

JOURNAL = "optuna-journal.log"  # in a searched run's folder: its study, for optuna-dashboard
GRID = "grid"  # no searcher: the space lists its configurations, and the plan has them all
SUGGESTIONS = 40  # configurations, where neither --samples nor --time-budget is given
STARTUP_TRIALS = 8  # drawn at random, the space's own starts counted, before a searcher learns


def make_tpe(seed: int, _: Any = None) -> "BaseSampler":
    """Optuna's TPE on the settings that occur together (Bergstra et al. 2011; Falkner et al. 2018).

    Trials under way count as bad ones (the constant liar), so that those side by side differ.
    """
    from optuna.samplers import TPESampler

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # `group` may change in a later Optuna
        return TPESampler(
            n_startup_trials=STARTUP_TRIALS,
            seed=seed,
            multivariate=True,
            group=True,
            constant_liar=True,
        )


def make_random(seed: int, _: Any = None) -> "BaseSampler":
    """Independent draws, uniform or log-uniform as the space says."""
    from optuna.samplers import RandomSampler

    return RandomSampler(seed=seed)


def make_prior(seed: int, priors: Mapping[str, Any]) -> "BaseSampler":
    """PriorBand's draws, from the priors, near the best trial so far, or uniform."""
    from search.plan.prior_sampler import PriorSampler

    return PriorSampler(seed, priors)


# From a seed and the space's PRIORS to an Optuna sampler. A sampler is made anew for each
# suggestion and given all trials so far, so that it needs no memory of its own; another one is a
# line here. `python -m tests.scripts.searcher_comparison RUN` compares them.
SEARCHERS: dict[str, Callable[[int, Mapping[str, Any]], "BaseSampler"]] = {
    "prior": make_prior,
    "optuna": make_tpe,
    "random": make_random,
}
