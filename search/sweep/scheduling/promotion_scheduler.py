"""Halving that promotes: trials wait at a rung with their checkpoint, and the best go on."""

from math import inf

from search.plan.asha_rules import FACTORS, PROMOTION
from search.sweep.scheduling.asha_scheduler import StratifiedASHA
from search.sweep.scheduling.promotion import Promotion


class PromotingASHA(StratifiedASHA):
    """As StratifiedASHA, but a trial that comes to a rung waits there for the others, and is ended
    only once it can't be among those that go on."""

    def make_rule(self) -> Promotion:
        """What decides at the rungs."""
        return Promotion(self.stratum, self.run.rungs, FACTORS[PROMOTION], self._expected)

    def _expected(self, stratum: str) -> float:
        """Recipes that are to come to the first rung of a stratum, as far as that is known."""
        known = sum(self.stratum(config) == stratum for config in self._groups.configs)
        if not self.run.request.searched:
            return known
        return inf if self.run.plan.compare_within else max(known, self.run.request.wanted)


SCHEDULER = PromotingASHA
