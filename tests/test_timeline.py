"""What passes beside the clocks, worked out by hand."""

import pytest
from search.timeline import Timeline, clock_seconds


def evaluated(trial, moment, seconds=3.0):
    clocks = {"training_seconds": seconds - 1.0, "evaluation_seconds": 1.0}
    return {"event": "evaluation", "trial": trial, "time": moment, "evaluation": clocks}


def started(trial, moment):
    return {"event": "start", "trial": trial, "time": moment}


def test_clocks_that_are_not_there_count_nothing():
    clocks = {"training_seconds": 2.0, "evaluation_seconds": 0.5, "saving_seconds": 0.25}
    assert clock_seconds(clocks) == 2.75
    assert clock_seconds({"training_seconds": 2.0, "loss": 9.0}) == 2.0


def test_waits_of_trials_one_after_the_other():
    timeline = Timeline()
    timeline.take({"event": "session", "time": 100.0})
    timeline.take(started("a", 110.0))
    timeline.take(evaluated("a", 125.0))  # the first on a new place: nothing to learn from
    timeline.take(evaluated("a", 128.5))
    timeline.take(evaluated("a", 132.0), left_its_place=True)
    timeline.take(started("b", 133.0))
    timeline.take(evaluated("b", 138.0))
    assert timeline.wait_evaluation == pytest.approx(0.5)
    assert timeline.wait_place == pytest.approx(1.0)
    assert timeline.wait_first == pytest.approx(2.0)
    assert timeline.since == {"b": 138.0}
    assert timeline.now == 138.0


def test_one_long_sleep_of_the_machine_does_not_count():
    timeline = Timeline()
    timeline.take(started("a", 0.0))
    for number in range(1, 8):
        timeline.take(evaluated("a", number * 3.2 + (8000.0 if number > 4 else 0.0)))
    assert timeline.wait_evaluation == pytest.approx(0.2)


def test_new_session_forgets_who_was_under_way_and_keeps_what_was_learnt():
    timeline = Timeline()
    timeline.take(started("a", 0.0))
    timeline.take(evaluated("a", 4.0))
    timeline.take(evaluated("a", 8.0))
    timeline.take({"event": "session", "time": 9000.0})
    assert timeline.since == {}
    assert timeline.wait_evaluation == pytest.approx(1.0)
    timeline.take(started("a", 9010.0))
    timeline.take(evaluated("a", 9030.0))
    assert timeline.wait_evaluation == pytest.approx(1.0)


def test_failure_frees_the_place():
    timeline = Timeline()
    timeline.take(started("a", 0.0))
    timeline.take({"event": "failure", "trial": "a", "time": 5.0})
    assert timeline.since == {}
    timeline.take(started("b", 7.0))
    assert timeline.wait_place == pytest.approx(2.0)


def test_clocks_ahead_of_the_events_are_no_wait():
    timeline = Timeline()
    timeline.take(started("a", 0.0))
    timeline.take(evaluated("a", 4.0))
    timeline.take(evaluated("a", 6.0))
    assert timeline.wait_evaluation == 0.0
