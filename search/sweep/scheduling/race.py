"""Seeds as a race: a recipe gets its next one only while it may still be the best.

All recipes that finished on the first seed begin. On the seeds that they have, those that are
significantly worse than the best drop out, and the others get one more, up to as many as are asked
for: F-Race (Birattari et al. 2002, GECCO), with a model confidence set as the test.
"""

from dataclasses import replace

import numpy as np

from search.record.recipes import by_recipe
from search.record.run import Run
from search.record.trial_record import FINISHED, TrialRecord
from search.results.comparisons import final_bits
from search.results.statistics import BOOTSTRAP_SEED, LEVEL, SEED_SD, tied_with_first


def extend_by_seeds(run: Run) -> list[TrialRecord]:
    """Records the trials that the race needs next; empty where it is decided.

    Which these are depends on the record alone, of which all trials must have ended.
    """
    finished = [trial for trial in run.trials.values() if trial.outcome == FINISHED]
    racing = [seeds[0] for seeds in by_recipe(finished).values()]
    for number in range(1, run.request.seeds):
        racing = still_racing(racing, number, run)
        wanted = [(replace(t.config, seed=t.config.seed + number), t.parameters) for t in racing]
        lacking = [one for one in wanted if one[0].digest not in run.trials]
        if len(racing) > 1 and lacking:
            return [run.add_suggestion(config, drawn or {}) for config, drawn in lacking]
    return []


def still_racing(racing: list[TrialRecord], number: int, run: Run) -> list[TrialRecord]:
    """Of recipes, each by the trial of its first seed, those not significantly worse than the best
    of them on the first `number` seeds.

    By their final evaluations, paired by example. The chance that one which is as good as any drops
    out is at most LEVEL over all rounds: each has an equal part of it.
    """
    found = []
    for first in racing:
        seeds = [
            run.trials.get(replace(first.config, seed=first.config.seed + n).digest)
            for n in range(number)
        ]
        bits = [final_bits(t, run) for t in seeds if t is not None and t.outcome == FINISHED]
        found.append([one for one in bits if one is not None])
    racing = [first for first, bits in zip(racing, found, strict=True) if bits]
    found = [bits for bits in found if bits]
    if len(racing) < 2:
        return racing
    tied = tied_with_first(
        np.array([np.mean(bits, axis=0) for bits in found]),
        np.random.default_rng(BOOTSTRAP_SEED),
        seed_sd=SEED_SD / np.sqrt([len(bits) for bits in found]),
        level=LEVEL / (run.request.seeds - 1),
    )
    return [first for first, stays in zip(racing, tied, strict=True) if stays]
