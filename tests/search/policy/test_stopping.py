"""Stopping against ASHA's rule written out by hand."""

import random
from statistics import median

import pytest

from search.policy.policy import Policy
from search.record.run import Run
from search.record.trial_record import GO, STOP, TrialRecord
from tests.made_runs import asked, evaluated, made_plan, of_two_strata


def by_the_rule(arrived, number, score, longest):
    """ASHA: at each rung a trial below the median of those before it there is stopped."""
    before = arrived.get(number, [])
    stopped = number >= longest or (bool(before) and score < median(before))
    before.append(score)
    return STOP if stopped else GO


@pytest.mark.parametrize("scheduler", ["asha", "fifo"])
@pytest.mark.parametrize(("grace", "longest"), [(1, 8), (3, 15), (3, 8), (5, 4)])
@pytest.mark.parametrize("within", ["init", "all"])
def test_every_decision_is_the_rules_within_the_stratum(
    tmp_path, scheduler, grace, longest, within
):
    """Trials come to the rungs in a random order; students from the teacher score 0.1 more."""
    chance, configs = random.Random(grace), of_two_strata(40, evaluations=longest)
    request = asked(scheduler=scheduler, compare_within=within)
    plan = made_plan(configs, request, grace_evaluations=grace)
    policy = Policy(Run(tmp_path, plan, {c.digest: TrialRecord(c) for c in configs}))
    one, other = ({min(grace, longest) * 2**k: [] for k in range(9)} for _ in range(2))
    arrived = {"random": one, "teacher_spread": other if within == "init" else one}
    running, stopped_early = dict.fromkeys(configs, 0), 0
    while running:
        config = chance.choice([*running][:6])
        running[config] = number = running[config] + 1
        score = round(chance.uniform(0.6, 0.8) + 0.1 * (config.initialisation != "random"), 4)
        event = evaluated(config, number, score, teacher_agreement=score, validation_loss=0.0)
        del event["decision"]
        policy.apply(event)
        if scheduler == "asha":
            expected = by_the_rule(arrived[config.initialisation], number, score, longest)
            assert event["decision"] == expected
        if event["decision"] == STOP:
            del running[config]
            stopped_early += number < longest
    assert (stopped_early > 5) == (scheduler == "asha" and grace < longest)
