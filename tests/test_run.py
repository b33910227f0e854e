"""The command as its user runs it, on tiny models: whole, interrupted, failing."""

import json
import os
import re
import shutil
import signal

import pytest
from ray.tune import ExperimentAnalysis, ResultGrid

from search.record import read_events, read_run
from tests.sweeps import numbers, run, start_and_hold
from trainable.metrics import unpack_bits

pytestmark = pytest.mark.slow


@pytest.fixture
def command(make_command, tmp_path):
    return make_command(tmp_path)


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


def test_a_sample_is_looked_at_and_finished_trials_are_scored_on_the_whole(command, tmp_path):
    """Also where the sweep is killed on the way: the end is that of one left alone."""
    options = ["--space", "schedules", "--samples", "6", "--max-concurrent", "1"]
    options += ["--search-sentences", "13"]
    done = run(command, *options, "--name", "whole")
    assert done.returncode == 0, done.stderr
    swept = read_run(tmp_path / "runs" / "whole")
    assert swept.sweep["task"]["sentences"] == {"train": 96, "evaluation": 13, "whole": 40}
    assert {"finished", "stopped"} == {trial.outcome for trial in swept.trials.values()}
    for trial in swept.trials.values():
        *before, last = [evaluation["whole_accuracy"] for evaluation in trial.evaluations]
        assert set(before) <= {None}
        assert (last is not None) == (trial.outcome == "finished")
        if last is not None:
            assert last == unpack_bits(trial.evaluations[-1]["whole_correct"], 40).mean()
            assert f" {last:.4f} " in done.stdout
    assert "13 sentences drawn from the 40" in done.stdout

    folder = tmp_path / "runs" / "cut"
    process = start_and_hold([*command, *options, "--name", "cut"], folder, 10)
    process.kill()
    process.communicate(timeout=120)
    resumed = run(command[:3], "--resume", str(folder))
    assert resumed.returncode == 0, resumed.stderr
    assert numbers(folder) == numbers(swept.folder)


def test_interrupted_and_resumed_equals_uninterrupted(command, tmp_path):
    options = ["--space", "baselines", "--max-concurrent", "1", "--set", "epochs=12"]
    assert run(command, *options, "--name", "whole").returncode == 0
    folder = tmp_path / "runs" / "cut"
    process = start_and_hold([*command, *options, "--name", "cut"], folder, 11)
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


def test_more_samples_run_only_what_is_new(command, tmp_path):
    assert run(command, "--space", "baselines", "--name", "mine", "--samples", "2").returncode == 0
    folder = tmp_path / "runs" / "mine"
    before = numbers(folder)
    assert len(before) == 2
    grown = run(command[:3], "--resume", str(folder), "--samples", "3", "--keep", "1")
    assert grown.returncode == 0, grown.stderr
    assert "1 more trial(s)" in grown.stdout
    after = numbers(folder)
    assert len(after) == 3
    assert {digest: after[digest] for digest in before} == before
    starts = [e["trial"] for e in read_events(folder) if e["event"] == "start"]
    assert len(starts) == len(set(starts)) == 3
    assert len(list(folder.glob("*/student-*.safetensors"))) == 1
    assert len(ResultGrid(ExperimentAnalysis(str(folder)))) == 3
    again = run(command[:3], "--resume", str(folder), "--samples", "3")
    assert "0 more trial(s)" in again.stdout
    assert "complete; nothing left to run" in again.stdout


def test_two_processes_cannot_write_one_run(command, tmp_path):
    folder = tmp_path / "runs" / "mine"
    options = ["--space", "baselines", "--name", "mine", "--set", "epochs=40"]
    process = start_and_hold([*command, *options], folder, 1)
    second = run(command[:3], "--resume", str(folder))
    assert second.returncode == 2
    assert f"process {process.pid} on " in second.stderr
    assert len(second.stderr.strip().splitlines()) == 1
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 130
    assert output.strip().splitlines()[-1] == f"python -m search.run --resume {folder}"


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
    process = start_and_hold([*command, *options, "--name", "cut"], folder, 1)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=120)
    before = read_run(folder)
    shutil.rmtree(tmp_path / "cache" / "tokens")
    resumed = run(command[:3], "--resume", str(folder))
    assert resumed.returncode == 0, resumed.stderr
    assert "is missing or damaged: made again" in resumed.stdout
    trials = read_run(folder).trials
    assert {trial.outcome for trial in trials.values()} == {"finished"}
    for digest, trial in before.trials.items():
        assert trials[digest].evaluations[: len(trial.evaluations)] == trial.evaluations
