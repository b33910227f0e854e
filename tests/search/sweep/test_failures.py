"""Trials that fail in a real sweep: who is tried again, how, and what the sweep says at its end."""

import json
import os
import sys

import pytest

from search.record.run import read_run
from tests.clusters import REPOSITORY
from tests.scripts.faulty_run import NOT_CAPTURED
from tests.sweeps import assert_evaluated_once, run
from trainable.config.names import EAGER, GRAPH
from trainable.config.training_inputs import Execution

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def sessions(make_command, tmp_path_factory):
    """Two of a run of `baselines`, as processes, and the run. In the first, of one trial at a time,
    no step can be captured and then the disk is full; in the second trials fail in other ways. Each
    failure costs a new process, which takes seconds to import the libraries."""
    folder = tmp_path_factory.mktemp("failures")

    def session(faults, *typed):
        command = [sys.executable, "-m", "tests.scripts.faulty_run", *typed]
        done = run(command, env=os.environ | {"FAULTS": json.dumps(faults)}, cwd=REPOSITORY)
        assert "Traceback" not in done.stdout + done.stderr, done.stdout + done.stderr
        return done

    new = [*make_command(folder)[3:], "--space", "baselines", "--name", "mine"]
    new += ["--trials-per-gpu", "4", "--set", "epochs=6", "--max-concurrent", "1"]
    faults = {
        "random": "memory",
        "teacher_upper": "crash once",
        "teacher_embeddings": "crash always",
        "teacher_spread": "diverges",
    }
    first = session({**NOT_CAPTURED, "teacher_lower": "disk"}, *new)
    place = folder / "runs" / "mine"
    paused = read_run(place)
    second = session(faults, "--resume", str(place), "--retries", "1", "--max-concurrent", "4")
    return first, paused, second, read_run(place)


def by_initialisation(run):
    return {trial.config.initialisation: trial for trial in run.trials.values()}


def thens(run, digest):
    """What followed each failure of a trial."""
    failures = [event for event in run.events if event["event"] == "failure"]
    return [event["then"] for event in failures if event["trial"] == digest]


def test_what_cannot_be_captured_is_trained_otherwise_and_a_full_disk_pauses_the_sweep(sessions):
    """In other processes, with plain attention, then eagerly: a line for each, in the record, too.
    Nothing is lost, nothing has failed, and the session that resumes it has no more to try."""
    first, paused, second, run = sessions
    assert first.returncode == 1
    assert "No space left on device" in first.stderr
    assert len(first.stderr.strip().splitlines()) == 1
    assert first.stdout.strip().splitlines()[-1].startswith("python -m search.run --resume ")
    assert {"failed", "finished"}.isdisjoint(trial.outcome for trial in paused.trials.values())
    (failing,) = {event["trial"] for event in paused.events if event["event"] == "failure"}
    assert thens(paused, failing) == ["retry", "retry"]
    why = "operation not permitted when stream is capturing"
    lines = [f"plain attention instead of fused: {why}", f"eager: {why}"]
    assert run.plan.inputs.execution == Execution(GRAPH, flash_attention=True)
    assert (run.fallbacks, run.execution) == (lines, Execution(EAGER))
    assert all(first.stdout.count(f"Not as wanted: {line}") == 1 for line in lines)
    assert "Not as wanted" not in second.stdout
    assert_evaluated_once(run.folder)


def test_failures_of_every_kind_leave_the_others_alone(sessions):
    _, _, second, run = sessions
    trials = by_initialisation(run)
    assert second.returncode == 1, second.stderr
    assert "2 trials failed" in second.stdout
    assert {
        name: (trial.outcome, thens(run, trial.config.digest)) for name, trial in trials.items()
    } == {
        "teacher_lower": ("finished", ["retry", "retry"]),  # of the first session
        "random": ("finished", ["retry alone on the GPU"]),
        "teacher_upper": ("finished", ["retry"]),
        "teacher_embeddings": ("failed", ["retry", "give up"]),
        "teacher_spread": ("failed", ["give up"]),
    }
    assert trials["teacher_spread"].reason.startswith("loss is nan by step ")
    assert trials["teacher_embeddings"].reason == "ValueError: a bug in this trial"
    assert "bug in this trial" in second.stdout.rpartition("Teacher accuracy: ")[2]  # leaderboard
    mine = [e for e in run.events if e.get("trial") == trials["random"].config.digest]
    alone = [e["number"] for e in mine if e["event"] == "start"][1]  # after memory ran out
    between = [e for e in run.events if alone <= e["number"] <= mine[-1]["number"]]
    assert {e["trial"] for e in between} == {mine[0]["trial"]}
    assert len(between) > 2
