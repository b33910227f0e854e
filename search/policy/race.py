"""The seeds of a searched run as a race: a recipe gets another one while it may still be the best.

All recipes that finished on the first seed begin. On the seeds that they have, those that are
significantly worse than the best drop out, and the others get one more, up to as many as are asked
for: F-Race (Birattari et al. 2002, GECCO), with a model confidence set as the test.
"""

from dataclasses import replace

import numpy as np

from search.plan.draws import Draw
from search.record.recipes import by_recipe
from search.record.run import Run
from search.record.trial_record import FINISHED, TrialRecord
from search.results.comparisons import final_bits
from search.results.statistics import LEVEL, tied_recipes
from trainable.config.trial_config import TrialConfig


def wanted_by_race(run: Run) -> list[tuple[TrialConfig, Draw]]:
    """The trials of the race's next round, with the draws that they stand for; empty where it is
    decided. All trials must have ended."""
    finished = [trial for trial in run.trials.values() if trial.outcome == FINISHED]
    racing = [seeds[0] for seeds in by_recipe(finished).values()]
    for number in range(1, run.request.seeds):
        racing = still_racing(racing, number, run)
        wanted = {
            replace(t.config, seed=t.config.seed + number): t.parameters or {} for t in racing
        }
        if len(racing) > 1 and any(config.digest not in run.trials for config in wanted):
            return list(wanted.items())
    return []


def still_racing(racing: list[TrialRecord], number: int, run: Run) -> list[TrialRecord]:
    """Of recipes, each by the trial of its first seed, those not significantly worse than the best
    of them in the final evaluations on the first `number` seeds."""
    racers, groups = [], by_recipe(run.trials.values())
    for first in racing:
        seeds = {first.config.seed + extra for extra in range(number)}
        ours = groups[first.config.recipe.digest]
        ended = [t for t in ours if t.config.seed in seeds and t.outcome == FINISHED]
        bits = [b for t in ended if (b := final_bits(t, run)) is not None]
        racers += [(first, np.array(bits))] if bits else []
    stay = not_worse([bits for _, bits in racers], LEVEL / (run.request.seeds - 1))
    return [first for (first, _), stays in zip(racers, stay, strict=True) if stays]


def not_worse(recipes: list[np.ndarray], level: float) -> list[bool]:
    """Of the bits [S, N] of each recipe on the same examples: whether it stays in the race.

    The test is the leaderboard's. The chance that a recipe which is as good as any drops out is at
    most `level`, LEVEL over all rounds. (The looks of a confirmation compare pairs, which needs two
    seeds of each recipe; here most have one.)
    """
    return [*tied_recipes(recipes, level)[2]] if recipes else []
