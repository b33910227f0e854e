"""Stratified ASHA against ASHA's rule written out by hand, live and after a restart."""

import os
import pickle
import random
from statistics import median
from types import SimpleNamespace

import pytest
from ray.tune.schedulers import TrialScheduler

from search.record import create_run
from search.strata import SchedulerSettings
from search.stratified_asha import StratifiedASHA
from trainable.config import TrialConfig

GO, STOP = TrialScheduler.CONTINUE, TrialScheduler.STOP
BY_INIT = ("initialisation",)


class Rule:
    """ASHA: at each rung a trial below the median of those before it there is stopped."""

    def __init__(self, grace, longest):
        self.rungs = {grace * 2**k: [] for k in range(9) if grace * 2**k <= longest}
        self.longest = longest

    def decide(self, n, score):
        before = self.rungs.get(n, [])
        stopped = bool(before) and score < median(before)
        if n in self.rungs:
            before.append(score)
        return STOP if stopped or n >= self.longest else GO


def make_trial(number, initialisation="random", prefix="ray"):
    rate = 1e-5 * (number + 1)
    config = TrialConfig(
        initialisation=initialisation, alpha=0.5, evaluations=8, learning_rate=rate
    )
    return SimpleNamespace(
        trial_id=f"{prefix}_{number:05}", config=config.to_dict(), digest=config.digest
    )


def make_scheduler(folder, trials=(), *, grace=2, longest=8, compare_within=BY_INIT):
    """A scheduler on a run's folder that has been told of these trials."""
    scheduler = StratifiedASHA(SchedulerSettings(longest, grace, compare_within, folder))
    for trial in trials:
        scheduler.on_trial_add(None, trial)
    return scheduler


def report(scheduler, trial, n, score):
    """The scheduler's decision on a trial's n-th evaluation."""
    result = {"training_iteration": n, "best5_accuracy": score, "config": trial.config}
    decision = scheduler.on_trial_result(None, trial, result)
    if decision == STOP:
        scheduler.on_trial_complete(None, trial, result)
    return decision


def write_down(run, trial, n, score, decision=GO):
    """What the recorder writes of an evaluation."""
    values = {"evaluations": n, "best5_accuracy": score, "accuracy": score}
    said = "stop" if decision == STOP else "continue"
    event = {"event": "evaluation", "decision": said, "evaluation": values}
    run.append(event | {"trial": trial.digest, "tune_trial": trial.trial_id})


def make_trials(count):
    kinds = ("random", "teacher_spread")
    return [make_trial(number, kinds[number % 2]) for number in range(count)]


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run of 40 trials, half random and half from the teacher, not yet begun."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # a hundred evaluations are recorded
    configs = [TrialConfig.from_dict(trial.config) for trial in make_trials(40)]
    return create_run(tmp_path / "run", {}, configs)


@pytest.fixture
def folder(run):
    return run.folder


def play(trials, decide, seed):
    """Lets trials report in a random order, so many at a time, until each is stopped.

    Yields (trial, n, score, decision). Students from the teacher score 0.1 more.
    """
    chance = random.Random(seed)
    waiting, n = list(trials), {trial.trial_id: 0 for trial in trials}
    running = [waiting.pop(0) for _ in range(6)]
    while running:
        trial = chance.choice(running)
        n[trial.trial_id] += 1
        lead = 0.1 if trial.config["initialisation"] != "random" else 0.0
        score = round(chance.uniform(0.6, 0.8) + lead, 4)
        decision = decide(trial, n[trial.trial_id], score)
        yield trial, n[trial.trial_id], score, decision
        if decision == STOP:
            running.remove(trial)
            running += [waiting.pop(0)] if waiting else []


@pytest.mark.parametrize(("grace", "longest"), [(1, 8), (2, 8), (3, 15), (3, 8), (5, 4)])
@pytest.mark.parametrize("compare_within", [BY_INIT, ()], ids=["strata", "plain"])
def test_every_decision_is_the_rules_within_the_stratum(folder, grace, longest, compare_within):
    trials, first = make_trials(40), min(grace, longest)
    strata = {"grace": grace, "longest": longest, "compare_within": compare_within}
    scheduler = make_scheduler(folder, trials, **strata)
    one = Rule(first, longest)
    rules = {"random": one, "teacher_spread": Rule(first, longest) if compare_within else one}
    early = 0
    for trial, n, score, decision in play(trials, lambda *e: report(scheduler, *e), seed=grace):
        assert decision == rules[trial.config["initialisation"]].decide(n, score)
        early += decision == STOP and n < longest
    assert early > 5 or grace >= longest


def test_removed_trial_leaves_what_it_scored(folder):
    one, two = make_trial(0), make_trial(2)
    scheduler = make_scheduler(folder, [one, two])
    report(scheduler, one, 2, 0.8)
    scheduler.on_trial_remove(None, one)
    assert report(scheduler, two, 2, 0.7) == STOP


def test_rungs_are_refilled_once(run):
    trials = make_trials(3)
    fresh = make_scheduler(run.folder, trials[:1])
    write_down(run, trials[0], 2, 0.9)  # by the recorder, after the scheduler took it in
    fresh.on_trial_add(None, trials[2])
    assert report(fresh, trials[2], 2, 0.1) == GO


def test_trial_does_not_compete_with_its_own_past_under_another_id(run):
    """Each session of a run is a new Tuner, with new ids and the old record."""
    old, new = ([make_trial(n, prefix=p) for n in (0, 2)] for p in ("old", "new"))
    live = make_scheduler(run.folder, old)
    for trial, score in zip(old, (0.7, 0.8), strict=True):
        assert report(live, trial, 2, score) == GO
        write_down(run, trial, 1, score)
        write_down(run, trial, 2, score)
    fresh = make_scheduler(run.folder, new)
    assert [report(fresh, t, 2, s) for t, s in zip(new, (0.7, 0.8), strict=True)] == [GO, GO]


@pytest.mark.parametrize(
    ("metric", "mode", "accepted"),
    [
        (None, None, True),
        ("best5_accuracy", "max", True),
        ("accuracy", "max", False),
        ("best5_accuracy", "min", False),
    ],
)
def test_metric_and_mode_are_fixed(folder, metric, mode, accepted):
    assert make_scheduler(folder).set_search_properties(metric, mode) is accepted


def test_pickled_before_the_first_trial_it_refills_on_its_own(run):
    one, two = make_trial(0), make_trial(2)
    restored = pickle.loads(pickle.dumps(make_scheduler(run.folder)))
    write_down(run, one, 2, 0.8)
    for trial in (one, two):
        restored.on_trial_add(None, trial)
    assert report(restored, two, 2, 0.7) == STOP
