"""Teachers: fine-tuned once, found again by digest, refused where they don't fit."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.conftest import tiny_classifier, user_error
from tests.made_runs import right_of
from trainable.common.errors import UserError
from trainable.config.training_inputs import Teacher
from trainable.config.trial_config import TeacherSettings
from trainable.data.sources import Sources
from trainable.engine.devices import Runtime
from trainable.teacher import fine_tuning
from trainable.teacher import teacher as module
from trainable.teacher.teacher import digest_model, load_base, load_teacher, refuse_weak_teacher
from trainable.trial.preparation import Preparation, prepare_inputs


@pytest.fixture
def bare_encoder(tmp_path, tokenizer):
    """A pretrained encoder without a classification head, on disk."""
    folder = tmp_path / "encoder"
    tiny_classifier("bert").bert.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def lines_and_runtime(tmp_path):
    lines = []
    return lines, Runtime(tmp_path / "cache", torch.device("cpu"), "fp32", lines.append)


def test_fine_tuned_once_and_better_than_guessing(
    bare_encoder, dataset, options, tmp_path, monkeypatch
):
    monkeypatch.setattr(fine_tuning, "SAVE_SECONDS", 0.0)
    settings = TeacherSettings(learning_rate=1e-3, epochs=25, batch_size=8)
    loaded = Sources(dataset, (96, 40), str(bare_encoder), settings, max_length=32)
    lines, runtime = lines_and_runtime(tmp_path)
    first = prepare_inputs(Preparation.load(loaded), {"cls": ()}, runtime, options)
    assert any("Fine-tuning" in line for line in lines)
    assert not list((tmp_path / "cache" / "teachers").glob("*.state"))
    assert first.teacher.fine_tuned_here
    assert first.teacher.score > 0.7  # the more frequent label alone gives 0.6
    kept = load_teacher(first.teacher.folder)
    assert kept.get_input_embeddings().weight.shape[0] == 205  # not only the tokens in use
    assert kept.config.id2label == {0: "even", 1: "odd"}

    lines.clear()
    assert prepare_inputs(Preparation.load(loaded), {"cls": ()}, runtime, options) == first
    assert lines == []

    short = replace(settings, seed=1, epochs=1)
    other = replace(loaded, teacher_settings=short)
    second = prepare_inputs(Preparation.load(other), {"cls": ()}, runtime, options)
    assert second.teacher.digest != first.teacher.digest

    for changed in (replace(short, patience=4), replace(short, evaluations_per_epoch=1)):
        other = replace(loaded, teacher_settings=changed)
        third = prepare_inputs(Preparation.load(other), {}, runtime, options)
        assert third.teacher.folder != second.teacher.folder
    monkeypatch.setattr(module, "FORMAT", module.FORMAT + 1)
    other = replace(loaded, teacher_settings=short)
    anew = prepare_inputs(Preparation.load(other), {}, runtime, options)
    assert anew.teacher.folder != second.teacher.folder


def test_a_teacher_is_scored_on_the_sample_and_on_the_whole(
    sampled_loaded, sampled_inputs, tokenizer
):
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
    digests = {
        digest_model(model)
        for model in (
            tiny_classifier(),
            tiny_classifier(),
            tiny_classifier(seed=1),
            tiny_classifier(hidden_dropout_prob=0.3),
        )
    }
    assert len(digests) == 3


@pytest.mark.parametrize(
    ("labels", "share"), [([0, 1, 1, 0, 1], 0.6), ([2, 0, 2, 1, 1, 2, 2], 4 / 7), ([1] * 3, 1.0)]
)
def test_a_teacher_must_be_better_than_the_most_frequent_label(labels, share):
    teacher = Teacher("", "", False, share, "", 1.0)
    assert user_error(refuse_weak_teacher, teacher, np.array(labels)) == (
        f"--teacher: accuracy {share:.4f} is no better than always predicting the most frequent "
        f"label ({share:.4f}); give a better teacher or more training data, or "
        "--allow-weak-teacher"
    )
    refuse_weak_teacher(replace(teacher, score=share + 1e-9), np.array(labels))


@pytest.mark.parametrize(
    ("metric", "labels", "constant", "named"),
    [
        ("f1", [0, 1, 1, 0, 1], 0.75, "F1 0.7000 is no better than always predicting the most "),
        ("f1", [0, 0, 1, 0, 1], 0.0, "F1 -0.0500 is no better than always predicting the most "),
        ("mcc", [0, 1, 1, 0, 1], 0.0, "MCC -0.0500 is no better than always predicting the most "),
        ("spearman", [0.5, 1.5], 0.0, "Spearman correlation -0.0500 is no better than always "),
    ],
)
def test_a_weak_teacher_is_one_that_a_constant_equals_by_the_metric(
    metric, labels, constant, named
):
    teacher = Teacher("", "", False, constant - 0.05, "", 1.0)
    labels = np.array(labels)
    line = user_error(refuse_weak_teacher, teacher, labels, metric)
    assert line.startswith(f"--teacher: {named}")
    assert f"({constant:.4f})" in line
    refuse_weak_teacher(replace(teacher, score=constant + 1e-9), labels, metric)


def test_a_teacher_that_guesses_is_refused_unless_it_is_allowed(
    *, loaded, sampled_loaded, options, tmp_path
):
    """The tiny teacher of these tests has random weights; what counts is what trials look at."""
    _, runtime = lines_and_runtime(tmp_path)
    strict = replace(options, allow_weak_teacher=False)
    for given in (loaded, loaded, sampled_loaded):  # the second time it is in the cache
        counts = Counter(given.dataset.evaluation.labels)
        majority = f"{max(counts.values()) / counts.total():.4f}"
        with pytest.raises(UserError, match=rf"--teacher: .* no better .* label \({majority}\)"):
            prepare_inputs(Preparation.load(given), {}, runtime, strict)
        prepared = prepare_inputs(Preparation.load(given), {}, runtime, options)
        assert prepared.teacher.score <= float(majority)
