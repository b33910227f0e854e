"""The final round of a search: its best recipes and the default, trained as long as time allows.

Many short trials show which recipes are worth the time; a long one, on more texts, makes the
student. The events alone decide, so that a run that was killed goes on the same.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

from search.plan.draws import Draw
from search.plan.time_split import (
    BESIDE_MADE,
    EMA_DECAY,
    LABELLED,
    LEAST_BESIDE,
    LONGEST,
    MOST_SEEDS,
    SEEDED_SHARE,
    useful_share,
)
from search.record.events import ROUND
from search.record.run import Run
from search.record.trial_record import FAILED, TrialRecord, by_recipe
from search.results.answer import (
    best_and_default,
    expected_scores,
    longest_of,
    passes_made,
    steps_per_pass,
)
from trainable.config.options import AUGMENT
from trainable.config.trial_config import TrialConfig
from trainable.engine.metrics import BEST_OF


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
    trained = run.finished if run.last_trial.final else finished
    searched = max(passes_made(trial, run) for trial in trained)
    recipes, passes = _that_fit(run, finished)
    if min(passes, longest_of(run)) <= searched:
        return []
    finals, passes = _with_texts(run, recipes, passes, searched)
    seeds, passes = _seeds(run, len(finals), passes, searched)
    long = [_final(run, *final, min(passes, longest_of(run))) for final in finals]
    alike = {config.recipe: config for config in long}  # once, where texts change nothing
    first = run.request.seed
    return [(replace(c, seed=first + n), None) for n in range(seeds) for c in alike.values()]


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
    while (passes := _passes(run, len(recipes))) < longest_of(run) and len(recipes) > 1:
        recipes = recipes[:-1]
    return recipes, passes


def _with_texts(
    run: Run, recipes: list[TrialConfig], passes: float, searched: float
) -> tuple[list[tuple[TrialConfig, float]], float]:
    """Each recipe with the passes over labelled examples that come before texts without labels,
    and the passes in all; the first once more, with fewer texts, where all are made and each final
    is then longer than what the search trained."""
    fixed = "transfer_share" in dict(run.request.overrides)
    if run.request.transfer_sources == (AUGMENT,) and not fixed:
        shorter = _passes(run, len(recipes) + 1)
        if shorter >= max(LEAST_BESIDE, searched):
            half = min(LABELLED, shorter / 2)
            beside = BESIDE_MADE if longest_of(run) <= LONGEST else math.inf
            return [*((recipe, half) for recipe in recipes), (recipes[0], beside)], shorter
    return [(recipe, LABELLED) for recipe in recipes], passes


def _seeds(run: Run, count: int, passes: float, searched: float) -> tuple[int, float]:
    """On how many seeds each of so many finals is trained, and the passes that each makes then."""
    least = max(SEEDED_SHARE * longest_of(run), searched)
    for seeds in range(2, MOST_SEEDS + 1):
        if (each := _passes(run, count * seeds)) < least:
            return seeds - 1, passes
        passes = each
    return MOST_SEEDS, passes


def _final(run: Run, recipe: TrialConfig, labelled: float, passes: float) -> TrialConfig:
    """A recipe at the length of a final, of which so many passes are over the labelled examples."""
    steps = round(passes * steps_per_pass(run, recipe))
    share = _transfer_share(run, passes, labelled)
    evaluations = min(_evaluations(run), steps)
    return replace(recipe, max_steps=steps, evaluations=evaluations, transfer_share=share)


def _finalists(run: Run, finished: Sequence[TrialRecord]) -> list[TrialConfig]:
    """The default, and the recipes that are expected to be better, best first; one that is clearly
    better comes before the default."""
    default, groups = run.default_recipe, by_recipe(finished)
    of_default = [t for t in run.trials.values() if t.config.recipe == default]
    if of_default and all(trial.outcome == FAILED for trial in of_default):
        default = None  # it would fail again
    first = best_and_default(run, finished)[0][0].config
    expected = expected_scores(run, finished)
    own = default.digest if default else ""
    better = [k for k in groups if expected[k] > expected.get(own, float("-inf")) and k != own]
    better.sort(key=lambda key: -expected[key])
    best = [groups[key][0].config for key in better[: run.request.finals]]
    return list({config.recipe: config for config in (first, default, *best) if config}.values())


def _passes(run: Run, count: int) -> float:
    """Over the training examples, that so many recipes may make each in the time that is left.

    That is the rest of the time budget, or what a search as long as this one leaves of one.
    """
    trained = [trial for trial in run.trials.values() if trial.evaluations]
    evaluations = [e for trial in trained for e in trial.evaluations]
    training, evaluating = (
        sum(e[clock] for e in evaluations) for clock in ("training_seconds", "evaluation_seconds")
    )
    made = sum(passes_made(trial, run) for trial in trained)
    # Without a budget finals take their share of the search, whatever others took before.
    spent = run.seconds - (0.0 if run.request.time_budget else run.final_seconds)
    left = run.request.whole_budget(spent) - spent
    # Of each trial: starting its worker, building its student, saving.
    in_trials = run.seconds - run.plan.inputs.outputs_seconds - run.starting_seconds
    in_slots = min(run.slots, len(trained)) * in_trials
    overhead = max(in_slots - training - evaluating, 0.0) / len(trained)
    seconds = left / math.ceil(count / run.slots) - overhead  # some run after the others
    seconds -= evaluating / len(evaluations) * _evaluations(run)
    return float(seconds * made / max(training, 1e-3))


def _transfer_share(run: Run, passes: float, labelled: float) -> float:
    """Of a final so long, of which so many passes are over the labelled examples at least."""
    asked = run.request.transfer_share
    fixed = "transfer_share" in dict(run.request.overrides)
    return asked if fixed else min(asked, useful_share(passes, labelled))


def _evaluations(run: Run) -> int:
    """Evaluations of a final: as many as its score is a mean of."""
    return int(dict(run.request.overrides).get("evaluations", BEST_OF))
