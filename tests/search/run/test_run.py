"""The command as its user runs it, on tiny models: a search that is interrupted and resumed."""

import io
import os
import re
import shutil
import signal
import sys
from contextlib import redirect_stderr
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import optuna
import pytest
import torch
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from ray.tune import ExperimentAnalysis, ResultGrid
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from search.policy.still_to_come import is_complete
from search.record.events import SUGGESTION
from search.record.run import read_run
from search.results.best_trials import kept_trials
from search.run.__main__ import main as sweep_main
from search.sweep.optuna_journal import JOURNAL
from tests.made_runs import right_of
from tests.sweeps import assert_evaluated_once, history, run, start_and_hold, without_ray
from trainable.engine.metrics import unpack_predictions

pytestmark = pytest.mark.slow

SAMPLES = 7
SETTINGS = ("student_layers=2", "batch_size=8", "epochs=2", "precision=fp32", "evaluations=6")
FAST = "learning_rate=3e-3"  # at which students differ


@pytest.fixture(scope="module")
def sweep(teacher_folder, data_folder, tmp_path_factory):
    """A search one trial at a time and without finals, which depend on the time taken, so that its
    results come in one order only; each evaluation is on a subset. Its trials wait at rungs, and
    SIGINT comes while some do. The cache has been cleared when it is resumed."""
    place = tmp_path_factory.mktemp("runs")
    command = [
        *(sys.executable, "-m", "search.run", "--space", "recipe", "--samples", str(SAMPLES)),
        *("--preset", "mini", "--teacher", str(teacher_folder), "--dataset", str(data_folder)),
        *("--allow-weak-teacher", "--eval-subset", "13", "--transfer", "none", "--keep", "2"),
        *("--max-concurrent", "1", "--seed", "3", "--finals", "0", "--name", "cut"),
        *("--grace-evaluations", "1"),  # of 24 steps, which else would be too few to compare
        *("--storage", str(place), "--cache", os.path.relpath(place / "c")),
        *(part for setting in (*SETTINGS, FAST) for part in ("--set", setting)),
    ]
    folder = place / "cut"
    process = start_and_hold(command, folder, 4, SUGGESTION)
    with redirect_stderr(io.StringIO()) as refusal:
        assert sweep_main(["--resume", str(folder)]) == 2
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 130, errors
    before = read_run(folder)
    shutil.rmtree(place / "c" / "tokens")
    resumed = run(command[:3], "--resume", "cut", "--storage", str(place))
    assert resumed.returncode == 0, resumed.stderr
    return SimpleNamespace(
        run=read_run(folder),
        before=before,
        refusal=refusal.getvalue(),
        output=output,
        resumed=resumed.stdout,
        printed=output + errors + resumed.stdout + resumed.stderr,
    )


def test_interrupted_and_resumed_it_suggests_what_it_would_have(sweep, tmp_path):
    folder = sweep.run.folder
    assert f"RUN {folder}: another process is running it" in sweep.refusal
    assert sweep.refusal.count("\n") == 1
    assert sweep.output.splitlines()[-1] == f"python -m search.run --resume {folder}"
    assert not is_complete(sweep.before)
    assert 3 < len(sweep.before.trials) < SAMPLES
    assert "is missing or damaged: made again" in sweep.resumed
    assert re.search(r"^Resuming cut: +\d+ of ", sweep.resumed, re.MULTILINE)
    assert_evaluated_once(folder)
    assert history(sweep.run) == history(without_ray(sweep.run, tmp_path / "cut"))
    assert not any(trial.repeated for trial in sweep.run.trials.values())
    suggested = [event["trial"] for event in sweep.run.events if event["event"] == SUGGESTION]
    assert len(suggested) == len(set(suggested)) == SAMPLES - 1  # the default is planned
    storage = JournalStorage(JournalFileBackend(str(folder / JOURNAL)))
    study, trials = optuna.load_study(study_name="cut", storage=storage), sweep.run.trials
    assert [trial.user_attrs["trials"] for trial in study.trials] == [[d] for d in trials]
    assert [trial.value for trial in study.trials] == [t.best5 for t in trials.values()]
    assert f"optuna-dashboard {folder / JOURNAL}" in sweep.resumed


def test_every_trial_finishes_or_is_stopped_at_a_rung(sweep):
    lengths = {"finished": set(), "stopped": set()}
    for trial in sweep.run.trials.values():
        lengths[trial.outcome].add(len(trial.evaluations))
    assert lengths["finished"] == {6}
    assert set() < lengths["stopped"] <= {*sweep.run.rungs}
    assert "wait" in {event.get("decision") for event in sweep.run.events}
    assert len({trial.config.recipe for trial in sweep.run.trials.values()}) == SAMPLES
    ended = re.findall(r"best5 0\.\d{4} after", sweep.printed)
    assert len(ended) == SAMPLES  # a line each
    assert "Last result" not in sweep.printed  # Ray's line for those that waited and are ended


def test_finished_trials_are_scored_on_the_full_split(sweep, dataset):
    assert sweep.run.plan.inputs.examples == {"train": 96, "evaluation": 13, "full": 40}
    for trial in sweep.run.trials.values():
        *before, last = [evaluation["full_score"] for evaluation in trial.evaluations]
        assert set(before) <= {None}
        assert (last is not None) == (trial.outcome == "finished")
        if last is not None:
            packed = trial.evaluations[-1]["full_predictions"]
            assert last == right_of(packed, dataset.evaluation.labels).mean()


def test_tune_keeps_scalars_only_and_the_record_the_predictions(sweep):
    grid = ResultGrid(ExperimentAnalysis(str(sweep.run.folder)))
    for result in grid:
        assert not {"predictions", "full_predictions"} & result.metrics.keys()
        texts = {key for key, value in result.metrics.items() if isinstance(value, str)}
        assert texts <= {"trial_id", "date", "hostname", "node_ip", "experiment_tag"} | {
            "checkpoint_dir_name"
        }
    labels = unpack_predictions(sweep.run.plan.inputs.labels["evaluation"], 13, 2)
    for trial in sweep.run.trials.values():
        for evaluation in trial.evaluations:
            assert right_of(evaluation["predictions"], labels).mean() == evaluation["score"]


def test_the_kept_checkpoints_are_the_best_and_load_anywhere(sweep, dataset):
    paths = {path.parent.name: str(path) for path in sweep.run.folder.glob("*/checkpoint_*")}
    best, *others = kept_trials(sweep.run)
    assert paths.keys() == {trial.config.folder_name for trial in (best, *others)}
    assert 2 <= len(paths) < len(sweep.run.trials)
    trials = {trial.config.folder_name: trial for trial in sweep.run.trials.values()}
    grid = ResultGrid(ExperimentAnalysis(str(sweep.run.folder)))  # of the last session
    scored = {Path(r.path).name: r.metrics["accuracy"] for r in grid if "accuracy" in r.metrics}
    assert scored
    assert scored == {name: trials[name].evaluations[-1]["score"] for name in scored}
    place = paths[best.config.folder_name]
    model = AutoModelForSequenceClassification.from_pretrained(place).eval()
    tokenizer = AutoTokenizer.from_pretrained(place)
    tokens = tokenizer(dataset.evaluation.texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        answers = model(tokens["input_ids"], tokens["attention_mask"]).logits.argmax(-1).numpy()
    right = right_of(best.evaluations[-1]["full_predictions"], dataset.evaluation.labels)
    assert np.array_equal(answers == dataset.evaluation.labels, right)
