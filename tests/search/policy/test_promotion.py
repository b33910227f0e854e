"""Halving that promotes, against halving written out by hand, whatever the order and the kills."""

import os
import random
from math import inf

import pytest

from search.record.run import read_run
from search.record.trial_record import GO, STOP, WAIT
from search.policy.promotion import Promotion
from tests.made_runs import asked, made_run
from tests.simulated_tune import FAILS, RETRIED, ends, play, score_of
from trainable.config.trial_config import TrialConfig

RUNGS = (2, 6)
EVALUATIONS = 8


def recipe(number, initialisation="random"):
    return TrialConfig(
        initialisation=initialisation,
        alpha=0.5,
        evaluations=EVALUATIONS,
        learning_rate=1e-5 * (number + 1),
    )


@pytest.fixture
def sweep(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # hundreds of events are recorded

    def make(count, **request):
        kinds = ("random", "teacher_spread")
        configs = [recipe(number, kinds[number % 2]) for number in range(count)]
        request = asked(keep=1, scheduler="promotion", **request)
        return made_run(tmp_path / f"run{count}", configs, request, grace_evaluations=2)

    return make


def halved(configs):
    """At how many evaluations each ends where half go on at each rung; 0 at the end."""
    found, left = {}, list(configs)
    for rung in (2, 4):
        best = sorted(left, key=lambda config: -score_of(config.digest, rung))
        best = best[: max(1, len(left) // 2)]
        found |= {config.digest: rung for config in left if config not in best}
        left = best
    return found | {config.digest: 0 for config in left}


def arrivals(rule, scores, rung=2):
    """What each arrival decides: by the scores of recipes, GO or STOP."""
    names = {recipe(number).recipe.digest: score for number, score in enumerate(scores)}
    found = []
    for number, score in enumerate(scores):
        decisions = rule.arrive(recipe(number), rung, score)
        assert {place[1] for place in decisions} <= {rung}
        found.append({names[name]: decision for (name, _), decision in decisions.items()})
    return found


def test_the_best_wait_for_the_last_and_the_hopeless_for_nobody():
    rule = Promotion(lambda config: "", RUNGS, 3, lambda stratum: 6)
    assert arrivals(rule, [0.5, 0.7, 0.6, 0.4, 0.8, 0.1]) == [
        {},
        {},
        {0.5: STOP},  # two of six go on, and two are better
        {0.4: STOP},
        {0.6: STOP},
        {0.1: STOP, 0.8: GO, 0.7: GO},
    ]
    assert arrivals(rule, [0.9, 0.8], rung=6) == [{}, {0.8: STOP, 0.9: GO}]  # one of these two
    assert rule.close() == {}


def test_of_equals_the_first_goes_on():
    rule = Promotion(lambda config: "", RUNGS, 2, lambda stratum: 3)
    assert arrivals(rule, [0.5, 0.4, 0.3])[-1] == {0.5: GO, 0.3: STOP}
    tied = Promotion(lambda config: "", RUNGS, 2, lambda stratum: 2)
    names = [recipe(number).recipe.digest for number in (0, 1)]
    tied.arrive(recipe(0), 2, 0.5)
    assert tied.arrive(recipe(1), 2, 0.5) == {(names[0], 2): GO, (names[1], 2): STOP}


def test_where_it_is_not_known_how_many_come_one_in_three_so_far_goes_on():
    rule = Promotion(lambda config: "", RUNGS, 3, lambda stratum: inf)
    assert arrivals(rule, [0.5, 0.7, 0.6, 0.4, 0.3, 0.2, 0.65]) == [
        *({}, {}, {0.7: GO}),
        *({}, {}, {0.6: GO}, {0.65: GO}),  # of six two, and it is one of these two of seven
    ]
    waiting = {recipe(number).recipe.digest for number in (0, 3, 4, 5)}
    closed = rule.close()  # seven came: two go on, and they do
    assert {place[0] for place in closed} == waiting
    assert set(closed.values()) == {STOP}


@pytest.mark.parametrize(("count", "places"), [(18, 1), (18, 4), (7, 2), (3, 1), (1, 1)])
def test_the_same_go_on_whatever_the_order(sweep, count, places):
    run = play(sweep(count, compare_within="all"), places, random.Random(count))
    wanted = halved([trial.config for trial in run.trials.values()])
    found = dict(zip(run.trials, ends(run.trials.values()), strict=True))
    assert found == wanted
    assert min(wanted.values()) == 0  # one at least comes to its end


def test_strata_are_halved_apart(sweep):
    run = play(sweep(18), 2, random.Random(0))
    configs = [trial.config for trial in run.trials.values()]
    wanted = halved([c for c in configs if c.initialisation == "random"])
    wanted |= halved([c for c in configs if c.initialisation != "random"])
    assert dict(zip(run.trials, ends(run.trials.values()), strict=True)) == wanted


@pytest.mark.parametrize("chance", range(6))
def test_the_same_go_on_however_often_it_is_killed(sweep, chance):
    run = sweep(18, compare_within="all")
    wanted = halved([trial.config for trial in run.trials.values()])
    run = play(run, 1 + chance % 3, random.Random(chance), {RETRIED: 0.03}, killed=0.02)
    assert dict(zip(run.trials, ends(run.trials.values()), strict=True)) == wanted
    sessions = sum(event["event"] == "start" for event in read_run(run.folder).events)
    assert sessions > 18


@pytest.mark.parametrize("chance", range(4))
def test_no_sweep_hangs_on_those_that_fail(sweep, chance):
    run = play(sweep(12), 2, random.Random(chance), {FAILS: 0.05}, killed=0.02)
    outcomes = [trial.outcome for trial in run.trials.values()]
    assert "failed" in outcomes
    assert "finished" in outcomes


def test_recipes_on_several_seeds_are_promoted_by_their_mean(sweep, tmp_path):
    configs = [recipe(number) for number in range(6)]
    seeded = [TrialConfig(**{**vars(c), "seed": s}) for c in configs for s in (0, 1)]
    request = asked(keep=1, scheduler="promotion", compare_within="all", seeds=2)
    run = made_run(tmp_path / "seeds", seeded, request, grace_evaluations=2)
    run = play(run, 2, random.Random(0), killed=0.02)

    def mean(config):
        seeds = [c for c in seeded if c.learning_rate == config.learning_rate]
        return sum(score_of(c.digest, 2) for c in seeds) / 2

    best = sorted(configs, key=mean)[-3:]
    for trial in run.trials.values():
        went_on = len(trial.evaluations) > 2
        assert went_on == any(trial.config.learning_rate == c.learning_rate for c in best)


def test_what_is_added_later_competes_with_what_is_there(sweep):
    run = play(sweep(9, compare_within="all"), 2, random.Random(1))
    before = {digest: len(trial.evaluations) for digest, trial in run.trials.items()}
    run.replan({}, [recipe(number) for number in range(20, 29)])
    run = play(read_run(run.folder), 2, random.Random(1), killed=0.02)
    after = {digest: len(trial.evaluations) for digest, trial in run.trials.items()}
    assert {digest: after[digest] for digest in before} == before
    new = [count for digest, count in after.items() if digest not in before]
    assert new.count(2) >= 3
    assert max(new) > 2
    assert WAIT in [event.get("decision") for event in run.events]
