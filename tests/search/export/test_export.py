"""Exported folders: loaded as anyone would, equal to the trial's student, whole or not there."""

import io
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas
import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file, save_file
from sklearn.metrics import f1_score
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

from search.confirm.__main__ import TEST, score_on_test
from search.export import exported_student as exported
from search.export import forms
from search.export.__main__ import main
from search.record.labels import find_trial
from search.record.run import read_run
from search.record.trial_record import TrialRecord
from search.results.statistics import Difference
from tests.conftest import padded_batch, random_sentences
from tests.exports import copied, make_run, make_teacher
from tests.made_runs import evaluated, failed, made_run, right_of, started
from trainable.common.errors import UserError
from trainable.common.files import verified_values, write_manifest
from trainable.config.trial_config import TrialConfig
from trainable.data.tokens import load_split
from trainable.data.vocabulary import dense_split, load_vocabulary
from trainable.engine.calibration import fit_temperature
from trainable.models.model_outputs import run_model
from trainable.serving import timing
from trainable.serving.served_model import ServedModel
from trainable.trial.training_loop import Trial

TRIALS: dict[str, dict[str, float]] = {"teacher_spread": {}, "random": {"ema_decay": 0.7}}
LONGER = {"learning_rate": 3e-3, "evaluations": 4}
SETTINGS = {"alpha": 0.5, "student_layers": 2, "batch_size": 8, "epochs": 1, **LONGER}


@pytest.fixture(autouse=True)
def short_timing(monkeypatch):
    monkeypatch.setattr(exported, "TIMED_SECONDS", 0.02)


def write_pairs(dataset, folder):
    """As a user has them: columns and labels of names of their own, and no file for validation but
    that with a usual name."""
    folder.mkdir()
    for name, split in (("train", dataset.train), ("val", dataset.evaluation)):
        names = [dataset.label_names[label] for label in split.labels]
        first, second = zip(*split.texts, strict=True)
        table = {"question1": first, "question2": second, "labels": names}
        pandas.DataFrame(table).to_csv(folder / f"{name}.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def made(tokenizer, data_folder, pair_teacher, pair_dataset, tmp_path_factory):
    """For an architecture a run of a trial from the teacher; BERT has another, from random weights
    and averaged."""
    runs = {}

    def make(architecture):
        if architecture not in runs:
            folder, data = tmp_path_factory.mktemp(architecture), data_folder
            teacher = make_teacher(
                architecture.removeprefix("pairs-"), tokenizer, folder / "teacher"
            )
            names = TRIALS if architecture == "bert" else ["teacher_spread"]
            configs = [TrialConfig(initialisation=n, **SETTINGS, **TRIALS[n]) for n in names]
            if architecture.startswith("pairs-"):
                teacher, data = pair_teacher, write_pairs(pair_dataset, folder / "data")
            runs[architecture] = make_run(folder, teacher, data, configs)
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
        printed = capsys.readouterr()
        if code:
            assert not (out / "README.md").exists()
            assert not list(out.parent.glob(f".{out.name}.*"))
            assert printed.err.count("\n") == 1
        return out, printed.out, printed.err

    return call


def trial_of(small, initialisation):
    trials = small.run.trials.values()
    return next(trial for trial in trials if trial.config.initialisation == initialisation)


def checkpoint_of(run, trial):
    return run.trial_folder(trial) / "checkpoint_000000"


@torch.no_grad()
def plain_logits(folder, texts):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    parts = (
        [texts] if isinstance(texts[0], str) else [list(part) for part in zip(*texts, strict=True)]
    )
    return model(**tokenizer(*parts, truncation=True, padding=True, return_tensors="pt")).logits


@torch.no_grad()
def trial_logits(small, config):
    """Of the student at the trial's last evaluation, on the dense ids it was scored on."""
    trial = Trial.start(config, small.inputs, torch.device("cpu"))
    trial.student.load_state_dict(small.weights[config.digest], strict=False)
    tokens = Path(small.inputs.tokens)
    split = dense_split(load_split(tokens, "evaluation"), load_vocabulary(tokens))
    batch = padded_batch(split, np.arange(len(split)), small.inputs.pad_id, torch.device("cpu"))
    return run_model(trial.student.eval(), batch, "fp32")[0]


@pytest.mark.parametrize(
    ("architecture", "initialisation"),
    [
        ("bert", "random"),
        *((a, "teacher_spread") for a in ("deberta-v2", "roberta", "electra", "mpnet")),
        ("pairs-bert", "teacher_spread"),
    ],
)
def test_plain_transformers_give_the_logits_and_the_accuracy_of_the_trials_student(
    *, architecture, initialisation, made, export, dataset, pair_dataset
):
    small = made(architecture)
    dataset = pair_dataset if architecture == "pairs-bert" else dataset
    trial = trial_of(small, initialisation)
    folder, printed, _ = export(small.run, "--trial", trial.config.digest)
    logits = plain_logits(folder, dataset.evaluation.texts)
    expected = trial_logits(small, trial.config)
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-6)
    last = trial.evaluations[-1]
    labels = np.array(dataset.evaluation.labels)
    correct = logits.argmax(dim=-1).numpy() == labels
    assert correct.tolist() == right_of(last["predictions"], labels).tolist()
    assert f"{last['score']:.4f} on 40 examples, none of them with another result" in printed
    if architecture == "pairs-bert":
        assert (
            'classify({"text": "some text", "text_pair": "another"}, trunc'
            in (folder / "README.md").read_text()
        )
        classify, pair = pipeline("text-classification", str(folder)), dataset.evaluation.texts[0]
        answer = classify({"text": pair[0], "text_pair": pair[1]}, truncation=True)
        assert answer["label"] == dataset.label_names[int(logits[0].argmax())]


def test_the_best_of_those_kept_is_exported_where_none_is_named(small, export, tmp_path):
    best, other = sorted(small.run.trials.values(), key=lambda trial: -trial.best5)
    assert best.config.digest in export(small.run, "--no-check")[1]
    run = copied(small.run, tmp_path)
    shutil.rmtree(checkpoint_of(run, best))
    assert other.config.digest in export(run, "--no-check", out=tmp_path / "other")[1]
    error = export(run, "--trial", best.config.digest, code=2, out=tmp_path / "third")[2]
    assert "no checkpoint is left; a run keeps its best 5 (--keep)" in error
    shutil.rmtree(checkpoint_of(run, other))
    error = export(run, code=2, out=tmp_path / "third")[2]
    assert "RUN mine: no checkpoint is left" in error


def test_a_run_of_which_no_trial_has_ended_has_nothing_to_export(export, make_config, tmp_path):
    config = make_config()
    run = made_run(tmp_path / "runs" / "mine", [config])
    for event in (started(config), evaluated(config, 1), failed(config, "give up")):
        said = export(run, code=2)[2]
        assert said == "error: RUN mine: no trial has ended yet; there is nothing to export\n"
        run.append(event)
    error = export(run, "--trial", config.digest, code=2)[2]
    assert error.startswith(f"error: --trial {config.digest}: no checkpoint is left; ")


def test_a_trial_is_found_in_each_form_and_an_unknown_or_ambiguous_one_is_not(small):
    for trial in small.run.trials.values():
        path, digest = small.run.trial_folder(trial), trial.config.digest
        for name in (digest, digest[:4], digest[:5].upper(), path.name, path.name[:8], f"{path}/"):
            assert find_trial(small.run, name) is trial
    for name in ("", "abc", "zzzz", "teacher_spread-0123"):
        with pytest.raises(UserError, match=f"--trial {name}: no such trial in mine; .*first 4"):
            find_trial(small.run, name)
    run = read_run(small.run.folder)
    config = trial_of(small, "teacher_spread").config
    for other in (replace(config, seed=seed) for seed in range(1, 7)):
        run.trials[other.digest] = TrialRecord(other)
    with pytest.raises(UserError, match="--trial teacher_spread: matches 7 trials: ") as caught:
        find_trial(run, "teacher_spread")
    assert sum(f"{digest} (" in str(caught.value) for digest in run.trials) == 5


def test_a_folder_with_something_in_it_is_left_alone(small, export, tmp_path):
    (tmp_path / "out").mkdir()
    folder, _, _ = export(small.run, "--no-check")
    names = {path.name for path in folder.iterdir()}
    assert {"README.md", "config.json", "model.safetensors", "tokenizer.json"} <= names
    assert not names & {"manifest.json", "training_state.safetensors"}
    assert len({path.stat().st_mode for path in folder.iterdir()}) == 1
    (folder / "README.md").rename(folder / "notes")
    assert "is not empty; give a new or an empty folder" in export(small.run, code=2)[2]
    assert {path.name for path in folder.iterdir()} == names - {"README.md"} | {"notes"}
    assert (
        "cannot be written to (Not a directory)"
        in export(small.run, code=2, out=folder / "notes")[2]
    )


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
    run = copied(small.run, tmp_path)
    trial, checkpoint, _ = exported.choose_checkpoint(run, None)
    spoil(checkpoint, **changes)
    error = export(run, "--trial", trial.config.digest, code=1)[2]
    assert error.startswith(f"error: RUN mine: the checkpoint is {reason}")


def test_results_may_differ_where_the_arithmetic_does(small, monkeypatch, dataset):
    trial, checkpoint, _ = exported.choose_checkpoint(small.run, None)
    monkeypatch.setattr(exported, "predictions", lambda folder, texts: np.full(40, -1))
    evaluation = trial.evaluations[-1]
    examples = dataset.evaluation
    text = exported.check_folder(checkpoint, small.run, "bf16", evaluation, examples)
    assert "0.0000 on 40 examples, 40 of them with another result" in text


def test_a_lost_cache_is_made_again_and_changed_examples_are_not_scored(
    tokenizer, data_folder, make_config, export, tmp_path
):
    teacher = make_teacher("bert", tokenizer, tmp_path / "teacher")
    data = shutil.copytree(data_folder, tmp_path / "data")
    small = make_run(tmp_path, teacher, data, [make_config(**LONGER)])
    first, _, _ = export(small.run, out=tmp_path / "first")
    shutil.rmtree(tmp_path / "cache")
    second, printed, _ = export(small.run, out=tmp_path / "second")
    assert "is missing or damaged: made again" in printed
    files = [(f / "model.safetensors").read_bytes() for f in (first, second)]
    assert files[0] == files[1]
    (data / "dev.tsv").write_text("sentence\tlabel\nw1 w2\t0\n")
    _, printed, _ = export(small.run, out=tmp_path / "others")
    assert "Not scored again: the validation examples are no longer those of the sweep" in printed


def test_an_error_leaves_nothing(small, export, monkeypatch):
    def fail(*arguments, **facts):
        raise OSError("No space left on device")

    for module, name in ((exported, "model_card"), (shutil, "copyfile")):
        monkeypatch.setattr(module, name, fail)
        assert export(small.run, "--no-check", code=1)[2] == "error: No space left on device\n"


def test_neither_ray_nor_a_network_is_needed(small, printed_by, tmp_path):
    code = (
        "import sys; from search.export.__main__ import main; "
        "from search.export import exported_student; exported_student.TIMED_SECONDS = 0.01; "
        f"code = main([{str(small.run.folder)!r}, {str(tmp_path / 'out')!r}]); "
        "print(code, [m for m in ('ray', 'swanlab') if m in sys.modules])"
    )
    assert printed_by(code)[-1] == "0 []"


def test_onnx_and_int8_are_scored_beside_pytorch_and_timed_beside_the_teacher(
    small, export, dataset, monkeypatch
):
    monkeypatch.setattr(timing, "SECONDS", 0.0)
    folder, printed, _ = export(small.run, "--int8")
    expected = plain_logits(folder, dataset.evaluation.texts)
    accuracy = (expected.argmax(dim=-1).numpy() == dataset.evaluation.labels).mean()
    for form in ("onnx", "onnx-int8"):
        logits = ServedModel.load(folder, form).logits(dataset.evaluation.texts)
        assert np.abs(logits - expected.numpy()).max() < (1e-5 if form == "onnx" else 1.0)
    assert "40 of 40 labels are the same" in " ".join(printed.split())
    lines = [line.split() for line in printed.splitlines()]
    rows = [line for line in lines if line[:1] in (["student"], ["teacher"])]
    assert [" ".join(row[:2]) for row in rows] == [
        *("student pytorch", "student onnx", "student onnx-int8"),
        *("teacher pytorch", "teacher onnx"),
    ]
    assert rows[0][3] == rows[1][3] == f"{accuracy:.4f}"
    card = (folder / "README.md").read_text()
    assert "| student | onnx-int8 | " in card
    assert "--form onnx-int8" in card


@pytest.mark.parametrize(
    ("name", "found", "said"),
    [
        ("quantise_within", None, "int8 is left out"),  # on training examples
        (
            "paired_difference",
            Difference(-0.1, -0.12, -0.08),
            "on validation it clearly loses more than 0.5",
        ),
    ],
)
def test_an_int8_form_that_loses_too_much_is_left_out_with_exit_code_1(
    *, small, tmp_path, capsys, monkeypatch, name, found, said
):
    monkeypatch.setattr(forms, "_costs", lambda *arguments: {})
    monkeypatch.setattr(forms, name, lambda *arguments: found)
    out = tmp_path / "out"
    assert main([str(small.run.folder), str(out), "--int8", "--no-check"]) == 1
    assert said in " ".join(capsys.readouterr().out.split())
    assert [path.name for path in (out / "onnx").iterdir()] == ["model.onnx"]


def test_a_latency_limit_is_compared_with_what_the_export_measures(small):
    request = replace(small.run.request, max_latency=3.0, runtime="onnx-int8")
    costs = {("student", "onnx-int8"): (18, timing.Timing(2.91, 3.2, 400))}
    kept = "--max-latency 3ms in onnx-int8 is kept: 2.91 ms."
    assert forms.limit_kept(request, costs) == [kept]
    slower = {("student", "onnx-int8"): (18, timing.Timing(3.05, 3.2, 400))}
    assert forms.limit_kept(request, slower) == [kept.replace("kept: 2.91", "exceeded: 3.05")]
    assert forms.limit_kept(small.run.request, costs) == []
    assert forms.limit_kept(replace(request, runtime="pytorch"), costs) == []


def test_the_temperature_is_in_the_exported_folder(small, export, dataset):
    folder, printed, _ = export(small.run)
    logits = plain_logits(folder, dataset.evaluation.texts).numpy()
    temperature = fit_temperature(logits, np.array(dataset.evaluation.labels))
    assert ServedModel.load(folder).temperature == pytest.approx(temperature, rel=1e-3)
    assert "expected calibration error on the validation examples" in printed


def test_a_pipeline_of_an_exported_regression_gives_its_output_as_it_is(
    tokenizer, make_config, export, tmp_path
):
    """Also from a teacher whose configuration does not say what it is."""
    teacher = make_teacher("bert", tokenizer, tmp_path / "teacher", num_labels=1)
    (data := tmp_path / "data").mkdir()
    for seed, name in enumerate(("train", "dev")):
        made = random_sentences(40, seed=seed)
        lines = [f"{t}\t{label * 2.5}" for t, label in zip(made.texts, made.labels, strict=True)]
        (data / f"{name}.tsv").write_text("\n".join(["sentence\tscore", *lines]) + "\n")
    small = make_run(tmp_path, teacher, data, [make_config(**LONGER)])
    folder, _, _ = export(small.run)
    answer = pipeline("text-classification", str(folder))("w1 w2 w3 w4")[0]["score"]
    assert answer == pytest.approx(plain_logits(folder, ["w1 w2 w3 w4"]).item(), rel=1e-4)


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
    invocation = SimpleNamespace(console=Console(file=shown, width=300))
    assert score_on_test(run.folder, 0, invocation) == 0
    return shown.getvalue()


def test_the_test_split_is_scored_once_by_export_and_confirm_with_the_teacher_beside(
    tokenizer, data_folder, make_config, export, tmp_path
):
    """As plain transformers score it; nothing before the export says a word of it."""
    teacher = make_teacher("bert", tokenizer, tmp_path / "teacher")
    data, test = shutil.copytree(data_folder, tmp_path / "data"), random_sentences(30, seed=9)
    centre_logits(teacher, test.texts)
    rows = [f"{text}\t{label}" for text, label in zip(test.texts, test.labels, strict=True)]
    (data / "test.tsv").write_text("\n".join(["sentence\tlabel", *rows]) + "\n")
    config = make_config(initialisation="teacher_spread", student_layers=4, learning_rate=1e-3)
    small = make_run(tmp_path, teacher, data, [config], metric="f1")
    folder, printed, _ = export(small.run)
    folders = (folder, tmp_path / "teacher")
    answers = [plain_logits(path, test.texts).argmax(dim=-1) for path in folders]
    assert [set(own.tolist()) for own in answers] == [{0, 1}] * 2  # or no mistake would show
    scores = [f1_score(test.labels, own) for own in answers]
    assert scores[0] != scores[1]
    assert f"Test F1: {scores[0]:.4f} (95% interval" in printed
    assert f"of the teacher {scores[1]:.4f}, less the teacher" in printed
    card = (folder / "README.md").read_text()
    assert card.index("on the test split") < card.index("(no selection)")
    said = f"Test F1: {scores[0]:.4f} (95% interval"
    weights = checkpoint_of(small.run, trial_of(small, "teacher_spread")) / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert "Test: not scored: the checkpoint is " in confirmed(small.run)
    weights.write_bytes(whole)
    assert said in confirmed(small.run)
    (data / "test.tsv").write_text("\n".join(["sentence\tlabel", *rows[:20]]) + "\n")
    shutil.rmtree(tmp_path / "cache")
    assert said in confirmed(small.run)  # not scored again
    (small.run.folder / TEST).unlink()
    assert "the test examples are no longer those of the run" in confirmed(small.run)
    _, printed, _ = export(small.run, out=tmp_path / "others")
    assert "Test: not scored, its examples are no longer those of the sweep." in printed
    assert "Test F1" not in printed
