"""The time that a sweep takes, against hand-worked cases and simulated sweeps with ASHA's rule."""

import time
from statistics import median

import numpy as np
import pytest

from search.forecast import Job, Ladder, expected_seconds, ladder_of, seconds_left
from search.record import FINISHED, RUNNING, Run, TrialRecord
from tests.simulated_sweeps import Scenario, Simulation, make_configs
from trainable.config import TrialConfig

ALONE = Ladder(evaluations=10)


def whole(each=2.0, done=0, stratum="all"):
    return Job(stratum, each, each, done)


def test_without_rungs_trials_fill_the_places_one_after_the_other():
    assert expected_seconds([], [whole()] * 4, 2, ALONE) == pytest.approx(2 * 20.0)
    assert expected_seconds([], [whole()] * 3, 2, ALONE) == pytest.approx(2 * 20.0)


def test_trial_under_way_has_only_its_rest_to_run():
    half = Job("all", first=0.5, each=2.0, done=7)
    assert expected_seconds([half], [], 4, ALONE) == pytest.approx(0.5 + 2 * 2.0)


def test_next_trial_takes_the_place_that_is_free_first():
    soon, late = Job("all", 1.0, 1.0, done=9), Job("all", 30.0, 1.0, done=9)
    assert expected_seconds([soon, late], [whole(1.0)], 2, ALONE) == pytest.approx(30.0)
    assert expected_seconds([soon, late], [whole(1.0)] * 3, 2, ALONE) == pytest.approx(31.0)


def test_nothing_to_run_takes_no_time():
    assert expected_seconds([], [], 2, ALONE) == 0.0


def test_first_at_a_rung_goes_on_and_half_of_the_others_do():
    ladder = Ladder(evaluations=10, rungs=(2,))
    assert expected_seconds([], [whole(1.0)], 1, ladder) == pytest.approx(10.0)
    # with one there before: half of them 2 evaluations, half of them 10
    many = [whole(1.0)] * 200
    crowded = Ladder(evaluations=10, rungs=(2,), arrivals={("all", 2): 1})
    assert expected_seconds([], many, 1, crowded) == pytest.approx(200 * 6.0, rel=0.01)


def test_strata_have_a_first_each():
    ladder = Ladder(evaluations=10, rungs=(2,))
    each_alone = [whole(1.0, stratum=str(number)) for number in range(5)]
    assert expected_seconds([], each_alone, 1, ladder) == pytest.approx(50.0)


def test_where_all_scores_are_alike_nothing_is_stopped():
    ladder = Ladder(evaluations=10, rungs=(2, 4), ties={"all": 1.0})
    assert expected_seconds([], [whole(1.0)] * 7, 1, ladder) == pytest.approx(70.0)


def test_rungs_that_a_trial_has_passed_are_not_decided_again():
    ladder = Ladder(evaluations=10, rungs=(2, 4), arrivals={("all", 2): 9, ("all", 4): 9})
    assert expected_seconds([whole(1.0, done=5)], [], 1, ladder) == pytest.approx(5.0)


@pytest.mark.parametrize(("trials", "places"), [(12, 2), (18, 4), (40, 2), (120, 4)])
@pytest.mark.parametrize(("evaluations", "grace"), [(15, 3), (8, 2)])
def test_whole_sweep_takes_as_long_as_simulated_ones_do_on_the_mean(
    trials, places, evaluations, grace
):
    """The chances at the rungs stand for ASHA's own rule on scores in any order."""
    scenario = Scenario(trials, places, evaluations=evaluations, grace=grace, between=0.0)
    ends = [Simulation(scenario, seed).end - 20.0 for seed in range(30)]
    rungs = ladder_of(_planned(scenario)).rungs
    jobs = [whole(10.0, stratum=str(number % 2)) for number in range(trials)]
    told = expected_seconds([], jobs, places, Ladder(evaluations, rungs))
    assert told == pytest.approx(np.mean(ends), rel=0.12)


def _planned(scenario):
    sweep = {"scheduler": "asha", "grace_evaluations": scenario.grace, "compare_within": []}
    configs = make_configs(scenario, seed=0)
    return Run(None, sweep, {config.digest: TrialRecord(config) for config in configs})


SIZES = [(12, 2), (12, 4), (18, 2), (18, 4), (40, 2), (40, 4), (120, 2)]


def errors_after_a_fifth(seeds, **changes):
    """Of the time left, as shares of what was really left."""
    found = []
    for trials, places in SIZES:
        for seed in range(seeds):
            simulation = Simulation(Scenario(trials, places, **changes), seed)
            run = simulation.run_until(simulation.end / 5)
            left = simulation.end - run.timeline.now
            found.append(abs(seconds_left(run, places) / left - 1))
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
    errors = errors_after_a_fifth(seeds=12, **changes)
    assert np.mean(errors <= 0.25) >= share
    assert median(errors) <= typical


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
