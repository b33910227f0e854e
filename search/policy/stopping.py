"""Stopping at rungs: a Ray ASHA scheduler for each stratum, asked as a plain object.

Students copied from the teacher start points ahead of random ones. If all were compared together,
every random one would be stopped at the first rung.
"""

from collections import defaultdict
from collections.abc import Callable
from types import SimpleNamespace

from ray.tune.schedulers import ASHAScheduler, TrialScheduler

from search.policy.rung_decisions import Decisions
from search.record.trial_record import GO, STOP
from trainable.config.trial_config import TrialConfig

SCORE = "score"
TIME = "training_iteration"  # counts evaluations


class Stopping:
    """Asynchronous halving (Li et al. 2020) of recipes, each compared within its stratum."""

    undecided = False  # each recipe is decided when it arrives

    def __init__(
        self,
        stratum: Callable[[TrialConfig], str],
        evaluations: int,
        grace_evaluations: int,
        factor: int,
    ) -> None:
        self._stratum = stratum
        self._strata = defaultdict[str, ASHAScheduler](
            lambda: ASHAScheduler(
                time_attr=TIME,
                metric=SCORE,
                mode="max",
                max_t=evaluations,
                grace_period=min(grace_evaluations, evaluations),
                reduction_factor=factor,
            )
        )

    def arrive(self, config: TrialConfig, rung: int, score: float) -> Decisions:
        """Whether a recipe of this score goes on beyond a rung."""
        recipe = config.recipe.digest
        asha, group = self._strata[self._stratum(config)], SimpleNamespace(trial_id=recipe)
        asha.on_trial_add(None, group)
        decision = asha.on_trial_result(None, group, {TIME: rung, SCORE: score})
        return {(recipe, rung): STOP if decision == TrialScheduler.STOP else GO}

    def close(self) -> Decisions:
        """Decides nothing: no recipe waits for others."""
        return {}
