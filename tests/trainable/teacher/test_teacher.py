"""Teachers: fine-tuned once, found again by digest, refused where they don't fit."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from filelock import FileLock
from transformers import XLMRobertaConfig, XLMRobertaForSequenceClassification

from tests.conftest import ARCHITECTURES, SIZES, tiny_classifier, user_error
from tests.made_runs import right_of
from trainable.common.errors import UserError
from trainable.config.training_inputs import Teacher
from trainable.config.trial_config import TeacherSettings
from trainable.data.sources import Sources
from trainable.engine.devices import Runtime
from trainable.engine.metrics import pack_predictions
from trainable.teacher import fine_tuning
from trainable.teacher import teacher as module
from trainable.teacher.teacher import (
    digest_model,
    labels_by_place,
    load_base,
    load_teacher,
    refuse_weak_teacher,
)
from trainable.trial.preparation import Preparation, prepare_inputs


@pytest.fixture
def lines():
    return []


@pytest.fixture
def own_runtime(tmp_path, lines):
    """With a cache of the test's own; what is logged is in `lines`."""
    return Runtime(tmp_path / "cache", torch.device("cpu"), "fp32", lines.append)


def test_fine_tuned_once_and_better_than_guessing(
    dataset, options, tokenizer, own_runtime, lines, tmp_path, monkeypatch
):
    monkeypatch.setattr(fine_tuning, "SAVE_SECONDS", 0.0)
    encoder = tmp_path / "encoder"
    tiny_classifier("bert", num_hidden_layers=2).bert.save_pretrained(encoder)
    tokenizer.save_pretrained(encoder)
    settings = TeacherSettings(learning_rate=1e-3, epochs=25, batch_size=8)
    loaded = Sources(dataset, (96, 40), str(encoder), settings, max_length=32)
    first = prepare_inputs(Preparation.load(loaded), {"cls": ()}, own_runtime, options)
    assert any("Fine-tuning" in line for line in lines)
    assert not list((tmp_path / "cache" / "teachers").glob("*.state"))
    assert first.teacher.fine_tuned_here
    assert first.teacher.score > 0.7  # the more frequent label alone gives 0.6
    kept = load_teacher(first.teacher.folder)
    assert kept.get_input_embeddings().weight.shape[0] == 205  # not only the tokens in use
    assert kept.config.id2label == {0: "even", 1: "odd"}

    lines.clear()
    assert prepare_inputs(Preparation.load(loaded), {"cls": ()}, own_runtime, options) == first
    assert lines == []

    short = replace(settings, seed=1, epochs=1)
    other = replace(loaded, teacher_settings=short)
    second = prepare_inputs(Preparation.load(other), {"cls": ()}, own_runtime, options)
    assert second.teacher.digest != first.teacher.digest

    def folder(**changes):
        other = replace(loaded, teacher_settings=replace(short, **changes))
        return prepare_inputs(Preparation.load(other), {}, own_runtime, options).teacher.folder

    folders = [second.teacher.folder, folder(patience=4), folder(evaluations_per_epoch=1)]
    monkeypatch.setattr(module, "FORMAT", module.FORMAT + 1)
    assert len({*folders, folder()}) == 4


def test_a_teacher_that_another_run_makes_is_waited_for(loaded, options, own_runtime, tmp_path):
    """And is then that of both; of one that is complete no lock is taken."""
    own = own_runtime
    first = prepare_inputs(Preparation.load(loaded), {}, own, options)
    folder, lines = Path(first.teacher.folder), []
    lock, elsewhere = FileLock(f"{folder}.lock"), tmp_path / "elsewhere"
    with lock:
        assert prepare_inputs(Preparation.load(loaded), {}, own, options) == first
    folder.rename(elsewhere)
    (elsewhere / "theirs").touch()
    lock.acquire()

    def finish(line):
        lines.append(line)
        elsewhere.rename(folder)
        lock.release()

    waiting = replace(own, log=finish)
    assert prepare_inputs(Preparation.load(loaded), {}, waiting, options) == first
    assert lines == ["Another run is making the same teacher; waiting for it ..."]
    assert (folder / "theirs").exists()  # and not made once more


def test_a_cache_without_locks_has_teachers_too(loaded, options, own_runtime, monkeypatch):
    failing = Mock(side_effect=NotImplementedError("FileSystem does not appear to support flock"))
    monkeypatch.setattr(FileLock, "acquire", failing)
    found = prepare_inputs(Preparation.load(loaded), {}, own_runtime, options)
    assert (Path(found.teacher.folder) / "manifest.json").exists()


def test_scores_on_the_sample_and_on_the_whole(sampled_loaded, sampled_inputs, tokenizer):
    """Sentence by sentence, from the texts."""
    teacher, dataset = sampled_inputs.teacher, sampled_loaded.dataset
    model = load_teacher(teacher.folder)
    for split, found, bits in (
        (dataset.evaluation, teacher.score, teacher.predictions),
        (dataset.full, teacher.full_score, teacher.full_predictions),
    ):
        correct = []
        for text, label in zip(split.texts, split.labels, strict=True):
            ids = tokenizer(text, truncation=True, max_length=16, return_tensors="pt")["input_ids"]
            with torch.no_grad():
                correct.append(int(model(ids).logits.argmax()) == label)
        assert found == np.mean(correct)
        assert np.array_equal(right_of(bits, split.labels), correct)
    assert sampled_inputs.describe_teacher() == (
        f"{teacher.score:.4f} on the validation subset of 13, {teacher.full_score:.4f} on all 40"
    )


def test_fitted_teacher_is_used_as_it_is(inputs, teacher_folder):
    assert not inputs.teacher.fine_tuned_here
    assert (inputs.teacher.full_score, inputs.teacher.full_predictions) == (None, None)
    mine, its = load_teacher(inputs.teacher.folder).state_dict(), tiny_classifier().state_dict()
    assert all(torch.equal(mine[name], its[name]) for name in its)


@pytest.mark.parametrize("architecture", ["bert", "deberta-v2", "roberta"])
def test_a_head_with_our_labels_in_another_order_has_them_in_ours(tmp_path, architecture):
    original = tiny_classifier(architecture, id2label={0: "no", 1: "Maybe", 2: "yes"})
    original.save_pretrained(tmp_path)
    model, fitted, _ = load_base("--teacher", str(tmp_path), ["maybe", "yes", "no"], seed=0)
    assert fitted
    assert model.config.id2label == {0: "maybe", 1: "yes", 2: "no"}
    ids = torch.tensor([[5, 6, 7, 8]])
    torch.testing.assert_close(model.eval()(ids).logits, original(ids).logits[:, [1, 2, 0]])


@pytest.mark.parametrize(
    ("its", "ours", "pairs"),
    [
        (["Entailment", "other"], ["no", "yes"], "Entailment as no, other as yes."),
        (["LABEL_0", "LABEL_1"], ["negative", "positive"], "LABEL_0 as negative, LABEL_1 as posit"),
        (["LABEL_0", "LABEL_1"], ["0", "1"], None),
        (["Yes", "no"], ["no", "yes"], None),
        (["score"], [], None),
    ],
)
def test_labels_of_other_names_are_taken_by_place_with_a_line(tmp_path, its, ours, pairs):
    ARCHITECTURES["bert"].__class__(id2label=dict(enumerate(its))).save_pretrained(tmp_path)
    start = f"--teacher {tmp_path}: other label names than yours, so taken by place: {pairs}"
    assert labels_by_place(str(tmp_path), ours).startswith(start if pairs else "")
    assert bool(labels_by_place(str(tmp_path), ours)) == bool(pairs)


def test_a_head_that_stands_before_its_encoder_is_found(tmp_path):
    """As XLM-RoBERTa's does, with as many labels as other layers have outputs; and labels are in
    the order of their numbers, not of the file."""
    config = XLMRobertaConfig(**SIZES, bos_token_id=2, eos_token_id=3)
    names = [f"label {number}" for number in range(config.hidden_size)]
    config.id2label = dict(enumerate(names))
    torch.manual_seed(0)
    original = XLMRobertaForSequenceClassification(config).eval()
    original.save_pretrained(tmp_path)
    path, ids = tmp_path / "config.json", torch.tensor([[5, 6, 7, 8]])
    values = json.loads(path.read_text())
    values["id2label"] = {str(n): names[n] for n in sorted(range(len(names)), key=str)}
    path.write_text(json.dumps(values))
    for ours in (names, names[::-1]):
        model, _, _ = load_base("--teacher", str(tmp_path), ours, seed=0)
        columns = [names.index(name) for name in ours]
        torch.testing.assert_close(model.eval()(ids).logits, original(ids).logits[:, columns])


def test_a_head_for_other_labels_is_refused(tmp_path):
    tiny_classifier(id2label={0: "Positive", 1: "Negative"}).half().save_pretrained(tmp_path)
    with pytest.raises(UserError, match="its head has 2 labels, the dataset 3"):
        load_base("--teacher", str(tmp_path), ["a", "b", "c"], seed=0)
    model, fitted, _ = load_base("--teacher", str(tmp_path), ["positive", "negative"], seed=0)
    assert fitted
    assert {p.dtype for p in model.parameters()} == {torch.float32}


@pytest.mark.parametrize("share", [0.0, 0.5, None])
def test_damaged_weights_are_refused_in_one_line(tmp_path, share):
    tiny_classifier().save_pretrained(tmp_path)
    weights = tmp_path / "model.safetensors"
    whole = weights.read_bytes()
    weights.unlink()
    if share is not None:
        weights.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(UserError, match=r"--teacher .*: no usable model; .+$"):
        load_base("--teacher", str(tmp_path), ["a", "b"], seed=0)


def test_digest_depends_on_weights_and_configuration():
    others = ({}, {}, {"seed": 1}, {"hidden_dropout_prob": 0.3})
    assert len({digest_model(tiny_classifier(**changes)) for changes in others}) == 3


@pytest.mark.parametrize(
    ("metric", "labels", "constant", "named"),
    [
        ("accuracy", [0, 1, 1, 0, 1], 0.6, "accuracy"),
        ("accuracy", [2, 0, 2, 1, 1, 2, 2], 4 / 7, "accuracy"),
        ("accuracy", [1] * 3, 1.0, "accuracy"),
        ("f1", [0, 1, 1, 0, 1], 0.75, "F1"),
        ("f1", [0, 0, 1, 0, 1], 0.0, "F1"),
        ("mcc", [0, 1, 1, 0, 1], 0.0, "MCC"),
        ("spearman", [0.5, 1.5], 0.0, "Spearman correlation"),
    ],
)
def test_a_teacher_must_be_better_than_a_constant_by_the_metric(metric, labels, constant, named):
    always, given = "same number" if metric == "spearman" else "most frequent", np.array(labels)
    bits = pack_predictions(given, 0) if metric == "spearman" else ""
    teacher = Teacher("", "", False, constant + 1e-9, bits, 1.0)
    refuse_weak_teacher(teacher, given, metric)
    for weak in (constant, constant - 0.05):
        said = user_error(refuse_weak_teacher, replace(teacher, score=weak), given, metric)
        start = f"--teacher: {named} {weak:.4f} is no better than always predicting the {always}"
        assert said.startswith(start)
        order = "its labels may be in another order than yours; " * (metric != "spearman")
        assert f"({constant:.4f}); {order}give a better teacher" in said
        tuned = replace(teacher, score=weak, fine_tuned_here=True)
        assert user_error(refuse_weak_teacher, tuned, given, metric) == said.replace(order, "")


def test_a_regression_teacher_has_the_scale_of_the_labels():
    """Correlations can't see another one, but students would learn a mixture of both."""
    labels = np.linspace(0.0, 5.0, 50)
    for outputs, right in ((labels / 5, False), (8 * labels / 5 - 4, False), (labels + 1.0, True)):
        packed = pack_predictions(outputs, 0)
        teacher = Teacher("", "", False, 1.0, packed, 1.0)
        if right:
            refuse_weak_teacher(teacher, labels, "pearson")
            continue
        said = user_error(refuse_weak_teacher, teacher, labels, "pearson")
        ends = f"{outputs.min():.3g} to {outputs.max():.3g}"
        assert said.startswith(f"--teacher: its outputs, {ends}, are on another scale than the")
        refuse_weak_teacher(replace(teacher, fine_tuned_here=True), labels, "pearson")


def test_a_teacher_that_guesses_must_be_allowed(loaded, sampled_loaded, options, own_runtime):
    """The tiny teacher of these tests has random weights; what counts is what trials look at."""
    strict = replace(options, allow_weak_teacher=False)
    for given in (loaded, loaded, sampled_loaded):  # the second time it is in the cache
        counts = Counter(given.dataset.evaluation.labels)
        majority = f"{max(counts.values()) / counts.total():.4f}"
        with pytest.raises(UserError, match=rf"--teacher: .* no better .* label \({majority}\)"):
            prepare_inputs(Preparation.load(given), {}, own_runtime, strict)
        prepared = prepare_inputs(Preparation.load(given), {}, own_runtime, options)
        assert prepared.teacher.score <= float(majority)
