"""A scheduler, the signal it compares, its factor and grace; replayed over recorded curves.

What is replayed is what a sweep runs: the same rules decide, evaluation by evaluation.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import product

import numpy as np
import pandas as pd

from search.plan.rungs import ASHA, rungs, stratum_of
from search.policy.promotion import Promotion
from search.policy.seed_groups import SeedGroups
from search.record.trial_record import GO, STOP, WAIT
from search.replay.curves import Curves
from search.results.pareto import pareto_front
from search.results.statistics import TAILS
from search.sweep.scheduling.asha_scheduler import Stopping
from trainable.config.trial_config import TrialConfig

FACTORS = (2, 3, 4)
GRACES = (0.1, 0.2, 0.3, 0.5, 0.7)  # of the evaluations


@dataclass(frozen=True)
class Policy:
    """One way to run a sweep."""

    scheduler: str
    signal: str
    factor: int
    grace: int  # evaluations before the first rung

    def __str__(self) -> str:
        return f"{self.scheduler}, {self.signal}, factor {self.factor}, grace {self.grace}"


def every_policy(curves: Curves) -> list[Policy]:
    """Schedulers, signals, factors and graces in all combinations."""
    graces = sorted({max(1, round(share * curves.length)) for share in GRACES})
    return [Policy(*p) for p in product(WITH_RUNGS, curves.signals, FACTORS, graces)]


def compare(
    policies: Sequence[Policy], curves: Curves, draws: int, slots: int, seed: int = 0
) -> pd.DataFrame:
    """A row a policy: `work` and `regret`, means over draws of three quarters of the trials in
    random order; `less`, the mean of the regret less the first policy's on the same draws, with its
    `low` and `high`, the 2.5% and 97.5% quantiles over draws; `front`, whether no other has both
    less work and less regret."""
    generator, count = np.random.default_rng(seed), len(curves.configs)
    orders = [generator.permutation(count)[: -(-3 * count // 4)].tolist() for _ in range(draws)]
    found = np.array([[replay(policy, curves, o, slots) for o in orders] for policy in policies])
    work, regret = found.transpose(2, 0, 1)  # [policies, draws] each
    less = regret - regret[0]
    low, high = np.quantile(less, TAILS, axis=1)
    table = pd.DataFrame(
        {
            "policy": [str(policy) for policy in policies],
            "scheduler": [policy.scheduler for policy in policies],
            "work": work.mean(axis=1),
            "regret": regret.mean(axis=1),
            "less": less.mean(axis=1),
            "low": low,
            "high": high,
        }
    )
    front = pareto_front(table["work"].tolist(), (-table["regret"]).tolist())
    return table.assign(front=table.index.isin(front))


def replay(policy: Policy, curves: Curves, order: Sequence[int], slots: int) -> tuple[float, float]:
    """Work and regret of one sweep of the trials `order` [N], as many at a time as there are slots.

    Work is the share of all evaluations that are made. The sweep's choice is the finished trial of
    the highest best5; regret is by how much less accurate it is in the final evaluation than the
    best of all.
    """
    signal, digests = curves.signals[policy.signal], [c.digest for c in curves.configs]
    length = curves.length
    rule = rule_of(policy, [curves.configs[k] for k in order], curves.compare_within)
    groups = SeedGroups(rungs(length, policy.grace, policy.factor), length, rule.arrive)
    for k in order:
        groups.add(curves.configs[k])
    made, running, waiting, to_begin = Counter[int](), list[int](), list[int](), list(order)
    while running or waiting or to_begin:
        waiting = [k for k in waiting if groups.decision(digests[k]) != STOP]
        for queue in ([k for k in waiting if groups.decision(digests[k]) == GO], to_begin):
            running += queue[: slots - len(running)]
        waiting, to_begin = (
            [k for k in queue if k not in running] for queue in (waiting, to_begin)
        )
        if not running:
            groups.take(rule.close())
        for k in list(running):
            made[k] += 1
            decision = groups.evaluated(digests[k], made[k], signal[k, made[k] - 1])
            if decision != GO:
                running.remove(k)
            if decision == WAIT:
                waiting.append(k)
    chosen = max((k for k in order if made[k] == length), key=lambda k: curves.score[k])
    regret = curves.final[list(order)].max() - curves.final[chosen]
    return made.total() / (length * len(order)), float(regret)


def rule_of(
    policy: Policy, configs: Sequence[TrialConfig], compare_within: Sequence[str]
) -> Stopping | Promotion:
    """What decides at the rungs of a sweep of these trials."""

    def stratum(config: TrialConfig) -> str:
        return stratum_of(asdict(config), compare_within)

    length = configs[0].evaluations
    if policy.scheduler == ASHA:
        return Stopping(stratum, length, policy.grace, policy.factor)
    counts = Counter(stratum(recipe) for recipe in {config.recipe for config in configs})
    numbers = rungs(length, policy.grace, policy.factor)
    return Promotion(stratum, numbers, policy.factor, counts.__getitem__)
