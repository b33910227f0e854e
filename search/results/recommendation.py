"""What a run recommends, and how much better it is than the preset's default."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from search.plan.time_split import longest_passes
from search.record.labels import labels_of
from search.record.run import Run
from search.record.trial_record import TrialRecord, by_recipe
from search.results.best_trials import best_trials, contenders, recipe_scores
from search.results.cells import DIGITS, difference_cells, share
from search.results.scores import last_scores, seed_sd_of
from search.results.statistics import LEVEL, Difference, recipes_difference
from search.results.table import compared, rounded
from trainable.config.trial_config import TrialConfig
from trainable.data.batches import steps_per_epoch, trial_steps


@dataclass(frozen=True)
class Recommendation:
    """The recommended recipe, by its finished trials, one a seed; and its gains in the last
    evaluation: over the default, trained once, and over the longest final of the default. None of
    what it is itself, and of what has not finished.

    As the highest of `candidates` recipes it was chosen, for which the intervals allow; the default
    is not.
    """

    trials: tuple[TrialRecord, ...]
    gain: Difference | None
    gain_as_long: Difference | None = None
    candidates: int = 1
    is_default: bool = False  # or as a final trains it


def recommended(run: Run) -> Recommendation | None:
    """The best of `best_and_default` of the finals if there are, else of all; None if none
    finished."""
    if not (able := contenders(run)):
        return None
    (best, long), default = best_and_default(run, able), run.default_recipe
    plain = [trial for trial in run.finished if trial.config.recipe == default]
    over = gain(best, plain, run)
    if over is not None and over.high < 0.0:  # a final that had too little time
        best, over = plain, None
    seeds = tuple(sorted(best, key=lambda trial: trial.config.seed))  # not the luckiest first
    if default is None or _is_default(best[0], default):
        return Recommendation(seeds, over, is_default=default is not None)
    count, final = len(by_recipe(able)), bool(long and long[0].final)
    over, as_long = (gain(best, of, run, _level(count)) for of in (plain, long if final else []))
    return Recommendation(seeds, over, as_long, count)


def best_and_default(
    run: Run, candidates: Sequence[TrialRecord]
) -> tuple[list[TrialRecord], list[TrialRecord]]:
    """The trials of the recipe of the highest posterior mean, among these that finished; and those
    of the default of most steps, of such the best.

    Where the first is not clearly better than the default (trained as long), it is the default: of
    many that are tried, some look better by luck, for which Bonferroni's correction allows. Not
    where the default's results are lost.
    """
    groups, expected = by_recipe(best_trials(candidates)), expected_scores(run, candidates)
    best = groups[max(groups, key=lambda recipe: expected[recipe])]  # of equals the first
    default = run.default_recipe
    alike = [trials for trials in groups.values() if default and _is_default(trials[0], default)]
    long = max(
        alike,
        key=lambda ts: (ts[0].config.max_steps or 0, expected[ts[0].config.recipe.digest]),
        default=[],
    )
    ahead = gain(best, long, run, _level(len(groups))) if long else None
    known = any(last_scores(trial, run) is not None for trial in long)
    if known and (ahead is None or ahead.low <= 0.0):
        best = long
    return best, long


def _level(count: int) -> float:
    """Of each of the comparisons that the highest of so many recipes is chosen by."""
    return LEVEL / max(1, count - 1)


def _is_default(trial: TrialRecord, default: TrialConfig) -> bool:
    """Whether it trains the default, or as a final trains it again."""
    names = ("max_steps", "transfer_share", "evaluations", "ema_decay") if trial.final else ()
    own = {name: getattr(default, name) for name in names}
    return replace(trial.config, **own).recipe == default


def expected_scores(run: Run, finished: Sequence[TrialRecord]) -> dict[str, float]:
    """By recipe its `expected` of `trials_table` among these trials, rounded as it is shown; the
    mean best5 if it is unknown for any."""
    alone = replace(run, trials={trial.config.digest: trial for trial in finished})
    means = {recipe.digest: mean for (_, recipe), mean in recipe_scores(finished).items()}
    expected = compared(alone)["expected"].round(DIGITS).to_dict()
    return expected if len(expected) == len(means) else means


def gain(
    first: Sequence[TrialRecord], second: Sequence[TrialRecord], run: Run, level: float = LEVEL
) -> Difference | None:
    """How much better a recipe is in its last evaluation than another, with an interval of
    confidence 1 - `level`; None for the same, and where one has no trial with its per-example
    results."""
    ours, theirs = ([last_scores(trial, run) for trial in trials] for trials in (first, second))
    one, other = ([scores for scores in of if scores is not None] for of in (ours, theirs))
    if not one or not other or first[0].config.recipe == second[0].config.recipe:
        return None
    return recipes_difference(np.array(one), np.array(other), seed_sd_of(run), level)


def recommendation(run: Run, recipes: pd.DataFrame, left: Sequence[str]) -> list[str]:
    """Sentences: by how much luck raised the first of a `recipes_table`, which recipe is
    recommended, its gain over the default, and what is `left` to try; none if none finished."""
    if (chosen := recommended(run)) is None:
        return []
    first, count, sentences = recipes.iloc[0], recipes["expected"].count(), []
    if count > 1:
        luck = 100 * max(first["best5"] - first["expected"], 0.0)
        sentences = [
            f"As the highest of {count}, best5 {share(first['best5'])} is expected to be "
            f"{luck:.2f} points too high (the choice of its five best evaluations not counted)."
        ]
    recipe = chosen.trials[0].config.recipe
    named = f"Recommended: {rounded(labels_of(run)(chosen.trials[0]))}"
    if chosen.gain is not None or chosen.gain_as_long is not None:
        named += _gains(chosen)
    elif recipe == run.default_recipe:
        named += ", the default"
    elif not left and recipe.digest == first["recipe"]:
        return sentences
    return [*sentences, f"{named}.", *left]


def _gains(chosen: Recommendation) -> str:
    """`: +0.90 points over the default in the last evaluation (95% interval +0.30 to +1.50)`."""
    final, over = chosen.trials[0].final, "over the default"
    if chosen.is_default:
        over = "over a single short trial of it"
    known = {over: chosen.gain, "over the default trained as long": chosen.gain_as_long}
    parts = []
    for name, of in known.items():
        if of is not None:
            points, ends = difference_cells(of)
            parts.append(f"{points} points {name} (95% interval {ends})")
    text = f", the default{' trained longer' * final}" if chosen.is_default else ""
    text += f": in the last evaluation {' and '.join(parts)}"
    if chosen.candidates > 2:
        text += f", of which the intervals allow for the choice among {chosen.candidates}"
    if chosen.gain is not None and chosen.gain.low <= 0:
        text += ", not significant"
        text += "; it was trained longest, which mostly gains" * final
    return text


def steps_per_pass(run: Run, config: TrialConfig | None = None) -> int:
    """Optimiser steps of one pass over the labelled training examples, of a trial or the first."""
    batch = (config or run.any_config).batch_size
    return steps_per_epoch(run.plan.inputs.examples["train"], batch)


def passes_made(trial: TrialRecord, run: Run) -> float:
    """Over the labelled training examples, or as many others, until the last evaluation."""
    return float(trial.evaluations[-1]["step"]) / steps_per_pass(run, trial.config)


def most_passes(run: Run) -> float:
    """Passes over the training examples that a final of this run makes at most."""
    config, steps = run.any_config, steps_per_pass(run)
    return longest_passes(steps, trial_steps(run.plan.inputs.examples["train"], config) / steps)
