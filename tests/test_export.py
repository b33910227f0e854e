"""Exported folders: loaded as anyone would, equal to the trial's student, whole or not there."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

from search import export_check, exported
from search.export import main
from search.record import GIVE_UP, TrialRecord, read_run
from search.remote_runs import local_runs
from tests.conftest import padded_batch
from tests.exports import MAX_LENGTH, copied, make_request, make_run, make_teacher
from trainable.checkpoint import student_files
from trainable.config import TrialConfig
from trainable.errors import UserError
from trainable.locks import locked
from trainable.metrics import unpack_bits
from trainable.model_outputs import run_model
from trainable.students import build_student
from trainable.teacher import load_teacher
from trainable.tokens import load_split
from trainable.training_state import HEADER, read_header
from trainable.trial import Trial
from trainable.vocabulary import dense_split, load_vocabulary

TRIALS = ("teacher_spread", "random")
LONGER = {"learning_rate": 3e-3, "evaluations": 4}
SETTINGS = {"alpha": 0.5, "student_layers": 2, "batch_size": 8, "epochs": 1, **LONGER}


@pytest.fixture(autouse=True)
def short_timing(monkeypatch):
    monkeypatch.setattr(export_check, "TIMED_SECONDS", 0.02)


@pytest.fixture(scope="module")
def made(tokenizer, data_folder, tmp_path_factory):
    """For an architecture a run of two trials: from the teacher, and from random weights."""
    runs = {}

    def make(architecture):
        if architecture not in runs:
            folder = tmp_path_factory.mktemp(architecture)
            teacher = make_teacher(architecture, tokenizer, folder / "teacher")
            request = make_request(folder, teacher, data_folder)
            configs = [TrialConfig(initialisation=name, **SETTINGS) for name in TRIALS]
            runs[architecture] = make_run(folder, request, configs)
        return runs[architecture]

    return make


@pytest.fixture
def small(made):
    return made("bert")


@pytest.fixture
def export(tmp_path, capsys):
    """Runs the command; returns the folder, what it printed, and its error."""

    def call(run, *more, code=0, out=tmp_path / "out"):
        assert main([str(run.folder), str(out), *more]) == code
        said = capsys.readouterr()
        return out, said.out, said.err

    return call


def trial_of(small, initialisation):
    trials = small.run.trials.values()
    return next(trial for trial in trials if trial.config.initialisation == initialisation)


def raw_texts(dataset):
    return dataset.evaluation.texts


@torch.no_grad()
def plain_logits(folder, texts):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    return model(**tokenizer(texts, truncation=True, padding=True, return_tensors="pt")).logits


@torch.no_grad()
def trial_logits(small, config):
    """Of the student at the trial's best evaluation, on the dense ids it was scored on."""
    trial = Trial.start(config, small.task, torch.device("cpu"))
    trial.student.load_state_dict(small.best_weights[config.digest], strict=False)
    tokens = Path(small.task.tokens)
    split = dense_split(load_split(tokens, "evaluation"), load_vocabulary(tokens))
    batch = padded_batch(split, np.arange(len(split)), small.task.pad_id, torch.device("cpu"))
    return run_model(trial.student.eval(), batch, "fp32")[0]


@pytest.mark.parametrize("initialisation", TRIALS)
@pytest.mark.parametrize("architecture", ["bert", "deberta-v2", "roberta", "electra", "mpnet"])
def test_plain_transformers_give_the_logits_of_the_trials_student(
    architecture, initialisation, made, export, dataset
):
    small = made(architecture)
    config = trial_of(small, initialisation).config
    folder, said, _ = export(small.run, "--trial", config.digest)
    torch.testing.assert_close(
        plain_logits(folder, raw_texts(dataset)), trial_logits(small, config), rtol=0, atol=1e-6
    )
    assert "the same answer on every one" in said


def test_a_student_comes_from_the_storage_also_where_the_sweep_runs(
    small, export, tmp_path, monkeypatch
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "machine"))
    there = Path(shutil.copytree(small.run.folder, tmp_path / "storage" / "mine"))
    run = copied(small.run, tmp_path)
    folder = run.folder.rename(local_runs(f"file://{tmp_path}/storage") / "mine")
    for path in folder.rglob("student-*"):
        path.unlink()
    with locked(folder, wait=False):
        out, _, _ = export(read_run(folder), "--no-check")
    assert (out / "model.safetensors").is_file()
    assert len(list(folder.rglob("student-*"))) == len(list(there.rglob("student-*"))) > 0


@pytest.mark.parametrize("initialisation", TRIALS)
def test_accuracy_from_the_folder_is_the_recorded_one(initialisation, small, export, dataset):
    trial = trial_of(small, initialisation)
    best = max(trial.evaluations, key=lambda evaluation: evaluation["accuracy"])
    folder, _, _ = export(small.run, "--trial", trial.config.digest)
    found = plain_logits(folder, raw_texts(dataset)).argmax(dim=-1).numpy()
    correct = found == np.array(dataset.evaluation.labels)
    assert correct.tolist() == unpack_bits(best["correct"], 40).tolist()
    assert correct.mean() == best["accuracy"]


@pytest.mark.parametrize("initialisation", TRIALS)
def test_rows_in_use_are_trained_and_the_others_as_before_the_first_step(
    initialisation, small, export
):
    config = trial_of(small, initialisation).config
    folder, _, _ = export(small.run, "--trial", config.digest)
    name = "bert.embeddings.word_embeddings.weight"
    rows = load_file(folder / "model.safetensors")[name]
    in_use = load_vocabulary(Path(small.task.tokens))
    others = np.setdiff1d(np.arange(205), in_use)
    assert torch.equal(rows[in_use], small.best_weights[config.digest][name])
    assert len(others) > 100
    of_teacher = load_file(Path(small.task.teacher.folder) / "model.safetensors")[name]
    if initialisation == "teacher_spread":
        assert torch.equal(rows[others], of_teacher[others])
    else:
        student = build_student(load_teacher(Path(small.task.teacher.folder)), config)
        assert torch.equal(rows[others], student.get_parameter(name)[others])
        assert abs(rows[others].std() - 0.02) < 0.002  # BERT's own initial spread


def test_pipeline_names_labels(small, export, dataset):
    folder, _, _ = export(small.run)
    classify = pipeline("text-classification", str(folder))
    found = classify(raw_texts(dataset), truncation=True)
    expected = plain_logits(folder, raw_texts(dataset)).argmax(dim=-1).tolist()
    assert [one["label"] for one in found] == [str(label) for label in expected]
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    assert model.config.label2id == {"0": 0, "1": 1}
    assert model.config.num_hidden_layers == 2
    assert AutoTokenizer.from_pretrained(folder).model_max_length == MAX_LENGTH


def test_the_best_that_ended_is_exported_where_nothing_is_asked(small, export, tmp_path):
    best = max(small.run.trials.values(), key=lambda trial: trial.best5)
    _, said, _ = export(small.run)
    assert said.startswith(f"{best.config.words()} ({best.config.digest})")
    run = copied(small.run, tmp_path)
    (kept,) = student_files(run.trial_folder(run.trials[best.config.digest]))
    kept.unlink()
    (other,) = [t for t in run.trials.values() if t.config.digest != best.config.digest]
    _, said, _ = export(run, out=tmp_path / "other")
    assert said.startswith(other.config.words())


@pytest.mark.parametrize("form", ["digest", "prefix", "folder", "path"])
def test_a_trial_is_found_in_each_form(form, small, export):
    for trial in small.run.trials.values():
        path = small.run.trial_folder(trial)
        forms = {"digest": trial.config.digest, "prefix": trial.config.digest[:5]}
        forms |= {"folder": path.name, "path": f"{path}/"}
        found = exported.find_trial(small.run, forms[form])
        assert found.config == trial.config


def refused(export, run, *more, out=None):
    """The one line of the error, after which nothing is left on disk."""
    keywords = {} if out is None else {"out": out}
    folder, said, error = export(run, *more, code=2, **keywords)
    assert said == ""
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert not list(folder.parent.glob(f".{folder.name}.*"))
    return error.removeprefix("error: ").rstrip()


def test_unknown_run(small, export, tmp_path):
    nowhere = replace(small.run, folder=tmp_path / "nowhere")
    message = refused(export, nowhere, "--storage", str(small.run.folder.parent))
    assert message.startswith(f"RUN {nowhere.folder}: no such run in ")
    assert message.endswith("there: mine")


def test_a_folder_with_something_in_it_is_left_alone(small, export, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes").write_text("mine")
    assert refused(export, small.run).endswith("is not empty; give a new or an empty folder")
    assert (tmp_path / "out" / "notes").read_text() == "mine"
    assert "is not a folder" in refused(export, small.run, out=tmp_path / "out" / "notes")


def test_an_empty_folder_is_filled(small, export, tmp_path):
    (tmp_path / "out").mkdir()
    folder, _, _ = export(small.run, "--no-check")
    names = {path.name for path in folder.iterdir()}
    assert {"README.md", "config.json", "model.safetensors", "tokenizer.json"} <= names
    assert len({path.stat().st_mode for path in folder.iterdir()}) == 1


def test_unknown_and_ambiguous_trials(small, export, monkeypatch):
    digests = list(small.run.trials)
    message = refused(export, small.run, "--trial", "zz")
    assert message == f"--trial zz: no such trial in mine; there: {', '.join(digests)}"
    message = refused(export, small.run, "--trial", "")
    for trial in small.run.trials.values():
        assert f"{trial.config.digest} ({trial.config.words()})" in message
    assert message.startswith("--trial : 2 trials begin so: ")


def test_only_trials_that_begin_so_are_candidates(small, make_config):
    configs = [make_config(seed=seed) for seed in range(40)]
    run = replace(small.run, trials={config.digest: TrialRecord(config) for config in configs})
    first = configs[0].digest[0]
    alike = [digest for digest in run.trials if digest.startswith(first)]
    assert 1 < len(alike) < 40
    with pytest.raises(UserError) as caught:
        exported.find_trial(run, first.upper())
    listed = [digest for digest in run.trials if f"{digest} (" in str(caught.value)]
    assert listed == alike


def test_no_student_kept(small, export, tmp_path):
    run = copied(small.run, tmp_path)
    digests = list(run.trials)
    for digest in digests:
        (kept,) = student_files(run.trial_folder(run.trials[digest]))
        kept.unlink()
        message = refused(export, run, "--trial", digest)
        assert message.startswith(f"--trial {digest}: its student is not kept")
        left = digests[1] if digest == digests[0] else "none"
        assert "--keep" in message
        assert message.endswith(f"kept: {left}")
    message = refused(export, run)
    assert message.startswith("RUN mine: no student of a trial that ended is kept")
    assert "--keep 5" in message


def cut(path):
    path.write_bytes(path.read_bytes()[:-1])


def of_another_model(path):
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    tensors = load_file(path)
    save_file({**tensors, "more": torch.ones(1)}, path, metadata=metadata)


def of_another_trial(path):
    header = {**read_header(path), "data_digest": "0"}
    save_file(load_file(path), path, metadata={HEADER: json.dumps(header)})


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (cut, "cut short or not a checkpoint"),
        (of_another_model, "of another model"),
        (of_another_trial, "of another data"),
    ],
)
def test_a_damaged_student(spoil, words, small, export, tmp_path):
    run = copied(small.run, tmp_path)
    trial = exported.choose_trial(run, None)
    (file,) = student_files(run.trial_folder(trial))
    spoil(file)
    message = refused(export, run)
    assert message == f"RUN mine: the student {file} is {words}; --trial T exports another"


def test_weights_that_changed_on_disk_are_found_by_the_check(small, export, tmp_path):
    run = copied(small.run, tmp_path)
    trial = exported.choose_trial(run, None)
    (file,) = student_files(run.trial_folder(trial))
    tensors = {n: -t if "classifier" in n else t for n, t in load_file(file).items()}
    save_file(tensors, file, metadata={HEADER: json.dumps(read_header(file))})
    folder, said, _ = export(run, code=1)
    assert "40 of them answered otherwise" in said
    assert "40 of them answered otherwise" in (folder / "README.md").read_text()


def test_a_lost_cache_is_made_again(tokenizer, data_folder, make_config, export, tmp_path):
    teacher = make_teacher("bert", tokenizer, tmp_path / "teacher")
    request = make_request(tmp_path, teacher, data_folder)
    small = make_run(tmp_path, request, [make_config(**LONGER)])
    first, _, _ = export(small.run, out=tmp_path / "first")
    shutil.rmtree(tmp_path / "cache")
    second, said, _ = export(small.run, out=tmp_path / "second")
    assert "is missing or damaged: made again" in said
    files = [(f / "model.safetensors").read_bytes() for f in (first, second)]
    assert files[0] == files[1]
    shutil.rmtree(tmp_path / "cache")
    shutil.rmtree(tmp_path / "teacher")
    _, _, error = export(small.run, code=2, out=tmp_path / "third")
    assert error.count("\n") == 1
    assert not (tmp_path / "third").exists()


def test_sentences_that_are_gone_or_others_are_not_checked(
    tokenizer, data_folder, make_config, export, tmp_path
):
    data = shutil.copytree(data_folder, tmp_path / "data")
    teacher = make_teacher("bert", tokenizer, tmp_path / "teacher")
    small = make_run(tmp_path, make_request(tmp_path, teacher, data), [make_config(**LONGER)])
    (data / "dev.tsv").write_text("sentence\tlabel\nw1 w2\t0\n")
    _, said, _ = export(small.run, out=tmp_path / "others")
    assert "not computed again from this folder: the evaluation sentences are no longer" in said
    shutil.rmtree(data)
    _, said, _ = export(small.run, out=tmp_path / "gone")
    assert "not computed again from this folder" in said
    _, said, _ = export(small.run, "--no-check", out=tmp_path / "asked")
    assert "not computed again from this folder: --no-check was given" in said


def test_an_error_leaves_nothing(small, export, monkeypatch, tmp_path):
    def fail(exported):
        raise OSError("No space left on device")

    monkeypatch.setattr(exported, "model_card", fail)
    _, _, error = export(small.run, "--no-check", code=1)
    assert error == "error: No space left on device\n"
    assert not list(tmp_path.glob("*out*"))


def test_a_trial_under_way_can_be_asked_for(tokenizer, data_folder, make_config, export, tmp_path):
    teacher = make_teacher("bert", tokenizer, tmp_path / "teacher")
    small = make_run(
        tmp_path, make_request(tmp_path, teacher, data_folder), [make_config(**LONGER)]
    )
    (digest,) = small.run.trials
    # As if the process had been killed before the trial's first evaluation was in the record.
    for record in (small.run.folder / "record.jsonl", *small.run.folder.glob("*/record.jsonl")):
        lines = record.read_text().splitlines(keepends=True)
        record.write_text("".join(line for line in lines if '"evaluation"' not in line))
    run = read_run(small.run.folder)
    assert "no student of a trial that ended" in refused(export, run)
    folder, _, _ = export(run, "--trial", digest)
    assert "of a trial that has not ended" in (folder / "README.md").read_text()
    run.append({"event": "failure", "reason": "x", "then": GIVE_UP, "trial": digest})
    export(run, "--trial", digest, out=tmp_path / "failed")


def test_neither_ray_nor_a_network_is_needed(small, repository, tmp_path):
    code = (
        "import sys; from search import export, export_check; export_check.TIMED_SECONDS = 0.01; "
        f"code = export.main([{str(small.run.folder)!r}, {str(tmp_path / 'out')!r}]); "
        "print(code, [m for m in ('ray', 'swanlab') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=repository, capture_output=True, text=True, check=False
    )
    assert done.stdout.splitlines()[-1] == "0 []", done.stderr
