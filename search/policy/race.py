"""The seeds of a searched run as a race: a recipe gets another one while it may still be the best.

The finals take part, or without any all recipes that finished on the first seed. In each round
those that are significantly worse than the best on the seeds so far drop out, and the others get
another seed, up to the number asked for: F-Race (Birattari et al. 2002, GECCO), with a model
confidence set as the test.
"""

from dataclasses import replace

import numpy as np

from search.plan.draws import Draw
from search.record.run import Run
from search.record.trial_record import FINISHED, TrialRecord, by_recipe
from search.results.best_trials import contenders
from search.results.scores import last_scores, seed_sd_of
from search.results.statistics import LEVEL
from search.results.tied import tied_recipes
from trainable.config.trial_config import TrialConfig


def wanted_by_race(run: Run) -> list[tuple[TrialConfig, Draw | None]]:
    """The trials of the next round with their draws; empty once the race is decided.

    All trials must have ended.
    """
    racing = [seeds[0] for seeds in by_recipe(contenders(run)).values()]
    for number in range(1, run.request.seeds):
        racing = still_racing(racing, number, run)
        wanted = {
            replace(trial.config, seed=trial.config.seed + number): None
            if trial.final
            else trial.parameters or {}
            for trial in racing
        }
        if len(racing) > 1 and any(config.digest not in run.trials for config in wanted):
            return list(wanted.items())
    return []


def still_racing(racing: list[TrialRecord], number: int, run: Run) -> list[TrialRecord]:
    """The recipes that are not significantly worse than the best of them, in the final evaluations
    on their first `number` seeds; each recipe stands as the trial of its first seed."""
    recipes, groups = [], by_recipe(run.trials.values())
    for first in racing:
        seeds = {first.config.seed + extra for extra in range(number)}
        trials = groups[first.config.recipe.digest]
        finished = [t for t in trials if t.config.seed in seeds and t.outcome == FINISHED]
        scores = [row for t in finished if (row := last_scores(t, run)) is not None]
        recipes += [(first, np.array(scores))] if scores else []
    if not recipes:
        return []
    # The leaderboard's test: one that is as good as the best drops out with a chance of `level`.
    # (The looks of a confirmation compare pairs, with two seeds of each; here most have one.)
    level = LEVEL / (run.request.seeds - 1)
    starts = [first.config.initialisation for first, _ in recipes]
    tables = [scores for _, scores in recipes]
    _, _, stay = tied_recipes(tables, starts, level, seed_sd_of(run))
    return [first for (first, _), stays in zip(recipes, stay, strict=True) if stays]
