"""The command as its user runs it, on tiny models: a search, whole, and interrupted and resumed."""

import os
import re
import shutil
import signal
import sys

import numpy as np
import optuna
import pytest
import torch
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from ray.tune import ExperimentAnalysis, ResultGrid
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from search.plan.searchers import JOURNAL
from search.record.events import SUGGESTION
from search.record.run import read_run
from search.results.best_trials import kept_trials
from search.run.__main__ import main as sweep_main
from tests.made_runs import right_of
from tests.sweeps import assert_evaluated_once, numbers, run, start_and_hold
from trainable.engine.metrics import unpack_predictions

pytestmark = pytest.mark.slow

SAMPLES = 7
SETTINGS = ("student_layers=2", "batch_size=8", "epochs=2", "precision=fp32", "evaluations=6")
FAST = "learning_rate=3e-3"  # at which students differ


@pytest.fixture(scope="module")
def command(teacher_folder, data_folder):
    """A search one trial at a time and without finals, which depend on the time taken, so that its
    results come in one order only; each evaluation is on a subset."""
    return [
        *(sys.executable, "-m", "search.run", "--space", "recipe", "--samples", str(SAMPLES)),
        *("--preset", "mini", "--teacher", str(teacher_folder), "--dataset", str(data_folder)),
        *("--allow-weak-teacher", "--eval-subset", "13", "--transfer", "none", "--keep", "2"),
        *("--max-concurrent", "1", "--seed", "3", "--finals", "0"),
        *(part for setting in (*SETTINGS, FAST) for part in ("--set", setting)),
    ]


@pytest.fixture(scope="module")
def whole(command, tmp_path_factory):
    """The sweep that no one cuts, and what it printed."""
    folder = tmp_path_factory.mktemp("whole")
    places = ("--cache", str(folder / "cache"), "--storage", str(folder / "runs"))
    done = run([*command, *places, "--name", "full"])
    assert done.returncode == 0, done.stderr
    return read_run(folder / "runs" / "full"), done.stdout + done.stderr


def test_every_trial_finishes_or_is_stopped_at_a_rung(whole):
    swept, printed = whole
    lengths = {"finished": set(), "stopped": set()}
    for trial in swept.trials.values():
        lengths[trial.outcome].add(len(trial.evaluations))
    assert lengths["finished"] == {6}
    assert set() < lengths["stopped"] <= {*swept.rungs}
    assert "wait" in {event.get("decision") for event in swept.events}
    assert len({trial.config.recipe for trial in swept.trials.values()}) == SAMPLES
    ended = re.findall(r"best5 0\.\d{4} after", printed)
    assert len(ended) == len(swept.trials)  # a line each
    assert "Last result" not in printed  # Ray's line for those that waited and are ended


def test_finished_trials_are_scored_on_the_full_split(whole, dataset):
    swept, _ = whole
    assert swept.plan.inputs.examples == {"train": 96, "evaluation": 13, "full": 40}
    for trial in swept.trials.values():
        *before, last = [evaluation["full_score"] for evaluation in trial.evaluations]
        assert set(before) <= {None}
        assert (last is not None) == (trial.outcome == "finished")
        if last is not None:
            packed = trial.evaluations[-1]["full_predictions"]
            assert last == right_of(packed, dataset.evaluation.labels).mean()


def test_tune_keeps_scalars_only_and_the_record_the_predictions(whole):
    swept, _ = whole
    grid = ResultGrid(ExperimentAnalysis(str(swept.folder)))
    assert len(grid) == len(swept.trials)
    for result in grid:
        assert not {"predictions", "full_predictions"} & result.metrics.keys()
        texts = {key for key, value in result.metrics.items() if isinstance(value, str)}
        assert texts <= {"trial_id", "date", "hostname", "node_ip", "experiment_tag"} | {
            "checkpoint_dir_name"
        }
    labels = unpack_predictions(swept.plan.inputs.labels["evaluation"], 13, 2)
    for trial in swept.trials.values():
        for evaluation in trial.evaluations:
            assert right_of(evaluation["predictions"], labels).mean() == evaluation["score"]


def test_the_kept_checkpoints_are_the_best_and_load_anywhere(whole, dataset):
    swept, _ = whole
    kept = {path.parent.name for path in swept.folder.glob("*/checkpoint_*")}
    best, *others = kept_trials(swept)
    assert kept == {trial.config.folder_name for trial in (best, *others)}
    assert 2 <= len(kept) < len(swept.trials)
    grid = ResultGrid(ExperimentAnalysis(str(swept.folder)))
    (result,) = [r for r in grid if r.path.endswith(best.config.folder_name)]
    assert result.metrics["accuracy"] == best.evaluations[-1]["score"]
    model = AutoModelForSequenceClassification.from_pretrained(result.checkpoint.path).eval()
    tokenizer = AutoTokenizer.from_pretrained(result.checkpoint.path)
    tokens = tokenizer(dataset.evaluation.texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        answers = model(tokens["input_ids"], tokens["attention_mask"]).logits.argmax(-1).numpy()
    right = right_of(best.evaluations[-1]["full_predictions"], dataset.evaluation.labels)
    assert np.array_equal(answers == dataset.evaluation.labels, right)


def test_interrupted_and_resumed_it_suggests_what_it_would_have(
    command, whole, tmp_path, refusal_of
):
    """Also if the cache has been cleared meanwhile. Its trials wait at rungs, and the interruption
    comes while some do; `test_kills.py` has the kills."""
    swept, folder = whole[0], tmp_path / "cut"
    places = ("--storage", str(tmp_path), "--cache", os.path.relpath(tmp_path / "c"))
    process = start_and_hold([*command, *places, "--name", "cut"], folder, 4, SUGGESTION)
    assert f"RUN {folder}: another process is running it" in refusal_of(
        sweep_main, "--resume", str(folder)
    )
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 130, errors
    assert output.strip().splitlines()[-1] == f"python -m search.run --resume {folder}"
    before = read_run(folder)
    assert before.unfinished
    assert 3 < len(before.trials) < SAMPLES
    shutil.rmtree(tmp_path / "c" / "tokens")
    resumed = run(command[:3], "--resume", "cut", "--storage", str(tmp_path))
    assert resumed.returncode == 0, resumed.stderr
    assert "is missing or damaged: made again" in resumed.stdout
    assert re.search(r"^Resuming cut: +\d+ of ", resumed.stdout, re.MULTILINE)
    assert numbers(folder) == numbers(swept.folder)
    assert_evaluated_once(folder)
    found = read_run(folder)
    assert not any(trial.repeated for trial in found.trials.values())
    suggested = [event["trial"] for event in found.events if event["event"] == SUGGESTION]
    assert len(suggested) == len(set(suggested)) == SAMPLES - 1  # the default is planned
    storage = JournalStorage(JournalFileBackend(str(folder / JOURNAL)))
    study = optuna.load_study(study_name="cut", storage=storage)
    assert [trial.user_attrs["trials"] for trial in study.trials] == [[d] for d in found.trials]
    assert [trial.value for trial in study.trials] == [t.best5 for t in found.trials.values()]
    assert f"optuna-dashboard {folder / JOURNAL}" in resumed.stdout
