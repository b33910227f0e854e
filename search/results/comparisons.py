"""A confirmation's comparisons, made at looks at growing numbers of seeds until all are decided."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import floor

import numpy as np

from search.record.run import Run
from search.record.trial_record import ENDED, FINISHED, TrialRecord
from search.results.cells import difference_cells
from search.results.confirmation import Confirmation, Pair
from search.results.scores import last_scores
from search.results.statistics import LEVEL, Difference, look_levels, seeds_difference
from trainable.common.errors import count_of
from trainable.config.trial_config import TrialConfig

Students = Sequence[np.ndarray]  # of one recipe: scores [N] of the final evaluation, one a seed
Retrained = dict[TrialConfig, list[tuple[TrialRecord, np.ndarray]]]  # by recipe, scores [N] of each


@dataclass(frozen=True)
class Comparison:
    """Two recipes compared; without a difference where one has fewer than two seeds."""

    pair: Pair
    seeds: int = 0  # of each, or of the one that has fewer
    difference: Difference | None = None  # first less second, in shares
    adjusted: float = 1.0  # p-value, for the number of comparisons and the level of the look
    level: float = LEVEL  # of its look

    @property
    def significant(self) -> bool:
        """Whether the difference holds, all comparisons and looks considered."""
        return self.difference is not None and self.adjusted < LEVEL

    def decided(self, precision: float | None) -> bool:
        """Whether it is significant, or its interval has a half width of at most `precision`."""
        if self.significant or self.difference is None or precision is None:
            return self.significant
        return self.difference.high - self.difference.low <= 2 * precision

    def sentence(self, names: Mapping[TrialConfig, str]) -> str:
        """`X is significantly better than Y: +0.4 points (95% interval +0.1 to +0.7, ...).`"""
        first, second = (names[recipe] for recipe in self.pair)
        seeds = count_of(self.seeds, "seed")
        if self.difference is None:
            return f"{first} is not compared with {second}: {seeds} of one finished."
        comparison = "not significantly different from"
        if self.significant:
            better = "better" if self.difference.estimate > 0 else "worse"
            comparison = f"significantly {better} than"
        estimate, interval = difference_cells(self.difference)
        confidence = f"{100 - float(f'{100 * self.level:.2g}'):.10g}%"
        # Cut, not rounded: what is below a bound reads as below it.
        thousandths = floor(1000 * self.adjusted + 1e-9)
        p = f"= {thousandths / 1000:.3f}" if thousandths else "< 0.001"
        return (
            f"{first} is {comparison} {second}: {estimate} points ({confidence} interval "
            f"{interval}, {seeds}, adjusted p {p})."
        )


def has_all_seeds(run: Run) -> bool:
    """Whether a confirmation gets no more trials: all is decided, or it has the most seeds."""
    assert run.plan.confirms is not None
    recipes = {trial.config.recipe for trial in run.trials.values()}
    return run.decided or len(run.trials) >= len(recipes) * len(run.plan.confirms["seeds"])


def compare_at_looks(run: Run, confirmation: Confirmation) -> list[Comparison]:
    """Each pair at the look that decided it, or at the last so far.

    A look takes place when all recipes of undecided comparisons have that many seeds ended; in a
    run that has all its trials, each does.
    """
    trained, precision = retrained(run, confirmation), confirmation.precision
    comparisons = [Comparison(pair) for pair in confirmation.pairs]
    ended = {digest for digest, trial in run.trials.items() if trial.outcome in ENDED}
    for look, level in zip(confirmation.looks, look_levels(confirmation.looks), strict=True):
        trials = trials_at_look(confirmation, look, comparisons)
        if not has_all_seeds(run) and not all(config.digest in ended for config in trials):
            break
        seeds = confirmation.seeds[:look]
        students = {
            recipe: [scores for trial, scores in of_recipe if trial.config.seed in seeds]
            for recipe, of_recipe in trained.items()
        }
        comparisons = compare(comparisons, students, float(level), precision)
    return comparisons


def trials_at_look(
    confirmation: Confirmation, look: int, comparisons: Sequence[Comparison]
) -> list[TrialConfig]:
    """On so many seeds, those of the recipes that an undecided comparison is of."""
    undecided = [c for c in comparisons if not c.decided(confirmation.precision)]
    still_open = {recipe for comparison in undecided for recipe in comparison.pair}
    return [config for config in confirmation.trials(look) if config.recipe in still_open]


def retrained(run: Run, confirmation: Confirmation) -> Retrained:
    """The finished trials of each recipe; without those whose predictions the record
    lost."""
    trained: Retrained = {recipe: [] for recipe in confirmation.recipes}
    for trial in run.trials.values():
        scores = last_scores(trial, run) if trial.outcome == FINISHED else None
        if scores is not None:
            trained[trial.config.recipe].append((trial, scores))
    return trained


def compare(
    comparisons: Sequence[Comparison],
    students: Mapping[TrialConfig, Students],
    level: float = LEVEL,
    precision: float | None = None,
) -> list[Comparison]:
    """At a look of this level, the undecided comparisons are made anew.

    Holm's number of comparisons stays that of all: one that an earlier look rejected comes first,
    with p 0, one that it settled last, with p 1. If no claim of an earlier look is false, a look
    then makes any false claim with a chance of at most its level. p-values are scaled by LEVEL /
    `level`: below LEVEL is significant, at whichever look.
    """
    undecided = {known.pair for known in comparisons if not known.decided(precision)}
    compared = [
        _compare(known.pair, students, level) if known.pair in undecided else known
        for known in comparisons
    ]
    p_values = {
        c.pair: c.difference.p_value if c.pair in undecided else float(not c.significant)
        for c in compared
        if c.difference is not None
    }
    scaled = (holm([*p_values.values()]) * (LEVEL / level)).clip(max=1.0)
    adjusted = dict(zip(p_values, scaled.tolist(), strict=True))
    return [
        replace(c, adjusted=adjusted.get(c.pair, 1.0)) if c.pair in undecided else c
        for c in compared
    ]


def _compare(pair: Pair, students: Mapping[TrialConfig, Students], level: float) -> Comparison:
    first, second = (students[recipe] for recipe in pair)
    seeds = min(len(first), len(second))
    if seeds < 2:
        return Comparison(pair, seeds, level=level)
    difference = seeds_difference(np.array(first), np.array(second), level)
    return Comparison(pair, seeds, difference, level=level)


def holm(p_values: Sequence[float] | np.ndarray) -> np.ndarray:
    """Holm's step-down adjustment (1979) of M p-values, [M] in their order, at most 1.

    An adjusted value below 0.05 stands for a difference claimed where the chance of any false claim
    among all M is at most 5 %.
    """
    values = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(values)
    adjusted = np.empty_like(values)
    adjusted[order] = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1))
    return adjusted.clip(max=1.0)
