"""The time that a sweep takes, against hand-worked cases and simulated sweeps with ASHA's rule."""

import time
from dataclasses import replace
from statistics import median

import numpy as np
import pytest
from search.forecast import TIES_WEIGHT, Job, JobUnit, Ladder, expected_seconds, seconds_left

from search.record import FAILED, FINISHED, PENDING, RUNNING, STOPPED, WAITING, Run, TrialRecord
from search.strata import EVERYTHING, rungs
from search.units import units_of
from tests.simulated_sweeps import Scenario, Simulation, cost_of, make_configs
from trainable.config import TrialConfig

ALONE = Ladder(evaluations=10)


def whole(each=2.0, done=0, stratum="all"):
    return Job(JobUnit(stratum, decided=done), each, each, done)


def on_seeds(count, stratum="all", again=0.0):
    """The trials of one recipe, of a second an evaluation."""
    return [Job(JobUnit(stratum, count), 1.0, 1.0, again=again)] * count


def test_without_rungs_trials_fill_the_places_one_after_the_other():
    assert expected_seconds([], [whole()] * 4, 2, ALONE) == pytest.approx(2 * 20.0)
    assert expected_seconds([], [whole()] * 3, 2, ALONE) == pytest.approx(2 * 20.0)


def test_trial_under_way_has_only_its_rest_to_run():
    half = Job(JobUnit("all"), first=0.5, each=2.0, done=7)
    assert expected_seconds([half], [], 4, ALONE) == pytest.approx(0.5 + 2 * 2.0)


def test_next_trial_takes_the_place_that_is_free_first():
    soon, late = (Job(JobUnit("all"), first, 1.0, done=9) for first in (1.0, 30.0))
    assert expected_seconds([soon, late], [whole(1.0)], 2, ALONE) == pytest.approx(30.0)
    assert expected_seconds([soon, late], [whole(1.0)] * 3, 2, ALONE) == pytest.approx(31.0)


def test_nothing_to_run_takes_no_time():
    assert expected_seconds([], [], 2, ALONE) == 0.0


def test_first_at_a_rung_goes_on_and_half_of_the_others_do():
    ladder = Ladder(evaluations=10, rungs=(2,))
    assert expected_seconds([], [whole(1.0)], 1, ladder) == pytest.approx(10.0)
    # with one there before: half of them 2 evaluations, half of them 10
    many = [whole(1.0) for _ in range(200)]
    crowded = Ladder(evaluations=10, rungs=(2,), arrivals={("all", 2): 1})
    assert expected_seconds([], many, 1, crowded) == pytest.approx(200 * 6.0, rel=0.01)


def test_strata_have_a_first_each():
    ladder = Ladder(evaluations=10, rungs=(2,))
    each_alone = [whole(1.0, stratum=str(number)) for number in range(5)]
    assert expected_seconds([], each_alone, 1, ladder) == pytest.approx(50.0)


def test_where_all_scores_are_alike_nothing_is_stopped():
    ladder = Ladder(evaluations=10, rungs=(2, 4), ties={"all": 1.0})
    alike = [whole(1.0) for _ in range(7)]
    assert expected_seconds([], alike, 1, ladder) == pytest.approx(70.0)


def test_rungs_that_a_trial_has_passed_are_not_decided_again():
    ladder = Ladder(evaluations=10, rungs=(2, 4), arrivals={("all", 2): 9, ("all", 4): 9})
    assert expected_seconds([whole(1.0, done=5)], [], 1, ladder) == pytest.approx(5.0)


def test_seeds_are_stopped_together_or_all_go_on():
    crowded = Ladder(evaluations=10, rungs=(2,), arrivals={("all", 2): 1})
    # side by side they take 2 or 10; were each decided on its own, nearly always 10
    assert expected_seconds([], on_seeds(8), 8, crowded) == pytest.approx(6.0, rel=0.1)


def test_first_recipe_at_a_rung_goes_on_with_all_its_seeds_and_counts_once():
    ladder = Ladder(evaluations=10, rungs=(2,))
    assert expected_seconds([], on_seeds(5), 1, ladder) == pytest.approx(50.0)
    two = on_seeds(5) + on_seeds(5)
    assert expected_seconds([], two, 1, ladder) == pytest.approx(50.0 + 5 * 6.0, rel=0.1)


def test_seed_that_waits_at_a_rung_is_still_to_be_decided_on():
    crowded = Ladder(evaluations=10, rungs=(2,), arrivals={("all", 2): 1})
    waits = Job(JobUnit("all", seeds=2, decided=1), 1.0, 1.0, done=2)
    assert expected_seconds([], [waits], 1, crowded) == pytest.approx(0.5 * 8.0, rel=0.2)


def test_seeds_added_later_follow_what_was_decided():
    late = Job(JobUnit("all", seeds=2, decided=4, stopped=True), 1.0, 1.0)
    ladder = Ladder(evaluations=10, rungs=(2, 4))
    assert expected_seconds([], [late], 1, ladder) == pytest.approx(4.0)
    assert expected_seconds([], [late], 1, ALONE) == pytest.approx(10.0)  # with no rungs any more


def test_all_seeds_but_the_last_at_a_rung_start_again():
    ladder = Ladder(evaluations=10, rungs=(2, 4))
    jobs = on_seeds(4, again=3.0)
    assert expected_seconds([], jobs, 1, ladder) == pytest.approx(4 * 10.0 + 3 * 2 * 3.0)
    assert expected_seconds([], jobs, 1, ALONE) == pytest.approx(4 * 10.0)
    passed = Job(JobUnit("all", seeds=2, decided=2), 1.0, 1.0, done=1, again=3.0)  # the first one
    assert expected_seconds([], [passed], 1, ladder) == pytest.approx(9.0 + 3.0 / 2)


def test_simulated_seeds_wait_for_one_another_and_end_together():
    """Of the sweeps that forecasts are measured by."""
    simulation = Simulation(Scenario(12, 4, seeds=3), seed=0)
    run = simulation.run_until(simulation.end)
    ends = [{len(t.evaluations) for t in seeds} for seeds in units_of(run.trials.values()).values()]
    assert [len(together) for together in ends] == [1] * 12
    assert {3, 15} <= set.union(*ends) <= {3, 6, 12, 15}
    rulings = [event["decision"] for event in simulation.events if "decision" in event]
    waits = [sum(rung <= min(end, 12) for rung in (3, 6, 12)) for (end,) in ends]
    assert rulings.count("wait") == 2 * sum(waits)  # all but the last at each rung
    under_way = [
        len(simulation.run_until(event["time"]).timeline.since) for event in simulation.events
    ]
    assert max(under_way) == 4


def jobs_of(scenario):
    """All trials of a simulated sweep, none of them begun."""
    found = []
    for config in make_configs(replace(scenario, seeds=1), seed=0):
        unit, each = JobUnit(config.initialisation, scenario.seeds), 10.0 * cost_of(config)
        job = Job(unit, each + scenario.setup, each, again=scenario.setup)
        found += [job] * scenario.seeds
    return found


@pytest.mark.parametrize(
    "scenario",
    [
        *(Scenario(*sizes, seeds=1) for sizes in [(12, 2), (18, 4), (40, 2), (120, 4)]),
        *(Scenario(5, *sizes, strata=5) for sizes in [(2, 3), (4, 5)]),  # as many as recipes
        *(Scenario(*sizes) for sizes in [(12, 2, 2), (12, 4, 3), (18, 4, 5)]),
    ],
    ids=lambda s: f"{s.recipes} recipes, {s.places} places, {s.seeds} seeds, {s.strata} strata",
)
@pytest.mark.parametrize(("evaluations", "grace"), [(15, 3), (8, 2)])
def test_whole_sweep_takes_as_long_as_simulated_ones_do_on_the_mean(scenario, evaluations, grace):
    """The chances at the rungs stand for ASHA's own rule on scores in any order."""
    scenario = replace(scenario, evaluations=evaluations, grace=grace, between=0.0)
    ends = [Simulation(scenario, seed).end - 18.0 for seed in range(30)]
    ladder = Ladder(evaluations, tuple(rungs(evaluations, grace)))
    told = expected_seconds([], jobs_of(scenario), scenario.places, ladder)
    assert told == pytest.approx(np.mean(ends), rel=0.06)


SIZES = [(12, 2), (12, 4), (18, 2), (18, 4), (40, 2), (40, 4), (120, 2)]
WITH_SEEDS = [(6, 2), (6, 4), (12, 2), (12, 4), (18, 4)]
OF_BASELINES = {"strata": 5, "evaluations": 8, "grace": 2}  # nothing is stopped


def errors_after_a_fifth(sizes, times, **changes):
    """Of the time left, as shares of what was really left."""
    found = []
    for recipes, places in sizes:
        for seed in range(times):
            simulation = Simulation(Scenario(recipes, places, **changes), seed)
            run = simulation.run_until(simulation.end / 5)
            left = simulation.end - run.timeline.now
            found.append(seconds_left(run, places) / left - 1)
    return np.array(found)


@pytest.mark.parametrize(
    ("changes", "share", "typical"),
    [
        ({"scheduler": "fifo"}, 0.98, 0.04),
        ({"tied": True}, 0.90, 0.09),
        # What is left depends on decisions to come: one who knew all qualities has 0.93 of them.
        ({}, 0.75, 0.13),
    ],
)
def test_time_left_is_within_a_quarter_after_a_fifth_of_a_sweep(changes, share, typical):
    errors = errors_after_a_fifth(SIZES, 12, **changes)
    assert np.mean(abs(errors) <= 0.25) >= share
    assert median(abs(errors)) <= typical


@pytest.mark.parametrize("seeds", [1, 2, 3, 5])
def test_time_left_is_as_good_where_recipes_have_several_seeds(seeds):
    errors = errors_after_a_fifth(WITH_SEEDS, 16, seeds=seeds)
    assert np.mean(abs(errors) <= 0.25) >= 0.73
    assert median(abs(errors)) <= 0.165
    assert abs(np.mean(errors)) <= 0.065


@pytest.mark.parametrize("seeds", [1, 2, 3, 5])
def test_time_left_is_certain_where_no_recipe_has_a_rival(seeds):
    errors = errors_after_a_fifth([(5, 2), (5, 4)], 8, seeds=seeds, **OF_BASELINES)
    assert max(abs(errors)) <= 0.25
    assert median(abs(errors)) <= 0.1


def asha_run(*recipes):
    """From (outcome, evaluations, score) of each seed: of 10 evaluations of a second each."""
    trials = {}
    for number, seeds in enumerate(recipes):
        for seed, (outcome, count, score) in enumerate(seeds):
            rate = 1e-5 * (1 + number)
            config = TrialConfig(alpha=0.5, learning_rate=rate, evaluations=10, seed=seed)
            scores = {"best5_accuracy": score, "accuracy": score}
            done = [{"training_seconds": 1.0, **scores}] * count
            trials[config.digest] = TrialRecord(config, outcome, evaluations=done)
    sweep = {"scheduler": "asha", "grace_evaluations": 2, "compare_within": []}
    run = Run(None, sweep, trials)
    running = [digest for digest, trial in trials.items() if trial.outcome == RUNNING]
    run.timeline.since = dict.fromkeys(running, run.timeline.now)
    return run


def ladder_after(count, ties):
    """Of `asha_run`, where so many recipes came to the end."""
    numbers = (2, 4, 8)
    arrivals = dict.fromkeys([(EVERYTHING, number) for number in numbers], count)
    return Ladder(10, numbers, arrivals, {EVERYTHING: ties})


def test_record_tells_which_seeds_wait_for_a_decision():
    finished = [(FINISHED, 10, 0.7)] * 2
    run = asha_run(finished, finished, [(RUNNING, 1, 0.8), (WAITING, 2, 0.9), (FAILED, 1, 0.1)])
    unit = JobUnit(EVERYTHING, seeds=3, decided=1)
    running, waiting = (Job(unit, 1.0, 1.0, done=done) for done in (1, 2))
    # two of two alike at three rungs and two still, the third recipe has come to none
    ladder = ladder_after(2, ties=5 / (5 + TIES_WEIGHT))
    told = expected_seconds([running], [waiting], 2, ladder)
    assert seconds_left(run, 2) == pytest.approx(told)
    assert 1.0 < told < 9.0


def test_record_tells_what_seeds_added_later_follow():
    run = asha_run([(STOPPED, 4, 0.5), (PENDING, 0, 0)], [(FINISHED, 10, 0.9), (PENDING, 0, 0)])
    assert seconds_left(run, 1) == pytest.approx(4.0 + 10.0)
    run.sweep["scheduler"] = "fifo"
    assert seconds_left(run, 1) == pytest.approx(20.0)


def test_recipes_score_alike_where_the_means_over_their_seeds_do():
    crossed = [[(FINISHED, 10, 0.6), (FINISHED, 10, 0.9)], [(FINISHED, 10, 0.7)] * 2]
    failed = (FAILED, 1, 0.1)  # its score counts for nothing
    alike = [[(FINISHED, 10, 0.6), (FINISHED, 10, 0.8), failed], [(FINISHED, 10, 0.7)] * 2]
    for recipes, ties in ((crossed, 2 / (5 + TIES_WEIGHT)), (alike, 5 / (5 + TIES_WEIGHT))):
        run = asha_run(*recipes, *[[(PENDING, 0, 0)] * 2] * 20)
        told = expected_seconds([], _pairs(20), 1, ladder_after(2, ties))
        assert seconds_left(run, 1) == pytest.approx(told)


def test_suggested_recipes_are_decided_on_each_by_itself():
    run = asha_run(*[[(FINISHED, 10, score)] * 2 for score in (0.6, 0.7)])
    told = expected_seconds([], _pairs(20), 1, ladder_after(2, ties=2 / (5 + TIES_WEIGHT)))
    assert seconds_left(run, 1, still_to_be_suggested=40) == pytest.approx(told)


def _pairs(count):
    return [job for _ in range(count) for job in on_seeds(2, EVERYTHING)]


def test_same_record_gives_the_same_time():
    simulation = Simulation(Scenario(18, 2), seed=3)
    first, second = (simulation.run_until(simulation.end / 3) for _ in range(2))
    assert seconds_left(first, 2) == seconds_left(second, 2)


def test_time_between_two_sessions_is_nobodys():
    simulation = Simulation(Scenario(18, 2, scheduler="fifo"), seed=0)
    run = simulation.run_until(simulation.end / 2)
    before = seconds_left(run, 2)
    run.take_in({"event": "session", "time": run.timeline.now + 50_000.0})
    under_way = [trial for trial in run.trials.values() if trial.outcome == RUNNING]
    assert len(under_way) == 2
    assert seconds_left(run, 2) == pytest.approx(before, rel=0.15)
    for trial in under_way:
        run.take_in({"event": "start", "trial": trial.config.digest, "time": run.timeline.now + 9})
    assert seconds_left(run, 2) == pytest.approx(before, rel=0.15)


def test_trials_to_be_suggested_take_their_time():
    simulation = Simulation(Scenario(12, 2, scheduler="fifo", noise=0.0), seed=0)
    run = simulation.run_until(simulation.end)
    assert seconds_left(run, 2) is None
    # 15 evaluations of 10 s each, at most 12 % more or less by kind, two at a time
    assert seconds_left(run, 2, still_to_be_suggested=8) == pytest.approx(4 * 153, rel=0.15)
    assert seconds_left(run, 2, still_to_be_suggested=float("inf")) is None


def make_run(*rows, scheduler="fifo"):
    """From (student layers, evaluations, seconds each) with 10 evaluations a whole trial."""
    records = {}
    for seed, (layers, count, seconds) in enumerate(rows):
        config = TrialConfig(alpha=1.0, learning_rate=1e-5, student_layers=layers, evaluations=10)
        config = TrialConfig(**{**config.to_dict(), "seed": seed})
        done = [{"training_seconds": seconds, "accuracy": 0.5 + n / 100} for n in range(count)]
        outcome = FINISHED if count == 10 else "pending"
        records[config.digest] = TrialRecord(config, outcome, evaluations=done)
    return Run(None, {"scheduler": scheduler}, records)


def test_kinds_of_trials_have_a_pace_of_their_own():
    run = make_run((6, 10, 6.0), (3, 10, 3.0), (6, 0, 0), (6, 0, 0))
    assert seconds_left(run, 1) == pytest.approx(2 * 60.0, rel=0.05)
    run = make_run((6, 10, 6.0), (3, 10, 3.0), (3, 0, 0), (3, 0, 0))
    assert seconds_left(run, 1) == pytest.approx(2 * 30.0, rel=0.1)


def test_kind_not_seen_yet_is_judged_by_its_layers():
    run = make_run((3, 10, 4.0), (7, 0, 0))
    assert seconds_left(run, 1) == pytest.approx(10 * 8.0)


def test_a_large_sweep_is_measured_in_no_time():
    simulation = Simulation(Scenario(200, 4), seed=0)
    run = simulation.run_until(simulation.end / 5)
    seconds_left(run, 4)
    times = []
    for _ in range(10):
        start = time.process_time()
        seconds_left(run, 4)
        times.append(time.process_time() - start)
    assert min(times) < 0.1
