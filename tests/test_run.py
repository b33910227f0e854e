"""The command as its user runs it, on tiny models: whole, interrupted, failing."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest
from ray.tune import ExperimentAnalysis, ResultGrid

from search.record import read_run

pytestmark = pytest.mark.slow

TINY = ["--set", "student_layers=2", "--set", "batch_size=8", "--set", "precision=fp32"]


@pytest.fixture(scope="module")
def make_command(teacher_folder, data_folder):
    """The command line up to what a test adds, writing into a folder."""

    def make(folder):
        return [
            *(sys.executable, "-m", "search.run", "--preset", "mini"),
            *("--teacher", str(teacher_folder), "--dataset", str(data_folder)),
            *("--cache", str(folder / "cache"), "--storage", str(folder / "runs")),
            *TINY,
        ]

    return make


@pytest.fixture
def command(make_command, tmp_path):
    return make_command(tmp_path)


def run(command, *more):
    return subprocess.run(
        [*command, *more], capture_output=True, text=True, timeout=300, check=False
    )


def numbers(folder):
    """Each trial's outcome and evaluations, without clocks."""
    clocks = {"training_seconds", "evaluation_seconds"}
    return {
        digest: (
            t.outcome,
            [{k: v for k, v in e.items() if k not in clocks} for e in t.evaluations],
        )
        for digest, t in read_run(folder).trials.items()
    }


@pytest.fixture(scope="module")
def whole(make_command, tmp_path_factory):
    """A whole sweep: its command, what it printed, and its run."""
    folder = tmp_path_factory.mktemp("whole")
    command = [*make_command(folder), "--space", "schedules", "--name", "whole"]
    done = run(command)
    assert done.returncode == 0, done.stderr
    return command, done.stdout + done.stderr, read_run(folder / "runs" / "whole")


def test_every_trial_finishes_or_is_stopped_early(whole):
    _, _, swept = whole
    assert len(swept.trials) == 18
    lengths = {"finished": [], "stopped": []}
    for trial in swept.trials.values():
        lengths[trial.outcome].append(len(trial.evaluations))
    assert set(lengths["finished"]) == {8}
    assert set(lengths["stopped"]) <= {2, 4}  # ASHA's rungs
    assert lengths["stopped"]
    assert swept.sweep["task"]["teacher"]["fine_tuned_here"] is False


def test_what_is_printed(whole):
    _, printed, swept = whole
    for said in ("Teacher: ", "teacher_spread", "random", "cosine_growth k=3", str(swept.folder)):
        assert said in printed
    assert printed.count("best5 0.") == 18  # a line for each trial that ended
    assert not re.search(r"\bray\b", printed, re.IGNORECASE)


def test_rays_own_results_stay_usable(whole):
    _, _, swept = whole
    grid = ResultGrid(ExperimentAnalysis(str(swept.folder)))
    table = grid.get_dataframe()
    assert len(table) == 18
    assert set(table["config/initialisation"]) == {"random", "teacher_spread"}
    for path in swept.folder.glob("*/result.json"):
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        evaluations = swept.trials[path.parent.name.rpartition("-")[2]].evaluations
        assert [row["accuracy"] for row in rows] == [e["accuracy"] for e in evaluations]
        assert [row["training_iteration"] for row in rows] == list(range(1, len(rows) + 1))


def test_a_name_that_exists_says_how_to_resume(whole):
    command, _, swept = whole
    again = run(command)
    assert again.returncode == 2
    assert again.stderr.strip().splitlines() == [
        f"error: --name whole: {swept.folder} exists; choose another name, or go on with it: "
        f"python -m search.run --resume {swept.folder}"
    ]


def wait_for_evaluations(folder, count, process):
    """Until the record has so many evaluations."""
    for _ in range(600):
        assert process.poll() is None, process.communicate()
        record = folder / "record.jsonl"
        if record.exists() and record.read_text().count('"evaluation": {') >= count:
            return
        time.sleep(0.1)
    raise AssertionError("no evaluation within a minute")


def test_interrupted_and_resumed_equals_uninterrupted(command, tmp_path):
    options = ["--space", "baselines", "--max-concurrent", "1", "--set", "epochs=12"]
    assert run(command, *options, "--name", "whole").returncode == 0
    folder = tmp_path / "runs" / "cut"
    process = subprocess.Popen(
        [*command, *options, "--name", "cut"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    wait_for_evaluations(folder, 11, process)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 130, errors
    assert output.strip().splitlines()[-1] == f"python -m search.run --resume {folder}"
    assert read_run(folder).interrupted

    resumed = run(command[:3], "--resume", str(folder))
    assert resumed.returncode == 0, resumed.stderr
    assert numbers(folder) == numbers(tmp_path / "runs" / "whole")

    complete = run(command[:3], "--resume", "cut", "--storage", str(tmp_path / "runs"))
    assert complete.returncode == 0
    assert "complete; nothing left to run" in complete.stdout


def test_nan_fails_the_trial_and_not_the_sweep(command, tmp_path):
    done = run(command, "--space", "baselines", "--name", "nan", "--set", "learning_rate=1e30")
    assert done.returncode == 1, done.stderr
    trials = read_run(tmp_path / "runs" / "nan").trials.values()
    assert [trial.outcome for trial in trials] == ["failed"] * 5
    for trial in trials:
        assert trial.reason.startswith("loss is ")
        assert "learning rate" in trial.reason
    assert "5 trial(s) failed" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_bad_inputs_are_refused_before_anything_is_written(command, tmp_path, data_folder):
    cases = {
        ("--dataset", str(tmp_path / "nowhere")): "--dataset",
        ("--teacher", str(data_folder)): "--teacher",
        ("--set", "student_layers=3"): "student_layers: 3 does not divide",
        ("--set", "evaluations=9999"): "evaluations: 9999",
    }
    for more, said in cases.items():
        done = run(command, "--space", "baselines", *more)
        assert done.returncode == 2, (more, done.stderr)
        assert said in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert not list((tmp_path / "runs").glob("*"))


def test_a_relative_cache_and_a_cache_that_was_cleared(command, tmp_path):
    """Trials run in other working folders; an interrupted run survives the loss of its cache."""
    place = command.index("--cache") + 1
    command[place] = os.path.relpath(command[place])
    options = ["--space", "baselines", "--max-concurrent", "1", "--set", "epochs=12"]
    folder = tmp_path / "runs" / "cut"
    process = subprocess.Popen(
        [*command, *options, "--name", "cut"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    wait_for_evaluations(folder, 1, process)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=120)
    before = read_run(folder)
    shutil.rmtree(tmp_path / "cache" / "tokens")
    resumed = run(command[:3], "--resume", str(folder))
    assert resumed.returncode == 2
    assert "which its trials read, is missing or damaged" in resumed.stderr
    assert len(resumed.stderr.strip().splitlines()) == 1
    assert read_run(folder).trials == before.trials
