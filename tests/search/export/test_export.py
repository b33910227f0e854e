"""Exported folders: loaded as anyone would, equal to the trial's student, whole or not there."""

import io
import json
import shutil
from dataclasses import replace
from functools import cache
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pandas
import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file, save_file
from sklearn.metrics import f1_score
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

from search.export import exported_student as exported
from search.export import forms
from search.export.__main__ import main
from search.record.labels import find_trial
from search.results.statistics import Difference
from search.students.on_test_split import TEST, score_on_test
from tests.conftest import (
    ARCHITECTURES,
    make_pair_teacher,
    make_teacher,
    random_sentences,
    user_error,
    write_tsv,
)
from tests.exports import copied, make_run
from tests.made_runs import asked, evaluated, failed, made_run, right_of, started
from trainable.common.files import verified_values, write_manifest
from trainable.config.trial_config import TrialConfig
from trainable.data.datasets import LabelledTexts
from trainable.engine.calibration import fit_temperature
from trainable.serving import timing
from trainable.serving.served_model import ServedModel

SETTINGS = {"alpha": 0.5, "student_layers": 2, "batch_size": 8, "epochs": 1}
SETTINGS |= {"learning_rate": 3e-3, "evaluations": 4}
SPREAD = TrialConfig(initialisation="teacher_spread", **SETTINGS)
RANDOM = TrialConfig(initialisation="random", ema_decay=0.7, **SETTINGS)


@pytest.fixture(autouse=True)
def short_timing(monkeypatch):
    monkeypatch.setattr(exported, "TIMED_SECONDS", 0.02)


def write_pairs(dataset, folder):
    """As a user has them: columns and labels of names of their own, and no file for validation but
    that with a usual name."""
    folder.mkdir()
    for name, split in (("train", dataset.train), ("val", dataset.evaluation)):
        table = pandas.DataFrame(split.texts, columns=["question1", "question2"])
        table["labels"] = [dataset.label_names[label] for label in split.labels]
        table.to_csv(folder / f"{name}.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def made(tokenizer, data_folder, pair_teacher, pair_dataset, tmp_path_factory):
    """For an architecture a run of a trial from the teacher; BERT has another, from random weights
    and averaged."""

    @cache
    def make(architecture):
        folder = tmp_path_factory.mktemp(architecture)
        if architecture.startswith("pairs-"):
            teacher, none = pair_teacher, {"type_vocab_size": 1}  # whatever its tokenizer gives
            if architecture == "pairs-roberta":
                teacher = make_pair_teacher("roberta", tokenizer, folder / "teacher", **none)
            return make_run(folder, teacher, write_pairs(pair_dataset, folder / "data"), [SPREAD])
        teacher = make_teacher(architecture, tokenizer, folder / "teacher")
        configs = [SPREAD, RANDOM] if architecture == "bert" else [SPREAD]
        return make_run(folder, teacher, data_folder, configs)

    return make


@pytest.fixture
def small(made):
    return made("bert")


@pytest.fixture
def export(tmp_path, capsys):
    """Runs the command; returns the folder, what it printed, and its error."""

    def call(run, *more, code=0, out=tmp_path / "out"):
        assert main([str(run.folder), str(out), *more]) == code
        printed = capsys.readouterr()
        if code:
            assert not (out / "README.md").exists()
            assert not list(out.parent.glob(f".{out.name}.*"))
            assert printed.err.count("\n") == 1
        return out, printed.out, printed.err

    return call


def checkpoint_of(run, config):
    return run.folder / config.folder_name / "checkpoint_000000"


@torch.no_grad()
def plain_logits(folder, texts):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    parts = [texts] if isinstance(texts[0], str) else map(list, zip(*texts, strict=True))
    return model(**tokenizer(*parts, truncation=True, padding=True, return_tensors="pt")).logits


@pytest.mark.parametrize(
    ("architecture", "config"),
    [
        ("bert", RANDOM),
        *((name, SPREAD) for name in ("deberta-v2", "mpnet", "pairs-bert", "pairs-roberta")),
    ],
)
def test_plain_transformers_give_the_answers_and_the_accuracy_of_the_trials_student(
    *, architecture, config, made, export, dataset, pair_dataset
):
    """`test_checkpoint` has the weights, and other architectures."""
    run, pairs = made(architecture), architecture.startswith("pairs-")
    split = (pair_dataset if pairs else dataset).evaluation
    folder, printed, _ = export(run, "--trial", config.digest)
    logits, labels = plain_logits(folder, split.texts), np.array(split.labels)
    last = run.trials[config.digest].evaluations[-1]
    correct = logits.argmax(dim=-1).numpy() == labels
    assert correct.tolist() == right_of(last["predictions"], labels).tolist()
    assert f"{last['score']:.4f} on 40 examples, none of them with another result" in printed
    column = json.loads((folder / "config.json").read_text())["text_column"]
    assert column == ("question1,question2" if pairs else "sentence")
    if pairs:
        card = (folder / "README.md").read_text()
        assert 'classify({"text": "some text", "text_pair": "another"}, trunc' in card
        classify, pair = pipeline("text-classification", str(folder)), split.texts[0]
        answer = classify({"text": pair[0], "text_pair": pair[1]}, truncation=True)
        assert answer["label"] == pair_dataset.label_names[int(logits[0].argmax())]


def test_the_best_of_those_kept_is_exported_where_none_is_named(small, export, tmp_path):
    trials = sorted(small.trials.values(), key=lambda trial: -trial.best5)
    best, other = (trial.config for trial in trials)
    assert best.digest in export(small, "--no-check")[1]
    run = copied(small, tmp_path)
    shutil.rmtree(checkpoint_of(run, best))
    assert other.digest in export(run, "--no-check", out=tmp_path / "other")[1]
    error = export(run, "--trial", best.digest, code=2, out=tmp_path / "third")[2]
    assert "no checkpoint is left; a run keeps its best 5 (--keep), but none of a" in error
    shutil.rmtree(checkpoint_of(run, other))
    error = export(run, code=2, out=tmp_path / "third")[2]
    assert "RUN mine: no checkpoint is left" in error


def test_a_run_of_which_no_trial_has_ended_has_nothing_to_export(export, tmp_path):
    run = made_run(tmp_path / "runs" / "mine", [SPREAD])
    for event in (started(SPREAD), evaluated(SPREAD, 1), failed(SPREAD, "give up")):
        said = export(run, code=2)[2]
        assert said == "error: RUN mine: no trial has ended yet; there is nothing to export\n"
        run.append(event)
    error = export(run, "--trial", SPREAD.digest, code=2)[2]
    assert error.startswith(f"error: --trial {SPREAD.digest}: no checkpoint is left; ")


def test_a_trial_is_found_in_each_form_and_an_unknown_or_ambiguous_one_is_not(tmp_path):
    run = made_run(tmp_path / "mine", [SPREAD, RANDOM])
    for trial in run.trials.values():
        path, digest = run.trial_folder(trial), trial.config.digest
        for name in (digest, digest[:4], digest[:5].upper(), path.name, path.name[:8], f"{path}/"):
            assert find_trial(run, name) is trial
    for name in ("", "abc", "zzzz", "teacher_spread-0123"):
        said = user_error(find_trial, run, name)
        assert said.startswith(f"--trial {name}: no such trial in mine; ")
        assert "first 4" in said
    run.replan({}, [replace(SPREAD, seed=seed) for seed in range(1, 7)])
    said = user_error(find_trial, run, "teacher_spread")
    assert said.startswith("--trial teacher_spread: matches 7 trials: ")
    assert sum(f"{digest} (" in said for digest in run.trials) == 5


def test_a_folder_with_something_in_it_is_left_alone(small, export, tmp_path):
    (tmp_path / "out").mkdir()
    folder, _, _ = export(small, "--no-check")
    names = {path.name for path in folder.iterdir()}
    assert {"README.md", "config.json", "model.safetensors", "tokenizer.json"} <= names
    assert not names & {"manifest.json", "training_state.safetensors"}
    assert len({path.stat().st_mode for path in folder.iterdir()}) == 1
    (folder / "README.md").rename(folder / "notes")
    assert "is not empty; give a new or an empty folder" in export(small, code=2)[2]
    assert {path.name for path in folder.iterdir()} == names - {"README.md"} | {"notes"}
    error = export(small, code=2, out=folder / "notes")[2]
    assert "cannot be written to (Not a directory)" in error


def test_an_empty_folder_that_cannot_be_replaced_is_refused_at_once(
    small, export, tmp_path, monkeypatch
):
    """As a mount point, or one in a folder that may not be written to."""
    (out := tmp_path / "out").mkdir()
    monkeypatch.setattr(Path, "rename", Mock(side_effect=OSError(16, "Device or resource busy")))
    monkeypatch.setattr(exported, "export_student", started := Mock())
    said = f"error: OUT {out}: give a new folder within it; [Errno 16] Device or resource busy\n"
    assert export(small, code=2)[2] == said
    assert not started.called
    assert [*out.parent.iterdir()] == [out]


def spoil(checkpoint, *, weights=False, manifest=True, **changes):
    """Changes weights on disk, or values of the manifest, which is in order unless said."""
    values, path = verified_values(checkpoint), checkpoint / "model.safetensors"
    if weights:
        tensors = {n: -t if "classifier" in n else t for n, t in load_file(path).items()}
        save_file(tensors, path, metadata={"format": "pt"})
    if manifest:
        write_manifest(checkpoint, {**values, **changes})


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"weights": True, "manifest": False}, "missing or damaged"),
        ({"data_digest": "0"}, "of another data"),
        ({"step": 5}, "of step 5, which was not evaluated: resume"),
        ({"weights": True}, "not what was evaluated: 40 of 40 examples have another result now"),
    ],
)
def test_a_checkpoint_that_is_not_what_was_evaluated(changes, reason, small, export, tmp_path):
    run = copied(small, tmp_path)
    trial, checkpoint, _ = exported.choose_checkpoint(run, None)
    spoil(checkpoint, **changes)
    error = export(run, "--trial", trial.config.digest, code=1)[2]
    assert error.startswith(f"error: RUN mine: the checkpoint is {reason}")


def test_results_may_differ_where_the_arithmetic_does(small, monkeypatch, dataset):
    trial, checkpoint, _ = exported.choose_checkpoint(small, None)
    monkeypatch.setattr(exported, "predictions", lambda folder, texts: np.full(40, -1))
    last = trial.evaluations[-1], dataset.evaluation
    text = exported.check_folder(checkpoint, small, "bf16", *last)
    assert "0.0000 on 40 examples, 40 of them with another result" in text


def test_an_error_leaves_nothing(small, export, monkeypatch):
    for module, name in ((exported, "model_card"), (shutil, "copyfile")):
        monkeypatch.setattr(module, name, Mock(side_effect=OSError("No space left on device")))
        assert export(small, "--no-check", code=1)[2] == "error: No space left on device\n"


def test_neither_ray_nor_a_network_is_needed(small, printed_by, tmp_path):
    code = (
        "import sys; from search.export.__main__ import main; "
        "from search.export import exported_student; exported_student.TIMED_SECONDS = 0.01; "
        f"code = main([{str(small.folder)!r}, {str(tmp_path / 'out')!r}]); "
        "print(code, [m for m in ('ray', 'swanlab') if m in sys.modules])"
    )
    assert printed_by(code)[-1] == "0 []"


def test_onnx_and_int8_are_scored_beside_pytorch_and_timed_beside_the_teacher(
    small, export, dataset, monkeypatch
):
    monkeypatch.setattr(timing, "SECONDS", 0.0)
    folder, printed, _ = export(small, "--int8")
    texts, labels = dataset.evaluation.texts, np.array(dataset.evaluation.labels)
    expected = plain_logits(folder, texts).numpy()
    for form, most in (("onnx", 1e-5), ("onnx-int8", 1.0)):
        assert np.abs(ServedModel.load(folder, form).logits(texts) - expected).max() < most
    assert "40 of 40 labels are the same" in " ".join(printed.split())
    lines = [line.split() for line in printed.splitlines()]
    rows = [line for line in lines if line[:1] in (["student"], ["teacher"])]
    assert [" ".join(row[:2]) for row in rows] == [
        *("student pytorch", "student onnx", "student onnx-int8"),
        *("teacher pytorch", "teacher onnx"),
    ]
    assert rows[0][3] == rows[1][3] == f"{(expected.argmax(axis=1) == labels).mean():.4f}"
    card = (folder / "README.md").read_text()
    assert "| student | onnx-int8 | " in card
    assert "--form onnx-int8" in card
    assert "expected calibration error on the validation examples" in printed


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_calibration_divides_the_logits_that_anyone_gets_by_the_temperature(
    architecture, tokenizer, dataset, tmp_path
):
    folder = make_teacher(architecture, tokenizer, tmp_path / "model")
    texts = dataset.evaluation.texts
    before = plain_logits(folder, texts).numpy()
    labels = before.argmax(axis=1)
    labels[:4] = 1 - labels[:4]
    said = exported.calibrate(folder, LabelledTexts(texts, labels.tolist()))
    temperature = fit_temperature(before, labels)
    assert abs(np.log(temperature)) > 0.1
    divided = before / temperature
    np.testing.assert_allclose(plain_logits(folder, texts), divided, rtol=1e-5, atol=1e-6)
    assert f"last layer was divided by {temperature:.4g};" in said


def test_weights_are_left_as_they_are_where_no_temperature_is_significantly_likelier(
    teacher_folder, dataset, tmp_path
):
    folder = Path(shutil.copytree(teacher_folder, tmp_path / "model"))
    texts = dataset.evaluation.texts
    right = exported.predictions(folder, texts).tolist()
    said = exported.calibrate(folder, LabelledTexts(texts, right))
    assert said.startswith("Calibration: no temperature makes")
    weights = (teacher_folder / "model.safetensors").read_bytes()
    assert (folder / "model.safetensors").read_bytes() == weights


LOSES = Difference(-0.1, -0.12, -0.08)


@pytest.mark.parametrize(
    ("name", "found", "said"),
    [
        ("quantise_within", None, "int8 is left out"),  # on training examples
        ("paired_difference", LOSES, "on validation it clearly loses more than 0.5"),
    ],
)
def test_an_int8_form_that_loses_too_much_is_left_out_with_exit_code_1(
    *, small, tmp_path, capsys, monkeypatch, name, found, said
):
    monkeypatch.setattr(forms, "_costs", lambda *arguments: {})
    monkeypatch.setattr(forms, name, lambda *arguments: found)
    out = tmp_path / "out"
    assert main([str(small.folder), str(out), "--int8", "--no-check"]) == 1
    assert said in " ".join(capsys.readouterr().out.split())
    assert [path.name for path in (out / "onnx").iterdir()] == ["model.onnx"]


@pytest.mark.parametrize("flag", ["--onnx", "--int8"])
def test_a_form_that_lacks_its_packages_is_refused_by_the_flag_that_was_given(
    small, tmp_path, capsys, monkeypatch, flag
):
    monkeypatch.setattr("trainable.serving.onnx_export.find_spec", lambda package: None)
    assert main([str(small.folder), str(tmp_path / "out"), flag]) == 2
    assert f"error: {flag}: onnx" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_latency_limit_is_compared_with_what_the_export_measures():
    request = asked(max_latency=3.0, runtime="onnx-int8")
    for milliseconds, verdict in ((2.91, "kept"), (3.05, "exceeded")):
        costs = {("student", "onnx-int8"): (18, timing.Timing(milliseconds, 3.2, 400))}
        said = f"--max-latency 3ms in onnx-int8 is {verdict}: {milliseconds} ms."
        assert forms.limit_kept(request, costs) == [said]
        assert forms.limit_kept(replace(request, max_latency=None), costs) == []
        assert forms.limit_kept(replace(request, runtime="pytorch"), costs) == []


def test_a_run_that_is_not_complete_may_come_to_recommend_another(
    tokenizer, data_folder, export, tmp_path
):
    teacher, said = make_teacher("bert", tokenizer, tmp_path / "teacher"), "is not complete"
    run = make_run(tmp_path, teacher, data_folder, [SPREAD])
    assert said not in export(run, "--no-check")[1]
    run.replan({}, [RANDOM])
    assert said in export(run, "--no-check", out=tmp_path / "open")[1]
    named = ("--trial", SPREAD.digest)  # not recommended, but asked for
    assert said not in export(run, "--no-check", *named, out=tmp_path / "named")[1]


@pytest.mark.parametrize("own", [{"num_labels": 1}, {"problem_type": "multi_label_classification"}])
def test_a_pipeline_gives_an_output_as_it_is_or_a_softmax_whatever_the_teacher_says_it_is(
    tokenizer, export, tmp_path, own
):
    """A teacher may not say that it is of a regression, or was made for something else."""
    teacher = make_teacher("bert", tokenizer, tmp_path / "teacher", **own)
    (data := tmp_path / "data").mkdir()
    for seed, name in enumerate(("train", "dev")):
        texts = random_sentences(40, seed=seed)
        scale = 2.5 if "num_labels" in own else 1
        labels = [label * scale for label in texts.labels]
        write_tsv(data / f"{name}.tsv", LabelledTexts(texts.texts, labels))
    folder, _, _ = export(make_run(tmp_path, teacher, data, [SPREAD]))
    answers = pipeline("text-classification", str(folder))("w1 w2 w3 w4", top_k=None)
    found = [answer["score"] for answer in sorted(answers, key=lambda answer: answer["label"])]
    logits = plain_logits(folder, ["w1 w2 w3 w4"])[0]
    expected = logits if len(logits) == 1 else logits.softmax(dim=-1)
    assert found == pytest.approx(expected.tolist(), rel=1e-4)


@torch.no_grad()
def centre_logits(folder, texts):
    """Half of these texts get each of the labels from then on."""
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    logits = plain_logits(folder, texts)
    model.classifier.bias[1] -= (logits[:, 1] - logits[:, 0]).median()
    model.save_pretrained(folder)


def confirmed(run):
    """What `search.confirm` says of the test split at its end."""
    shown = io.StringIO()
    console = Console(file=shown, width=300)
    assert score_on_test(run.folder, 0, console) == 0
    return shown.getvalue()


def test_the_test_split_is_scored_once_by_export_and_confirm_with_the_teacher_beside(
    tokenizer, data_folder, make_config, export, tmp_path
):
    """As plain transformers score it; nothing before the export says a word of it. A lost cache is
    made again, changed examples are not scored."""
    teacher = make_teacher("bert", tokenizer, tmp_path / "teacher")
    data, test = shutil.copytree(data_folder, tmp_path / "data"), random_sentences(30, seed=9)
    centre_logits(teacher, test.texts)
    write_tsv(data / "test.tsv", test)
    config = make_config(initialisation="teacher_spread", student_layers=4, learning_rate=1e-3)
    run = make_run(tmp_path, teacher, data, [config], metric="f1")
    folder, printed, _ = export(run)
    answers = [plain_logits(path, test.texts).argmax(dim=-1) for path in (folder, teacher)]
    assert [set(own.tolist()) for own in answers] == [{0, 1}] * 2  # or no mistake would show
    scores = [f1_score(test.labels, own) for own in answers]
    assert scores[0] != scores[1]
    said = f"Test F1: {scores[0]:.4f} (95% interval"
    assert said in printed
    assert f"of the teacher {scores[1]:.4f}, less the teacher" in printed
    card = (folder / "README.md").read_text()
    assert card.index("on the test split") < card.index("(no selection)")
    weights = checkpoint_of(run, config) / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert "Test: not scored: the checkpoint is " in confirmed(run)
    weights.write_bytes(whole)
    assert said in confirmed(run)
    write_tsv(data / "test.tsv", LabelledTexts(test.texts[:20], test.labels[:20]))
    shutil.rmtree(tmp_path / "cache")
    assert said in confirmed(run)  # not scored again
    again, printed, _ = export(run, out=tmp_path / "again")
    assert "is missing or damaged: made again" in printed
    assert (again / weights.name).read_bytes() == (folder / weights.name).read_bytes()
    assert "Test: not scored, its examples are no longer those of the sweep." in printed
    assert "Test F1" not in printed
    (run.folder / TEST).unlink()
    assert "the test examples are no longer those of the run" in confirmed(run)
    write_tsv(data / "dev.tsv", LabelledTexts(["w1 w2", "w3"], [0, 1]))
    _, printed, _ = export(run, out=tmp_path / "others")
    assert "Not scored again: the validation examples are no longer those of the sweep" in printed
