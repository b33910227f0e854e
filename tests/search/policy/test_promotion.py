"""Halving that promotes, against halving written out by hand, whatever the order and the kills."""

import random
from math import inf

import pytest

from search.policy.promotion import Promotion
from search.record.run import read_run
from search.record.trial_record import GO, STOP, WAIT
from tests.made_runs import asked, made_run, of_two_strata, recipe
from tests.simulated_tune import CRASH, ends, play, score_of

RUNGS = (2, 6)


@pytest.fixture
def sweep(tmp_path):
    def make(configs, **request):
        request = asked(keep=1, scheduler="promotion", **request)
        return made_run(tmp_path / "run", configs, request, grace_evaluations=2)

    return make


def halved(configs):
    """At how many evaluations each ends where half go on at each rung; 0 at the end."""
    found, left = {}, list(configs)
    for rung in (2, 4):
        best = sorted(left, key=lambda config: -score_of(config, rung))
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
    rule = Promotion(lambda config: "", RUNGS, 3, lambda stratum: 6, {})
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


def test_of_equals_the_same_goes_on_whichever_comes_first():
    rule = Promotion(lambda config: "", RUNGS, 2, lambda stratum: 3, {})
    assert arrivals(rule, [0.5, 0.4, 0.3])[-1] == {0.5: GO, 0.3: STOP}
    first, last = sorted(recipe(number).recipe.digest for number in (0, 1))
    for order in ((0, 1), (1, 0)):
        tied = Promotion(lambda config: "", RUNGS, 2, lambda stratum: 2, {})
        found = [tied.arrive(recipe(number), 2, 0.5) for number in order]
        assert found == [{}, {(first, 2): GO, (last, 2): STOP}]


def test_where_it_is_not_known_how_many_come_one_in_three_so_far_goes_on():
    rule = Promotion(lambda config: "", RUNGS, 3, lambda stratum: inf, {})
    assert arrivals(rule, [0.5, 0.7, 0.6, 0.4, 0.3, 0.2, 0.65]) == [
        *({}, {}, {0.7: GO}),
        *({}, {}, {0.6: GO}, {0.65: GO}),  # of six two, and it is one of these two of seven
    ]
    waiting = {recipe(number).recipe.digest for number in (0, 3, 4, 5)}
    closed = rule.close()  # seven came: two go on, and they do
    assert {place[0] for place in closed} == waiting
    assert set(closed.values()) == {STOP}


@pytest.mark.parametrize(
    ("count", "slots", "killed"),
    [(18, 1, 0), (7, 2, 0), (3, 1, 0), (1, 1, 0), (18, 1, 0.03), (18, 3, 0.03)],
)
@pytest.mark.parametrize("within", ["all", "init"])
def test_the_same_go_on_whatever_the_order_and_however_often_it_is_killed(
    *, sweep, count, slots, killed, within
):
    configs, disasters = of_two_strata(count), {CRASH: 0.01} if killed else {}
    run = play(
        sweep(configs, compare_within=within), slots, random.Random(slots), disasters, killed
    )
    strata = [configs] if within == "all" else [configs[::2], configs[1::2]]
    wanted = {trial: end for stratum in strata for trial, end in halved(stratum).items()}
    assert dict(zip(run.trials, ends(run.trials.values()), strict=True)) == wanted
    assert (sum(event["event"] == "session" for event in run.events) > 1) == (killed > 0)


def test_recipes_on_several_seeds_are_promoted_by_their_mean(sweep):
    seeds = {number: [recipe(number, seed=seed) for seed in (0, 1)] for number in range(6)}
    run = sweep([config for both in seeds.values() for config in both], seeds=2)
    run = play(run, 2, random.Random(0), killed=0.02)
    best = sorted(seeds, key=lambda number: sum(score_of(c, 2) for c in seeds[number]))[-3:]
    for number, both in seeds.items():
        went_on = {len(run.trials[config.digest].evaluations) > 2 for config in both}
        assert went_on == {number in best}


def test_what_is_added_later_competes_with_what_is_there(sweep):
    run = play(sweep(of_two_strata(9), compare_within="all"), 2, random.Random(1))
    before = {digest: len(trial.evaluations) for digest, trial in run.trials.items()}
    run.replan({}, [recipe(number) for number in range(20, 29)])
    run = play(read_run(run.folder), 2, random.Random(1), killed=0.02)
    after = {digest: len(trial.evaluations) for digest, trial in run.trials.items()}
    assert {digest: after[digest] for digest in before} == before
    new = [count for digest, count in after.items() if digest not in before]
    assert new.count(2) >= 3
    assert max(new) > 2
    assert WAIT in [event.get("decision") for event in run.events]
