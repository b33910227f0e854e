"""From students retrained on fresh seeds to verdicts: which recipe is better, and by how much."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import floor

import numpy as np

from search.finalists import Pair
from search.leaderboard import count_of, difference_cells
from search.statistics import Difference, holm, seeds_difference
from trainable.config import TrialConfig

LEVEL = 0.05  # chance of claiming any difference where there is none


Students = Sequence[np.ndarray]  # of one recipe: bits [N] of the final evaluation, one a seed


@dataclass(frozen=True)
class Verdict:
    """Two recipes compared; without a difference where one has fewer than two seeds."""

    pair: Pair
    seeds: int  # of each, or of the one that has fewer
    difference: Difference | None = None  # first less second, in shares
    adjusted: float = 1.0  # p-value, for the number of comparisons

    @property
    def significant(self) -> bool:
        """Whether the difference holds, all comparisons considered."""
        return self.difference is not None and self.adjusted < LEVEL

    def sentence(self, names: Mapping[TrialConfig, str]) -> str:
        """`X is significantly better than Y: +0.4 points (95 % interval +0.1 to +0.7, ...).`"""
        first, second = (names[recipe] for recipe in self.pair)
        seeds = count_of(self.seeds, "seed")
        if self.difference is None:
            return f"{first} is not compared with {second}: {seeds} of one finished."
        found = self.difference
        comparison = "not significantly different from"
        if self.significant:
            comparison = f"significantly {'better' if found.estimate > 0 else 'worse'} than"
        estimate, interval = difference_cells(found)
        return (
            f"{first} is {comparison} {second}: {estimate} points (95 % interval {interval}, "
            f"{seeds}, adjusted p {_p_value(self.adjusted)})."
        )


def judge(retrained: Mapping[TrialConfig, Students], pairs: Sequence[Pair]) -> list[Verdict]:
    """A verdict for each pair of recipes, p-values adjusted for the number of pairs."""
    verdicts = [_compare(pair, *(retrained[recipe] for recipe in pair)) for pair in pairs]
    compared = [v.difference.p_value for v in verdicts if v.difference is not None]
    adjusted = iter(holm(compared).tolist())
    return [
        verdict if verdict.difference is None else replace(verdict, adjusted=next(adjusted))
        for verdict in verdicts
    ]


def _compare(pair: Pair, first: Students, second: Students) -> Verdict:
    seeds = min(len(first), len(second))
    if seeds < 2:
        return Verdict(pair, seeds)
    found = seeds_difference(np.array(first), np.array(second))
    return Verdict(pair, seeds, found)


def _p_value(value: float) -> str:
    """Cut, not rounded, to three decimals: what is below a bound reads as below it."""
    return "< 0.001" if value < 0.001 else f"= {floor(1000 * value + 1e-9) / 1000:.3f}"
