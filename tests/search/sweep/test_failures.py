"""Trials that fail in a real sweep: who is tried again, how, and what the sweep says at its end."""

import json
import os
import subprocess
import sys

import pytest

from search.record.run import read_run
from tests.scripts.faulty_run import NOT_CAPTURED
from tests.sweeps import assert_evaluated_once
from trainable.config.names import EAGER, GRAPH
from trainable.config.training_inputs import Execution

pytestmark = pytest.mark.slow


@pytest.fixture
def sweep(make_command, tmp_path, repository):
    """Runs trials of `baselines` with these faults; gives the process and the run's folder. Each
    failure costs a new process, which takes seconds to import the libraries."""
    command = [*make_command(tmp_path), "--space", "baselines", "--name", "mine"]
    command += ["--trials-per-gpu", "4", "--set", "epochs=6"]

    def run(faults, *options, resume=False):
        folder = tmp_path / "runs" / "mine"
        typed = ["--resume", str(folder)] if resume else [*command[3:], *options]
        done = subprocess.run(
            [sys.executable, "-m", "tests.scripts.faulty_run", *typed],
            env=os.environ | {"FAULTS": json.dumps(faults)},
            cwd=repository,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert "Traceback" not in done.stdout + done.stderr, done.stdout + done.stderr
        return done, folder

    return run


def by_initialisation(folder):
    return {trial.config.initialisation: trial for trial in read_run(folder).trials.values()}


def events_of(folder, trial):
    return [event for event in read_run(folder).events if event.get("trial") == trial.config.digest]


def test_failures_of_every_kind_leave_the_others_alone(sweep):
    faults = {
        "random": "memory",
        "teacher_upper": "crash once",
        "teacher_embeddings": "crash always",
        "teacher_spread": "diverges",
    }
    done, folder = sweep(faults, "--retries", "1")
    trials = by_initialisation(folder)
    assert done.returncode == 1, done.stderr
    assert "2 trials failed" in done.stdout
    outcomes = {name: trial.outcome for name, trial in trials.items()}
    assert outcomes == {
        "random": "finished",
        "teacher_lower": "finished",
        "teacher_upper": "finished",
        "teacher_embeddings": "failed",
        "teacher_spread": "failed",
    }
    thens = {
        name: [e["then"] for e in events_of(folder, trial) if e["event"] == "failure"]
        for name, trial in trials.items()
    }
    assert thens == {
        "random": ["retry alone on the GPU"],
        "teacher_lower": [],
        "teacher_upper": ["retry"],
        "teacher_embeddings": ["retry", "give up"],
        "teacher_spread": ["give up"],
    }
    assert trials["teacher_spread"].reason.startswith("loss is nan by step ")
    assert trials["teacher_embeddings"].reason == "ValueError: a bug in this trial"
    assert "bug in this trial" in done.stdout.split("Teacher accuracy: ")[2]  # in the leaderboard
    assert_alone_after_memory_ran_out(folder, trials["random"])


def assert_alone_after_memory_ran_out(folder, trial):
    """Between its second start and its end no other trial has an event."""
    events = read_run(folder).events
    mine = [e for e in events if e.get("trial") == trial.config.digest]
    second = [e["number"] for e in mine if e["event"] == "start"][1]
    between = [e for e in events if second <= e["number"] <= mine[-1]["number"]]
    assert {e["trial"] for e in between} == {trial.config.digest}
    assert len(between) > 2


def test_what_cannot_be_captured_is_trained_otherwise_and_a_full_disk_pauses_the_sweep(sweep):
    """In other processes, with plain attention, then eagerly: a line for each, in the record, too.
    Nothing is lost, nothing has failed, and the session that resumes it has no more to try."""
    done, folder = sweep({**NOT_CAPTURED, "teacher_spread": "disk"}, "--samples", "2")
    assert done.returncode == 1
    assert "No space left on device" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stdout.strip().splitlines()[-1].startswith("python -m search.run --resume ")
    outcomes = {trial.outcome for trial in by_initialisation(folder).values()}
    assert "failed" not in outcomes != {"finished"}
    resumed, _ = sweep({}, resume=True)
    assert resumed.returncode == 0, resumed.stderr

    run, why = read_run(folder), "operation not permitted when stream is capturing"
    assert run.plan.inputs.execution == Execution(GRAPH, flash_attention=True)
    lines = [f"plain attention instead of fused: {why}", f"eager: {why}"]
    assert (run.fallbacks, run.execution) == (lines, Execution(EAGER))
    assert all(done.stdout.count(f"Not as wanted: {line}") == 1 for line in lines)
    assert "Not as wanted" not in resumed.stdout
    assert {trial.outcome for trial in run.trials.values()} == {"finished"}
    failures = [event["then"] for event in run.events if event["event"] == "failure"]
    assert 2 <= len(failures) <= 4  # no more than were under way
    assert set(failures) == {"retry"}
    assert_evaluated_once(folder)
