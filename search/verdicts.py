"""From students retrained on fresh seeds to verdicts: which recipe is better, and by how much."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import floor

import numpy as np

from search.finalists import Pair
from search.statistics import Difference, holm, seeds_difference
from trainable.config import TrialConfig

LEVEL = 0.05  # chance of claiming any difference where there is none


@dataclass
class Retrained:
    """The students of one recipe that finished, by seed."""

    last: dict[int, np.ndarray] = field(default_factory=dict)  # bits [N] of the final evaluation
    best5: dict[int, float] = field(default_factory=dict)

    @property
    def accuracies(self) -> list[float]:
        """Of the final evaluations, one a seed."""
        return [float(bits.mean()) for bits in self.last.values()]


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
        if self.difference is None:
            return f"{first} is not compared with {second}: {_count(self.seeds)} of one finished."
        found = self.difference
        comparison = "not significantly different from"
        if self.significant:
            comparison = f"significantly {'better' if found.estimate > 0 else 'worse'} than"
        estimate, low, high = map(_points, (found.estimate, found.low, found.high))
        return (
            f"{first} is {comparison} {second}: {estimate} points (95 % interval {low} to {high}, "
            f"{_count(self.seeds)}, adjusted p {_p_value(self.adjusted)})."
        )


def judge(retrained: Mapping[TrialConfig, Retrained], pairs: Sequence[Pair]) -> list[Verdict]:
    """A verdict for each pair of recipes, paired by example and not by seed.

    A seed decides the order of the data and the dropout of every recipe. Should that make them
    better or worse together, the test claims too little, not too much; pairing by seed would halve
    the degrees of freedom.
    """
    verdicts = [_compare(pair, *(retrained[recipe].last for recipe in pair)) for pair in pairs]
    compared = [v.difference.p_value for v in verdicts if v.difference is not None]
    adjusted = iter(holm(compared).tolist())
    return [
        verdict if verdict.difference is None else replace(verdict, adjusted=next(adjusted))
        for verdict in verdicts
    ]


def _compare(
    pair: Pair, first: Mapping[int, np.ndarray], second: Mapping[int, np.ndarray]
) -> Verdict:
    seeds = min(len(first), len(second))
    if seeds < 2:
        return Verdict(pair, seeds)
    rows = [np.array(list(bits.values())) for bits in (first, second)]
    return Verdict(pair, seeds, seeds_difference(*rows, same_seeds=False))


def _points(share: float) -> str:
    return f"{round(100 * share, 1) + 0.0:+.1f}"  # no minus before a zero


def _p_value(value: float) -> str:
    """Cut, not rounded, to three decimals: what is below a bound reads as below it."""
    return "< 0.001" if value < 0.001 else f"= {floor(1000 * value + 1e-9) / 1000:.3f}"


def _count(seeds: int) -> str:
    return f"{seeds} seed" + ("" if seeds == 1 else "s")
