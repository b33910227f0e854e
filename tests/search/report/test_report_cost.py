"""Time spent, saved and lost, against sums by hand."""

import pytest

from search.record.run import create_run
from search.report.figure_data import costs
from tests.report_runs import answers, config, evaluation, plan, report_evaluations

WHOLE, STOPPED, BROKEN = config(), config(alpha=0.25), config(alpha=0.75)


@pytest.fixture
def clock(monkeypatch):
    """Events a second apart, unless a test moves on."""
    now = {"time": 1000.0}

    def tick():
        now["time"] += 1.0
        return now["time"]

    monkeypatch.setattr("search.record.run.time.time", tick)
    return now


@pytest.fixture
def run(tmp_path, clock):
    made = create_run(tmp_path / "run", plan(WHOLE, STOPPED, BROKEN))  # 1001
    made.append({"event": "session", "provenance": {}})  # 1002
    report_evaluations(made, WHOLE, (0.8, 0.8, 0.8, 0.8))  # to 1007
    report_evaluations(made, STOPPED, (0.7,), stop=True)  # to 1009
    return made


def found(run):
    return {name: (seconds, note) for name, seconds, note in costs(run)}


def test_time_in_trials_and_what_asha_saved(run):
    assert found(run) == {
        "training and evaluation": (5 * 3.0, "5 evaluations, summed over trials"),
        "saving": (5 * 0.5, "writing checkpoints, while training waits"),
        "wall time": (7.0, "sessions: 1, failures of trials: 0"),  # 1002 to 1009
        "saved by ASHA": (9.0, "estimated: 3 evaluations skipped, 38% of the total time"),
        "teacher": (40.0, "fine-tuning, once for all runs, not in the wall time"),
    }


def test_wall_time_is_of_sessions_without_the_pauses(run, clock):
    clock["time"] = 9000.0
    run.append({"event": "session", "provenance": {}})  # 9001
    run.append({"event": "start", "trial": BROKEN.digest})  # 9002
    assert found(run)["wall time"] == (8.0, "sessions: 2, failures of trials: 0")


def test_evaluations_made_again_count_at_their_trials_mean(run):
    run.append({"event": "repeated", "evaluations": 1, "trial": STOPPED.digest})
    again = {"event": "evaluation", "decision": "stop", "trial": STOPPED.digest}
    run.append({**again, "evaluation": evaluation(1, answers(0.6), seconds=7.0)})
    assert found(run)["repeated"] == (2 * 7.0, "2 evaluations, after interruptions")
