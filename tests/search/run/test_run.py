"""The command as its user runs it, on tiny models: whole, interrupted, extended, failing."""

import os
import re
import shutil
import signal

import pytest
import torch
from ray.tune import ExperimentAnalysis, ResultGrid
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from search.plan.rungs import rungs
from search.record.run import read_run
from search.run.__main__ import main as sweep_main
from tests.sweeps import OPTIONS, assert_evaluated_once, numbers, run, start_and_hold
from trainable.engine.metrics import unpack_bits

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def whole(make_command, tmp_path_factory):
    """A sweep under ASHA: its command, what it printed, and its run."""
    folder = tmp_path_factory.mktemp("full")
    command = [*make_command(folder), "--space", "schedules", "--samples", "10", "--keep", "2"]
    command += ["--set", "learning_rate=3e-3", "--set", "epochs=2"]  # at which students differ
    done = run([*command, "--name", "full"])
    assert done.returncode == 0, done.stderr
    return command, done.stdout + done.stderr, read_run(folder / "runs" / "full")


def test_every_trial_finishes_or_is_stopped_at_a_rung(whole):
    _, printed, swept = whole
    lengths = {"finished": set(), "stopped": set()}
    for trial in swept.trials.values():
        lengths[trial.outcome].add(len(trial.evaluations))
    assert lengths["finished"] == {8}
    assert set() < lengths["stopped"] <= set(rungs(8, 2, 2))
    ended = re.findall(r"best5 0\.\d{4} after", printed)
    assert len(ended) == len(swept.trials) == 10  # a line each


def test_tune_keeps_scalars_only_and_the_record_the_bits(whole):
    _, _, swept = whole
    grid = ResultGrid(ExperimentAnalysis(str(swept.folder)))
    assert len(grid) == 10
    for result in grid:
        assert "correct" not in result.metrics
        texts = {key for key, value in result.metrics.items() if isinstance(value, str)}
        assert texts <= {"trial_id", "date", "hostname", "node_ip", "experiment_tag"} | {
            "checkpoint_dir_name"
        }
    for trial in swept.trials.values():
        for evaluation in trial.evaluations:
            assert unpack_bits(evaluation["correct"], 40).mean() == evaluation["accuracy"]


def test_the_kept_checkpoints_are_the_best_and_load_anywhere(whole, dataset):
    _, _, swept = whole
    kept = {path.parent.name for path in swept.folder.glob("*/checkpoint_*")}
    finished = [trial for trial in swept.trials.values() if trial.outcome == "finished"]
    best = sorted(finished, key=lambda trial: -trial.best5)[:2]
    assert kept == {trial.config.folder_name for trial in best}
    grid = ResultGrid(ExperimentAnalysis(str(swept.folder)))
    (result,) = [one for one in grid if one.path.endswith(best[0].config.folder_name)]
    assert result.metrics["best5_accuracy"] == best[0].best5
    model = AutoModelForSequenceClassification.from_pretrained(result.checkpoint.path).eval()
    tokenizer = AutoTokenizer.from_pretrained(result.checkpoint.path)
    tokens = tokenizer(dataset.evaluation.texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        answers = model(tokens["input_ids"], tokens["attention_mask"]).logits.argmax(-1).tolist()
    right = [a == b for a, b in zip(answers, dataset.evaluation.labels, strict=True)]
    assert sum(right) / len(right) == max(e["accuracy"] for e in best[0].evaluations)


@pytest.fixture(scope="module")
def untouched(make_command, tmp_path_factory):
    """Trials one at a time, evaluated on a subset: the command, and the run that no one cuts."""
    folder = tmp_path_factory.mktemp("untouched")
    command = [*make_command(folder), *OPTIONS, "--eval-subset", "13"]
    done = run([*command, "--name", "untouched"])
    assert done.returncode == 0, done.stderr
    return command, read_run(folder / "runs" / "untouched"), done.stdout


def test_finished_trials_are_scored_on_the_full_split(untouched):
    _, swept, _ = untouched
    assert swept.plan.inputs.examples == {"train": 96, "evaluation": 13, "full": 40}
    for trial in swept.trials.values():
        *before, last = [evaluation["full_accuracy"] for evaluation in trial.evaluations]
        assert set(before) == {None}
        assert last == unpack_bits(trial.evaluations[-1]["full_correct"], 40).mean()


def test_interrupted_and_resumed_equals_untouched(untouched, tmp_path, refusal_of):
    """Also where the cache has been cleared meanwhile; `test_kills.py` has the kills."""
    command, swept, _ = untouched
    command = [*command, "--storage", str(tmp_path), "--cache", os.path.relpath(tmp_path / "c")]
    folder = tmp_path / "cut"
    process = start_and_hold([*command, "--name", "cut"], folder, 11)
    assert f"RUN {folder}: another process is running it" in refusal_of(
        sweep_main, "--resume", str(folder)
    )
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 130, errors
    assert output.strip().splitlines()[-1] == f"python -m search.run --resume {folder}"
    assert read_run(folder).unfinished
    shutil.rmtree(tmp_path / "c" / "tokens")
    resumed = run(command[:3], "--resume", "cut", "--storage", str(tmp_path))
    assert resumed.returncode == 0, resumed.stderr
    assert "is missing or damaged: made again" in resumed.stdout
    assert numbers(folder) == numbers(swept.folder)
    assert_evaluated_once(folder)
    assert not any(trial.repeated for trial in read_run(folder).trials.values())
