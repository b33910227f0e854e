"""Time spent, saved and lost, against sums by hand."""

import pytest

from search.record import create_run, read_events
from search.report_cost import cost
from tests.report_runs import answers, config, evaluation, report_evaluations, sweep

WHOLE, STOPPED, BROKEN = config(), config(alpha=0.25), config(alpha=0.75)


@pytest.fixture
def clock(monkeypatch):
    """Events a second apart, unless a test moves on."""
    now = {"time": 1000.0}

    def tick():
        now["time"] += 1.0
        return now["time"]

    monkeypatch.setattr("search.record.time.time", tick)
    return now


@pytest.fixture
def run(tmp_path, clock):
    made = create_run(tmp_path / "run", sweep(), [WHOLE, STOPPED, BROKEN])  # 1001
    made.append({"event": "session", "provenance": {}})  # 1002
    report_evaluations(made, WHOLE, (0.8, 0.8, 0.8, 0.8))  # to 1007
    report_evaluations(made, STOPPED, (0.7,), stop=True)  # to 1009
    return made


def found(run):
    return cost(run, read_events(run.folder))


def test_time_in_trials_and_what_asha_saved(run):
    costs = found(run)
    assert (costs.evaluations, costs.trial_seconds) == (5, 5 * 3.0)
    assert costs.saving_seconds == 5 * 0.5
    assert (costs.asha_evaluations, costs.asha_seconds) == (3, 3 * 3.0)
    assert costs.asha_share == pytest.approx(9 / 24)
    assert (costs.repeated_evaluations, costs.failures) == (0, 0)
    assert (costs.repeated_seconds, costs.failure_seconds) == (0.0, 0.0)
    assert costs.teacher_seconds == 40.0


def test_wall_time_is_of_sessions_without_the_pauses(run, clock):
    assert (found(run).sessions, found(run).wall_seconds) == (1, 7.0)  # 1002 to 1009
    clock["time"] = 9000.0
    run.append({"event": "session", "provenance": {}})  # 9001
    run.append({"event": "start", "trial": BROKEN.digest})  # 9002
    assert (found(run).sessions, found(run).wall_seconds) == (2, 8.0)


def test_evaluations_made_again_count_at_their_trials_mean(run):
    run.append({"event": "repeated", "evaluations": 1, "trial": STOPPED.digest})
    again = {"event": "evaluation", "decision": "stop", "trial": STOPPED.digest}
    run.append({**again, "evaluation": evaluation(1, answers(0.6), seconds=7.0)})
    costs = found(run)
    assert (costs.repeated_evaluations, costs.repeated_seconds) == (2, 2 * 7.0)
    assert costs.evaluations == 5  # only the last of a number counts


def test_failure_takes_the_time_since_the_trial_was_heard_of(run, clock):
    run.append({"event": "start", "trial": BROKEN.digest})
    clock["time"] += 20.0
    reason = {"reason": "killed", "trial": BROKEN.digest}
    run.append({"event": "failure", "then": "retry", **reason})
    run.append({"event": "start", "trial": BROKEN.digest})
    clock["time"] += 4.0
    run.append({"event": "failure", "then": "give up", **reason})
    costs = found(run)
    assert (costs.failures, costs.failure_seconds) == (2, pytest.approx(21.0 + 5.0))


def test_teacher_that_was_ready_cost_nothing_here(run):
    run.sweep["task"]["teacher"]["fine_tuned_here"] = False
    assert found(run).teacher_seconds is None


def test_run_without_evaluations_costs_nothing(tmp_path):
    made = create_run(tmp_path / "empty", sweep(), [WHOLE])
    costs = found(made)
    assert (costs.trial_seconds, costs.asha_share, costs.sessions) == (0.0, 0.0, 0)
