"""The final round of a search: its best recipes and the default, trained as long as time allows.

Many short trials show which recipes are worth the time; a long one, on more texts, makes the
student. The events alone decide, so that a run that was killed goes on the same.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from search.plan.draws import Draw
from search.plan.time_split import (
    BESIDE_MADE,
    EMA_DECAY,
    LABELLED,
    LEAST_BESIDE,
    LONGER,
    LONGEST,
    MOST_SEEDS_OF_FINALS,
    SEEDED_SHARE,
    longest_passes,
    useful_share,
)
from search.policy.final_times import evaluations_of_final, passes_in_time
from search.record.events import ROUND
from search.record.run import Run
from search.record.trial_record import FAILED, TrialRecord, by_recipe
from search.results.best_trials import best_trials
from search.results.recommendation import (
    best_and_default,
    expected_scores,
    most_passes,
    passes_made,
    steps_per_pass,
)
from trainable.config.options import AUGMENT
from trainable.config.trial_config import TrialConfig


class Final(NamedTuple):
    """A recipe to be trained again, and what comes before texts without labels: so many passes over
    the labelled examples, or at `most` this share of all."""

    recipe: TrialConfig
    labelled: float = LABELLED
    most: float = 1.0


def final_round(run: Run) -> list[tuple[TrialConfig, Draw | None]]:
    """The finals, without draws; empty where none are wanted, they are there, nothing finished, or
    the time is too short to train longer than what was trained.

    All trials must have ended. A search that was extended has a final round again.
    """
    finished = [trial for trial in run.finished if not trial.final]
    if not (run.request.searched and run.request.finals and finished):
        return []
    if run.finals_begun:
        return _cut_off(run)
    before = [trial.config for trial in run.finished if trial.final]
    passes_before = max(((c.max_steps or 0) / steps_per_pass(run, c) for c in before), default=0.0)
    searched = max(passes_made(trial, run) for trial in finished)
    if run.last_trial.final:  # nothing was suggested since
        searched = max(searched, LONGER * passes_before)
    finals, passes = _with_texts(run, *_that_fit(run, finished), searched)
    on_one_seed = min(passes, most_passes(run))
    seeds, passes = _seeds(run, finals, passes, searched)
    passes = min(passes, most_passes(run))
    as_before = passes_before <= LONGER * on_one_seed and passes < LONGER * passes_before
    new = _others(run, finals, passes_before) if as_before else []
    if as_before and not new:  # no time for one as long; of a recipe that has none a shorter one
        have = {trial.config.recipe for trial in run.trials.values()}
        finals = [final for final in finals if _final(run, final, passes_before).recipe not in have]
    if not new and passes > searched:
        new = _on_seeds(run, finals, passes, seeds)
    return [(config, None) for config in new]


def _others(run: Run, finals: Sequence[Final], passes: float) -> list[TrialConfig]:
    """Those of the finals, as long as the ones that are there, that are not, as time allows."""
    wanted = _on_seeds(run, finals, passes, MOST_SEEDS_OF_FINALS)
    others = [config for config in wanted if config.digest not in run.trials]
    while others and passes_in_time(run, others) < passes:
        others.pop()
    return others


def _on_seeds(run: Run, finals: Sequence[Final], passes: float, seeds: int) -> list[TrialConfig]:
    """The finals that make so many passes, each on so many seeds; once, where texts change
    nothing."""
    recipes = {config.recipe: config for config in (_final(run, f, passes) for f in finals)}
    first = run.request.seed
    return [replace(c, seed=first + n) for n in range(seeds) for c in recipes.values()]


def _cut_off(run: Run) -> list[tuple[TrialConfig, Draw | None]]:
    """The finals that were planned and not recorded any more: the first of each round names all."""
    rounds = [event[ROUND] for event in run.events if event.get(ROUND)]
    configs = [TrialConfig.from_dict(values) for values in (rounds or [[]])[-1]]
    return [(config, None) for config in configs if config.digest not in run.trials]


def _that_fit(run: Run, finished: Sequence[TrialRecord]) -> tuple[list[TrialConfig], float]:
    """The recipes to train again, without those for which the time is short, and the passes over
    the training examples that each may make."""
    fixed = dict(run.request.overrides)
    averaged = [
        replace(recipe, ema_decay=fixed.get("ema_decay", max(recipe.ema_decay, EMA_DECAY)))
        for recipe in _finalists(run, finished)
    ]
    # Which may have differed in that alone, or in the first seed, which the default does not have.
    recipes = list({config.recipe: config for config in averaged}.values())
    while (passes := passes_in_time(run, recipes)) < most_passes(run) and len(recipes) > 1:
        recipes = recipes[:-1]
    return recipes, passes


def _with_texts(
    run: Run, recipes: list[TrialConfig], passes: float, searched: float
) -> tuple[list[Final], float]:
    """A final of each recipe, and the passes in all; the first once more, with fewer texts, where
    all are made and each final is then longer than what the search trained."""
    fixed = "transfer_share" in dict(run.request.overrides)
    if run.request.transfer_sources == (AUGMENT,) and not fixed:
        shorter = passes_in_time(run, [*recipes, recipes[0]])
        if shorter >= max(LEAST_BESIDE, searched):
            few = longest_passes(steps_per_pass(run)) > LONGEST
            beside = math.inf if few else BESIDE_MADE
            finals = [Final(recipe, most=0.5) for recipe in recipes]
            return [*finals, Final(recipes[0], beside)], shorter
    return [Final(recipe) for recipe in recipes], passes


def _seeds(run: Run, finals: Sequence[Final], passes: float, searched: float) -> tuple[int, float]:
    """On how many seeds each of the finals is trained, and the passes that each makes then."""
    recipes = [final.recipe for final in finals]
    least = max(SEEDED_SHARE * most_passes(run), searched)
    for seeds in range(2, MOST_SEEDS_OF_FINALS + 1):
        if (each := passes_in_time(run, recipes * seeds)) < least:
            return seeds - 1, passes
        passes = each
    return MOST_SEEDS_OF_FINALS, passes


def _final(run: Run, final: Final, passes: float) -> TrialConfig:
    """The recipe at the length of a final."""
    recipe, per_pass = final.recipe, steps_per_pass(run, final.recipe)
    steps = round(passes * per_pass)
    labelled = min(final.labelled, final.most * steps / per_pass)
    share = _transfer_share(run, steps / per_pass, labelled)
    evaluations = min(evaluations_of_final(run), steps)
    return replace(recipe, max_steps=steps, evaluations=evaluations, transfer_share=share)


def _finalists(run: Run, finished: Sequence[TrialRecord]) -> list[TrialConfig]:
    """The default, and the recipes that are expected to be better, best first; one that is clearly
    better comes before the default."""
    default, groups = run.default_recipe, by_recipe(best_trials(finished))
    of_default = [t for t in run.trials.values() if t.config.recipe == default]
    if of_default and all(trial.outcome == FAILED for trial in of_default):
        default = None  # it would fail again
    first = best_and_default(run, finished)[0][0].config
    expected = expected_scores(run, finished)
    own = default.digest if default else ""
    better = [k for k in groups if expected[k] > expected.get(own, float("-inf")) and k != own]
    better.sort(key=lambda key: -expected[key])  # of equals, the higher best5
    best = [groups[key][0].config for key in better[: run.request.finals]]
    return list({config.recipe: config for config in (first, default, *best) if config}.values())


def _transfer_share(run: Run, passes: float, labelled: float) -> float:
    """Of a final so long, of which so many passes are over the labelled examples at least."""
    asked = run.request.transfer_share
    fixed = "transfer_share" in dict(run.request.overrides)
    return asked if fixed else min(asked, useful_share(passes, labelled))
