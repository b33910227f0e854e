"""A confirmation's comparisons, made at looks at growing numbers of seeds until all are decided."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import floor

import numpy as np

from search.record.run import Run
from search.record.trial_record import ENDED, FINISHED, TrialRecord
from search.results.finalists import Confirmation, Pair
from search.results.leaderboard import difference_cells
from search.results.statistics import LEVEL, Difference, holm, look_levels, seeds_difference
from trainable.common.errors import count_of
from trainable.config.trial_config import TrialConfig
from trainable.engine.metrics import unpack_bits

Students = Sequence[np.ndarray]  # of one recipe: bits [N] of the final evaluation, one a seed
Retrained = dict[TrialConfig, list[tuple[TrialRecord, np.ndarray]]]  # by recipe, bits [N] of each


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
        if self.difference is None or precision is None:
            return self.significant
        half = (self.difference.high - self.difference.low) / 2
        return self.significant or half <= precision

    def sentence(self, names: Mapping[TrialConfig, str]) -> str:
        """`X is significantly better than Y: +0.4 points (95% interval +0.1 to +0.7, ...).`"""
        first, second = (names[recipe] for recipe in self.pair)
        seeds = count_of(self.seeds, "seed")
        if self.difference is None:
            return f"{first} is not compared with {second}: {seeds} of one finished."
        found = self.difference
        comparison = "not significantly different from"
        if self.significant:
            comparison = f"significantly {'better' if found.estimate > 0 else 'worse'} than"
        estimate, interval = difference_cells(found)
        confidence = f"{100 - float(f'{100 * self.level:.2g}'):.10g}%"
        return (
            f"{first} is {comparison} {second}: {estimate} points ({confidence} interval "
            f"{interval}, {seeds}, adjusted p {_p_value(self.adjusted)})."
        )


def compare_at_looks(
    run: Run, confirmation: Confirmation
) -> tuple[list[Comparison], list[TrialConfig]]:
    """Each pair at the look that decided it, or at the last so far; the trials of the look to come.

    A look is when all recipes of undecided comparisons have that many seeds ended; of a run that
    grows no more, each is. Of trials to come there are none where all is decided or the most seeds
    are reached. What the record has decides alone, so that a run that was killed goes on the same.
    """
    found, precision = retrained(run, confirmation), confirmation.precision
    comparisons = [Comparison(pair) for pair in confirmation.pairs]
    ended = {digest for digest, trial in run.trials.items() if trial.outcome in ENDED}
    for look, level in zip(confirmation.looks, look_levels(confirmation.looks), strict=True):
        open_ = {r for c in comparisons if not c.decided(precision) for r in c.pair}
        trials = [config for config in confirmation.trials(look) if config.recipe in open_]
        if run.growing and not all(config.digest in ended for config in trials):
            return comparisons, trials
        seeds = confirmation.seeds[:look]
        students = {
            recipe: [bits for trial, bits in of_recipe if trial.config.seed in seeds]
            for recipe, of_recipe in found.items()
        }
        comparisons = compare(comparisons, students, float(level), precision)
    return comparisons, []


def retrained(run: Run, confirmation: Confirmation) -> Retrained:
    """The finished trials of each recipe; without those whose bits the record lost."""
    found: Retrained = {recipe: [] for recipe in confirmation.recipes}
    for trial in run.trials.values():
        bits = final_bits(trial, run) if trial.outcome == FINISHED else None
        if bits is not None:
            found[trial.config.recipe].append((trial, bits))
    return found


def final_bits(trial: TrialRecord, run: Run) -> np.ndarray | None:
    """Which examples the final evaluation got right, [N], of the full validation split where it was
    scored on that; None where the record lost them."""
    last, examples = trial.evaluations[-1], run.plan.inputs.examples
    split, packed = "evaluation", last["correct"]
    if last.get("full_accuracy") is not None:
        split, packed = "full", last["full_correct"]
    return unpack_bits(packed, examples[split]) if packed else None


def compare(
    comparisons: Sequence[Comparison],
    students: Mapping[TrialConfig, Students],
    level: float = LEVEL,
    precision: float | None = None,
) -> list[Comparison]:
    """At a look of this level, those that are undecided compared anew.

    Holm's number of comparisons stays that of all: one that an earlier look rejected comes first,
    with p 0, one that it settled last, with p 1. Where no claim of an earlier look is false, a look
    makes any false claim with a chance of at most its level then. p-values are scaled by LEVEL /
    `level`: below LEVEL is significant, at whichever look.
    """
    decided = {known.pair for known in comparisons if known.decided(precision)}
    found = [
        known if known.pair in decided else _compare(known.pair, students, level)
        for known in comparisons
    ]
    p_values = {
        now.pair: float(not now.significant) if now.pair in decided else now.difference.p_value
        for now in found
        if now.difference is not None
    }
    scaled = (holm([*p_values.values()]) * (LEVEL / level)).clip(max=1.0)
    adjusted = dict(zip(p_values, scaled.tolist(), strict=True))
    return [
        now if now.pair in decided else replace(now, adjusted=adjusted.get(now.pair, 1.0))
        for now in found
    ]


def _compare(pair: Pair, students: Mapping[TrialConfig, Students], level: float) -> Comparison:
    first, second = (students[recipe] for recipe in pair)
    seeds = min(len(first), len(second))
    if seeds < 2:
        return Comparison(pair, seeds, level=level)
    found = seeds_difference(np.array(first), np.array(second), level)
    return Comparison(pair, seeds, found, level=level)


def _p_value(value: float) -> str:
    """Cut, not rounded, to three decimals: what is below a bound reads as below it."""
    return "< 0.001" if value < 0.001 else f"= {floor(1000 * value + 1e-9) / 1000:.3f}"
