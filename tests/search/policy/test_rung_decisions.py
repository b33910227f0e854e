"""Seeds that are decided on together: by hand, and against the rule itself in sweeps of chance."""

import random
import statistics
from dataclasses import replace
from statistics import median

import pytest

from search.plan.rungs import rung_score
from search.policy.policy import Policy
from search.policy.rung_decisions import SeedGroups
from search.record.run import read_run
from search.record.trial_record import FAILED, GO, STOP, WAIT, by_recipe
from tests.made_runs import asked as request_of
from tests.made_runs import evaluated, made_inputs, made_run, of_two_strata, recipe, started
from tests.simulated_tune import CRASH, NODE, ends, play
from trainable.config.trial_config import TrialConfig
from trainable.trial.messages import DIVERGED, OUT_OF_MEMORY

RUNGS = (2, 4)
EVALUATIONS = 8


def on_seeds(config, count):
    return [replace(config, seed=seed) for seed in range(count)]


def names(config, count):
    return [seeded.digest for seeded in on_seeds(config, count)]


# By hand.


@pytest.fixture
def asked():
    """The means that were asked about."""
    return []


@pytest.fixture
def groups(asked):
    """Of three seeds of one recipe, which go on from a mean of 0.5."""

    def decide(config, rung, mean):
        asked.append(mean)
        return {(config.recipe.digest, rung): GO if mean >= 0.5 else STOP}

    found = SeedGroups(RUNGS, decide)
    for config in on_seeds(recipe(0), 3):
        found.add(config)
    return found


@pytest.mark.parametrize("share", [number / 872 for number in range(1, 872, 50)])
def test_seeds_that_score_alike_have_that_score_to_the_last_digit(groups, asked, share):
    """Students that all give one label are a tie, which goes on, on however many seeds."""
    for name in names(recipe(0), 3):
        groups.evaluated(name, 2, share)
    assert asked == [share]


def test_seeds_that_all_are_to_run_alone_wait_for_one_another(groups):
    for name in names(recipe(0), 3):
        groups.failed(name, alone=True)
    decisions = [groups.evaluated(name, 2, 0.5) for name in names(recipe(0), 3)]
    assert decisions == [WAIT, WAIT, GO]


def test_seeds_added_while_others_wait_are_waited_for(groups):
    one, two, three, late = names(recipe(0), 4)
    groups.evaluated(one, 2, 0.1)
    groups.add(on_seeds(recipe(0), 4)[3])
    assert [groups.evaluated(name, 2, 0.7) for name in (two, three, late)] == [WAIT, WAIT, GO]


def test_a_score_told_again_counts_as_it_was_first_told(groups, asked):
    one, two, three = names(recipe(0), 3)
    for name, score in ((one, 0.6), (one, 0.0), (two, 0.6), (three, 0.6), (one, 0.0)):
        groups.evaluated(name, 2, score)
    assert asked == [pytest.approx(0.6)]


ONE, _, THREE = on_seeds(recipe(0), 3)


@pytest.mark.parametrize(
    ("event", "decision"),
    [
        (evaluated(THREE, 2, decision=GO), GO),
        (evaluated(THREE, 2, decision=STOP), STOP),
        (started(ONE), GO),
        ({"event": "stop", "trial": ONE.digest}, STOP),
    ],
)
def test_what_was_decided_holds_though_the_evaluation_that_it_came_of_is_lost(
    tmp_path, event, decision
):
    run = made_run(tmp_path / "run", on_seeds(recipe(0), 3))
    for one in (evaluated(ONE, 1), evaluated(ONE, 2, decision=WAIT), evaluated(THREE, 1)):
        run.append(one)
    assert Policy(run).decision(ONE.digest) == WAIT
    run.append(event)
    assert Policy(run).decision(ONE.digest) == decision


# In sweeps of chance.


@pytest.fixture
def sweep(tmp_path):
    """Seven recipes of two strata on so many seeds, some of which may share a GPU."""

    def make(seeds):
        configs = [config for one in of_two_strata(7) for config in on_seeds(one, seeds)]
        request, inputs = request_of(keep=1, trials_per_gpu=4), made_inputs(device="cuda")
        return made_run(tmp_path / "run", configs, request, inputs=inputs)

    return make


def decided_by_the_rule(run):
    """What ASHA's rule makes of the record: by recipe and rung, whether it is stopped there.

    A recipe is compared once none of the seeds planned then is to come that has not failed, with
    those of its stratum that were compared before; below the median of their means it is stopped.
    """
    stopped, compared, failed, planned = {}, {}, set(), set()
    arrived = {name: {rung: {} for rung in RUNGS} for name in by_recipe(run.trials.values())}
    for event in run.events:
        if event["event"] == "plan":
            planned = {TrialConfig.from_dict(values).digest for values in event["plan"]["trials"]}
        if "trial" not in event:
            continue
        config = run.trials[event["trial"]].config
        group = config.recipe.digest
        if event["event"] == "failure" and event["then"] == "give up":
            failed.add(config.digest)
        elif event["event"] == "evaluation" and event["evaluation"]["evaluations"] in RUNGS:
            scores = arrived[group][event["evaluation"]["evaluations"]]
            scores.setdefault(config.digest, rung_score(event["evaluation"]))
        for rung in RUNGS:
            here = arrived[group][rung]
            seeds = planned & {t.config.digest for t in by_recipe(run.trials.values())[group]}
            if (group, rung) in stopped or not set(here) - failed or seeds - set(here) - failed:
                continue
            others = compared.setdefault((config.initialisation, rung), [])
            mean = statistics.mean(here.values())
            stopped[group, rung] = bool(others) and mean < median(others)
            others.append(mean)
    return stopped


def check_against_the_rule(run):
    """Every trial ended as the rule has it for its recipe; returns how many recipes it stopped."""
    stopped, count = decided_by_the_rule(run), 0
    for name, trials in by_recipe(run.trials.values()).items():
        wanted = [rung for rung in RUNGS if stopped.get((name, rung))]
        count += bool(wanted)
        assert set(ends(trials)) <= {wanted[0] if wanted else 0}
        assert len(wanted) < 2
    return count


@pytest.mark.parametrize(("seeds", "slots"), [(1, 2), (2, 4), (4, 1), (4, 4)])
def test_decisions_are_the_rules_on_means(sweep, seeds, slots):
    run = play(sweep(seeds), slots, random.Random(seeds + slots))
    assert check_against_the_rule(run) >= 2
    assert all(trial.outcome != FAILED for trial in run.trials.values())
    waited = sum(event.get("decision") == WAIT for event in run.events)
    ended = sum(event["event"] == "stop" for event in run.events)
    assert (waited > ended > 0) if seeds > 1 else (waited, ended) == (0, 0)


@pytest.mark.parametrize("chance", range(3))
def test_decisions_are_the_rules_whatever_fails_and_however_often_it_is_killed(sweep, chance):
    disasters = {CRASH: 0.03, NODE: 0.03, DIVERGED: 0.03}
    run = play(sweep(3), 1 + chance, random.Random(chance), disasters, killed=0.01)
    check_against_the_rule(run)
    assert sum(trial.outcome == FAILED for trial in run.trials.values()) >= 1


@pytest.mark.parametrize("chance", range(3))
def test_no_sweep_hangs_where_trials_are_to_run_alone(sweep, chance):
    """And the seeds that ran beside others end alike; those alone follow them."""
    disasters = {CRASH: 0.02, DIVERGED: 0.01, OUT_OF_MEMORY: 0.03}
    run = play(sweep(3), 1 + chance, random.Random(chance), disasters, killed=0.01)
    assert any(trial.alone for trial in run.trials.values())
    for trials in by_recipe(run.trials.values()).values():
        together = ends([trial for trial in trials if not trial.alone])
        assert len(set(together)) <= 1
        if together:
            assert set(ends(trials)) <= set(together)


@pytest.mark.parametrize("chance", range(2))
def test_seeds_added_to_a_run_follow_the_decisions_it_has(sweep, chance):
    run = play(sweep(2), 2, random.Random(chance), {DIVERGED: 0.02})
    before = decided_by_the_rule(run)
    more = [replace(t.config, seed=2) for t in run.trials.values() if t.config.seed == 0]
    run.replan({}, more)
    run = play(read_run(run.folder), 2, random.Random(chance), {CRASH: 0.03}, killed=0.02)
    assert {len(trials) for trials in by_recipe(run.trials.values()).values()} == {3}
    after = decided_by_the_rule(run)
    assert {key: after[key] for key in before} == before
    assert check_against_the_rule(run) >= 1
