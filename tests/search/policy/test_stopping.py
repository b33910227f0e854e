"""Stratified ASHA against ASHA's rule written out by hand, live and after a restart."""

import os
import random
from dataclasses import asdict
from statistics import median
from types import SimpleNamespace

import pytest
from ray.tune.schedulers import TrialScheduler

from search.record.run import read_run
from search.sweep.scheduling.asha_scheduler import StratifiedASHA
from tests.made_runs import asked, made_run
from trainable.config.trial_config import TrialConfig

GO, STOP = TrialScheduler.CONTINUE, TrialScheduler.STOP
BY_INIT = "init"


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


def make_trial(number, initialisation="random", prefix="ray", evaluations=8):
    rate = 1e-5 * (number + 1)
    config = TrialConfig(
        initialisation=initialisation, alpha=0.5, evaluations=evaluations, learning_rate=rate
    )
    return SimpleNamespace(
        trial_id=f"{prefix}_{number:05}", config=asdict(config), digest=config.digest
    )


def make_scheduler(folder, trials=()):
    """A scheduler on a run that has been told of these trials."""
    scheduler = StratifiedASHA(read_run(folder))
    for trial in trials:
        scheduler.on_trial_add(None, trial)
    return scheduler


def report(scheduler, trial, n, score):
    """The scheduler's decision on a trial's n-th evaluation."""
    values = {"accuracy": score, "teacher_agreement": score, "validation_loss": 0.0}
    result = {"training_iteration": n, **values}
    result["config"] = trial.config
    decision = scheduler.on_trial_result(None, trial, result)
    if decision == STOP:
        scheduler.on_trial_complete(None, trial, result)
    return decision


def write_down(run, trial, n, score, decision=GO):
    """What the recorder writes of an evaluation."""
    values = {"evaluations": n, "best5_accuracy": 0.0, "accuracy": score}
    values |= {"teacher_agreement": score, "validation_loss": 0.0}
    said = "stop" if decision == STOP else "continue"
    event = {"event": "evaluation", "decision": said, "evaluation": values}
    run.append(event | {"trial": trial.digest, "tune_trial": trial.trial_id})


def make_trials(count, evaluations=8):
    kinds = ("random", "teacher_spread")
    return [make_trial(n, kinds[n % 2], evaluations=evaluations) for n in range(count)]


def run_of(folder, trials, **plan):
    within = plan.pop("compare_within", BY_INIT)
    configs = [TrialConfig.from_dict(trial.config) for trial in trials]
    return made_run(folder, configs, asked(compare_within=within), **plan)


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run of 40 trials, half random and half from the teacher, not yet begun."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # a hundred evaluations are recorded
    return run_of(tmp_path / "run", make_trials(40))


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
@pytest.mark.parametrize("compare_within", [BY_INIT, "all"])
def test_every_decision_is_the_rules_within_the_stratum(tmp_path, grace, longest, compare_within):
    trials, first = make_trials(40, longest), min(grace, longest)
    run = run_of(tmp_path, trials, grace_evaluations=grace, compare_within=compare_within)
    scheduler = make_scheduler(run.folder, trials)
    one = Rule(first, longest)
    other = Rule(first, longest) if compare_within == BY_INIT else one
    rules = {"random": one, "teacher_spread": other}
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
        ("accuracy", "max", True),
        ("best5_accuracy", "max", False),
        ("accuracy", "min", False),
    ],
)
def test_metric_and_mode_are_fixed(folder, metric, mode, accepted):
    assert make_scheduler(folder).set_search_properties(metric, mode) is accepted
