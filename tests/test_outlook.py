"""Times of a sweep from the costs of its trials, worked out by hand."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
from search.outlook import MOST_KINDS, RAY_START, Outlook, expected_times, representatives
from search.trial_probe import TrialCost

from search.record import FINISHED, PARAMETERS, Run, TrialRecord
from search.request import Request
from trainable.config import TrialConfig

EVALUATIONS = 8


def config(seed, **changes):
    base = {"alpha": 1.0, "learning_rate": 1e-5, "evaluations": EVALUATIONS, "student_layers": 3}
    return TrialConfig(**{**base, "seed": seed, **changes})


def make_outlook(configs, places=2, *, more=0, possible=(), scheduler="asha", **request):
    sweep = {
        "scheduler": scheduler,
        "grace_evaluations": 2,
        "compare_within": ["initialisation"],
        "requests": [Request("recipe", "mini", "cache", **request).to_dict()],
    }
    if more or request:
        sweep[PARAMETERS] = [{} for _ in configs]
    run = Run(Path("run"), sweep, {c.digest: TrialRecord(c) for c in configs})
    return Outlook(run, places, more, possible or configs)


def times_of(outlook, costs, start=4.0, teacher=(0.0, 0.0)):
    return expected_times(outlook, costs, start, teacher)


def test_without_asha_all_evaluations_of_all_trials_are_made():
    configs = [config(seed) for seed in range(5)]
    costs = {configs[0]: TrialCost(setup=1.0, evaluation=10.0)}
    times = times_of(make_outlook(configs), costs)
    # three rounds on one place; the first trial's set-up is part of the start
    wanted = RAY_START + 4.0 + 3 * EVALUATIONS * 10.0 + 2 * 1.0
    assert times.by_scheduler["fifo"] == pytest.approx(wanted)
    assert times.fitting == {}
    assert times.budget is None


def test_asha_saves_time_where_there_is_someone_to_lose():
    configs = [config(0, learning_rate=1e-5 * (1 + number)) for number in range(20)]
    times = times_of(make_outlook(configs), {configs[0]: TrialCost(0.0, 10.0)})
    assert times.by_scheduler["asha"] < 0.75 * times.by_scheduler["fifo"]
    alone = times_of(make_outlook(configs[:1]), {configs[0]: TrialCost(0.0, 10.0)})
    assert alone.by_scheduler["asha"] == pytest.approx(alone.by_scheduler["fifo"])


def test_trials_in_strata_of_their_own_are_not_stopped():
    names = ("random", "teacher_spread", "teacher_lower", "teacher_upper", "teacher_embeddings")
    configs = [config(0, initialisation=name) for name in names]
    times = times_of(make_outlook(configs), {configs[0]: TrialCost(0.0, 10.0)})
    assert times.by_scheduler["asha"] == pytest.approx(times.by_scheduler["fifo"])


def test_seeds_of_a_recipe_are_decided_on_together():
    names = ("random", "teacher_spread", "teacher_lower")
    configs = [config(seed, initialisation=name) for name in names for seed in range(5)]
    times = times_of(make_outlook(configs, seeds=5), {configs[0]: TrialCost(0.0, 10.0)})
    assert times.by_scheduler["asha"] == pytest.approx(times.by_scheduler["fifo"])


def test_seeds_that_wait_for_others_are_set_up_again():
    configs = [config(0), config(1)]
    outlook = make_outlook(configs, places=1, seeds=2)
    times = times_of(outlook, {configs[0]: TrialCost(setup=3.0, evaluation=10.0)})
    assert times.by_scheduler["fifo"] == pytest.approx(RAY_START + 4.0 + 2 * 80.0 + 3.0)
    # at each of two rungs one of the two waits
    assert times.by_scheduler["asha"] == pytest.approx(times.by_scheduler["fifo"] + 2 * 3.0)


def test_suggestions_come_on_all_seeds_each_decided_on_by_itself():
    configs, costs = [config(0), config(1), config(2)], {config(0): TrialCost(0.0, 10.0)}
    drawn = [config(0, alpha=0.5), config(0, alpha=0.25)]
    outlook = make_outlook(configs, more=30, possible=[*configs[:2], *drawn], samples=11, seeds=3)
    assert outlook.suggested(7) == [
        *(config(seed, alpha=alpha) for alpha in (0.5, 0.25) for seed in range(3)),
        config(0, alpha=0.5),
    ]
    by_scheduler = times_of(outlook, costs).by_scheduler
    assert 0.5 * by_scheduler["fifo"] < by_scheduler["asha"] < 0.85 * by_scheduler["fifo"]


def test_kinds_have_their_own_cost_and_others_are_judged_by_layers():
    small, large, largest = config(0), config(1, student_layers=7), config(2, student_layers=15)
    costs = {small: TrialCost(0.0, 5.0), large: TrialCost(0.0, 7.0)}
    before = RAY_START + 4.0
    for trial, each in ((small, 5.0), (large, 7.0), (largest, 12.0 / (4 + 8) * 16)):
        told = times_of(make_outlook([trial]), costs).by_scheduler["fifo"]
        assert told == pytest.approx(before + EVALUATIONS * each)


def test_suggested_trials_take_their_time():
    configs = [config(0), config(1)]
    costs = {configs[0]: TrialCost(0.0, 10.0)}
    outlook = make_outlook(configs, more=6, possible=[*configs, config(2)], samples=8)
    told = times_of(outlook, costs).by_scheduler["fifo"]
    assert told == pytest.approx(RAY_START + 4.0 + 4 * EVALUATIONS * 10.0)
    assert outlook.at_a_time == 2
    assert replace(outlook, places=20).at_a_time == 8


def test_time_budget_says_how_many_suggestions_fit():
    configs = [config(0), config(1)]
    costs = {configs[0]: TrialCost(0.0, 10.0)}
    outlook = make_outlook(configs, more=math.inf, possible=[config(2)], time_budget=500.0)
    times = times_of(outlook, costs, start=0.0)
    # 80 s a trial, two at a time: six rounds and what Ray takes; the starts are the first
    assert times.fitting["fifo"] == 2 * 6 - 2
    assert times.fitting["asha"] > times.fitting["fifo"]
    assert max(times.by_scheduler.values()) <= 500.0
    assert times.budget == 500.0


def test_budget_that_ends_nothing_says_so():
    configs = [config(0), config(1)]
    outlook = make_outlook(configs, more=2, possible=[config(2)], samples=4, time_budget=50_000.0)
    assert times_of(outlook, {configs[0]: TrialCost(0.0, 10.0)}).fitting == {}


def test_a_run_with_evaluations_goes_on_at_its_own_pace():
    configs = [config(seed) for seed in range(3)]
    outlook = make_outlook(configs, places=1)
    first = outlook.run.trials[configs[0].digest]
    first.outcome = FINISHED
    first.evaluations = [
        {"training_seconds": 2.0, "evaluation_seconds": 1.0, "accuracy": n, "best5_accuracy": n}
        for n in range(EVALUATIONS)
    ]
    assert len(outlook.configs) == 2
    times = times_of(outlook, {configs[0]: TrialCost(0.0, 1000.0)})
    assert times.by_scheduler["fifo"] == pytest.approx(RAY_START + 4.0 + 2 * EVALUATIONS * 3.0)


def test_the_most_frequent_kinds_are_measured():
    kinds = [3, 3, 4, 5, 5, 5, 6, 6]
    configs = [config(seed, student_layers=layers) for seed, layers in enumerate(kinds)]
    chosen = representatives(make_outlook(configs))
    assert len(chosen) == MOST_KINDS
    assert [c.student_layers for c in chosen] == [5, 3, 6]
