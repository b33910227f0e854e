"""Promotion: a recipe waits at its rung, and goes on once it is among the best there.

No recipe is stopped that could still be among the best, so an early rung may cut more (Li et al.
2020, "A System for Massively Parallel Hyperparameter Tuning", algorithm 2). If the number of
recipes is known, a rung is decided when all have arrived, and no recipe is promoted that a later
one would have displaced; a recipe that can no longer be among the best is stopped at once. One that
comes alone has nothing to be compared with but the default.
"""

from collections.abc import Callable, Mapping, Sequence
from math import inf

from search.policy.rung_decisions import Decisions
from search.record.trial_record import GO, STOP
from trainable.config.trial_config import TrialConfig


class Promotion:
    """Decides on recipes as they arrive at rungs, each within its stratum.

    `expected` says how many recipes of a stratum will arrive at the first rung; infinite if that is
    unknown. One in `factor`, but at least one, goes on to each later rung. `default` has the scores
    of the search's default by stratum and rung, as far as it has come: it is never stopped.
    """

    def __init__(
        self,
        stratum: Callable[[TrialConfig], str],
        rungs: Sequence[int],
        factor: int,
        expected: Callable[[str], float],
        default: Mapping[tuple[str, int], float],
    ) -> None:
        self._stratum, self._rungs, self._factor = stratum, sorted(rungs), factor
        self._expected, self._default = expected, default
        self._scores: dict[tuple[str, int], dict[str, float]] = {}  # by stratum and rung
        self._decided: dict[tuple[str, int], dict[str, str]] = {}

    def arrive(self, config: TrialConfig, rung: int, score: float) -> Decisions:
        """What a recipe's arrival decides, of it or of others that wait there."""
        stratum = self._stratum(config)
        self._scores.setdefault((stratum, rung), {}).setdefault(config.recipe.digest, score)
        return self._decide(stratum, rung, self._arriving(stratum, rung))

    @property
    def undecided(self) -> bool:
        """Whether some recipe waits at a rung."""
        return any(self._waiting(stratum, rung) for stratum, rung in self._scores)

    def close(self) -> Decisions:
        """Decides the lowest rung at which recipes of a stratum wait, as no other recipe comes."""
        decisions, closed = dict[tuple[str, int], str](), set[str]()
        for stratum, rung in sorted(self._scores, key=lambda key: key[1]):
            if self._waiting(stratum, rung) and stratum not in closed:
                closed.add(stratum)
                decisions |= self._decide(stratum, rung, len(self._scores[stratum, rung]))
        return decisions

    def _waiting(self, stratum: str, rung: int) -> bool:
        return len(self._scores[stratum, rung]) > len(self._decided.get((stratum, rung), {}))

    def _arriving(self, stratum: str, rung: int) -> float:
        """How many recipes may arrive at a rung in all."""
        first = self._expected(stratum)
        return first if first == inf else max(1, first // self._factor ** self._rungs.index(rung))

    def _decide(self, stratum: str, rung: int, arriving: float) -> Decisions:
        scores = self._scores[stratum, rung]
        decided = self._decided.setdefault((stratum, rung), {})
        most = inf if arriving == inf else max(1, arriving // self._factor)  # that may ever go on
        all_there = len(scores) >= arriving
        best = len(scores) // self._factor if most == inf else most if all_there else 0
        if arriving == 1 and self._worse_than_default(stratum, rung):
            best = most = 0
        # Of equals by digest: a kill may change which of them comes first.
        ranked = sorted(scores, key=lambda recipe: (-scores[recipe], recipe))
        decisions = {
            recipe: GO if rank < best else STOP
            for rank, recipe in enumerate(ranked)
            if recipe not in decided and not best <= rank < most
        }
        decided |= decisions
        return {(recipe, rung): decision for recipe, decision in decisions.items()}

    def _worse_than_default(self, stratum: str, rung: int) -> bool:
        """Whether a recipe that is alone in its stratum has a lower score than the default."""
        alone = len(self._scores[stratum, self._rungs[0]]) == 1
        scores, default = self._scores[stratum, rung], self._default.get((stratum, rung), -inf)
        return alone and max(scores.values()) < default
