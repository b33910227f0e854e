"""A scheduler, the signal it compares, its factor and grace; replayed over recorded curves.

The policy of a sweep decides, evaluation by evaluation.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from search.plan.rungs import WITH_RUNGS
from search.policy.policy import Policy
from search.record.run import Run
from search.record.trial_record import GO, WAIT, TrialRecord
from search.replay.curves import Curves
from search.results.pareto import pareto_front
from search.results.statistics import TAILS

FACTORS = (2, 3, 4)
GRACES = (0.1, 0.2, 0.3, 0.5, 0.7)  # of the evaluations


@dataclass(frozen=True)
class Strategy:
    """One way to run a sweep."""

    scheduler: str
    signal: str
    factor: int
    grace: int  # evaluations before the first rung

    def __str__(self) -> str:
        return f"{self.scheduler}, {self.signal}, factor {self.factor}, grace {self.grace}"


def every_strategy(curves: Curves) -> list[Strategy]:
    """Schedulers, signals, factors and graces in all combinations."""
    graces = sorted({max(1, round(share * curves.length)) for share in GRACES})
    return [Strategy(*p) for p in product(WITH_RUNGS, curves.signals, FACTORS, graces)]


def compare(
    strategies: Sequence[Strategy], curves: Curves, draws: int, slots: int, seed: int = 0
) -> pd.DataFrame:
    """A row a strategy: `work` and `regret`, means over draws of three quarters of the trials in
    random order; `less`, the mean of the regret less the first one's on the same draws, with its
    `low` and `high`, the 2.5% and 97.5% quantiles over draws; `front`, whether no other has both
    less work and less regret."""
    generator, count = np.random.default_rng(seed), len(curves.plan.trials)
    orders = [generator.permutation(count)[: -(-3 * count // 4)].tolist() for _ in range(draws)]
    results = [[replay(strategy, curves, o, slots) for o in orders] for strategy in strategies]
    work, regret = np.array(results).transpose(2, 0, 1)  # [strategies, draws] each
    less = regret - regret[0]
    table = pd.DataFrame(
        {
            "strategy": [str(strategy) for strategy in strategies],
            "scheduler": [strategy.scheduler for strategy in strategies],
            "work": work.mean(axis=1),
            "regret": regret.mean(axis=1),
            "less": less.mean(axis=1),
            **dict(zip(("low", "high"), np.quantile(less, TAILS, axis=1), strict=True)),
        }
    )
    front = pareto_front(table["work"].tolist(), (-table["regret"]).tolist())
    return table.assign(front=table.index.isin(front))


def replay(
    strategy: Strategy, curves: Curves, order: Sequence[int], slots: int
) -> tuple[float, float]:
    """Work and regret of one sweep of the trials `order` [N], as many at a time as there are slots.

    Work is the share of all evaluations that are made. The sweep's choice is the finished trial of
    the highest best5; regret is by how much lower its score is in the final evaluation than the
    best of all.
    """
    signal, plan = curves.signals[strategy.signal], curves.plan
    number_of = {config.digest: k for k, config in enumerate(plan.trials)}
    plan = replace(
        plan,
        requests=(replace(plan.request, scheduler=strategy.scheduler),),
        trials=tuple(plan.trials[k] for k in order),
        grace_evaluations=strategy.grace,
    )
    run = Run(Path(), plan, {config.digest: TrialRecord(config) for config in plan.trials})
    policy = Policy(run, score=lambda evaluation: evaluation["signal"], factor=strategy.factor)
    made, running, waiting, begun = Counter[int](), list[str](), list[str](), set[str]()
    while True:
        while len(running) < slots:
            new = policy.next_trial(begun, exclusive=True)
            digest = policy.next_to_run(waiting, [new.config.digest] if new else [])
            if digest is None:
                break
            waiting = [other for other in waiting if other != digest]
            begun.add(digest)
            running.append(digest)
        if not running:
            if not (additions := policy.additions(exclusive=True)):
                break
            for event in additions:
                policy.apply(event)
        for digest in list(running):
            k = number_of[digest]
            made[k] += 1
            evaluation = {"evaluations": made[k], "signal": signal[k, made[k] - 1]}
            event = {"event": "evaluation", "trial": digest, "evaluation": evaluation}
            policy.apply(event)
            if event["decision"] != GO:
                running.remove(digest)
            if event["decision"] == WAIT:
                waiting.append(digest)
    chosen = max((k for k in order if made[k] == curves.length), key=lambda k: curves.score[k])
    regret = curves.final[list(order)].max() - curves.final[chosen]
    return made.total() / (curves.length * len(order)), float(regret)
