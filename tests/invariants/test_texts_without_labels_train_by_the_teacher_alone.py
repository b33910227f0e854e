"""`--transfer`: texts that the teacher labels, trained on beside the labelled examples."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.conftest import random_sentences
from tests.invariants.test_same_seed_same_run import numbers
from trainable.common.errors import UserError
from trainable.config.trial_config import TrialConfig
from trainable.data.batches import epoch_batches, mixed_batches, remaining_batches, steps_per_epoch
from trainable.data.datasets import Dataset, LabelledTexts, with_transfer
from trainable.data.sources import load_sources
from trainable.data.tokens import load_split
from trainable.teacher.teacher import load_teacher
from trainable.trial.preparation import Preparation, prepare_inputs
from trainable.trial.training_loop import Trial

LENGTHS = np.random.default_rng(0).integers(3, 30, size=230)  # 150 labelled, 80 without labels
MIXED = {"labelled": 150, "share": 0.4}  # 60 of the 80 in each epoch


@pytest.fixture(scope="module")
def transferred(loaded, runtime, options):
    """The shared inputs with 64 more texts."""
    dataset, _ = with_transfer(loaded.dataset, random_sentences(64, seed=9).texts)
    preparation = Preparation.load(replace(loaded, dataset=dataset))
    return prepare_inputs(preparation, {"cls": (), "tokens": ()}, runtime, options)


@pytest.mark.parametrize("epoch", [0, 5])
def test_an_epoch_has_each_labelled_example_once_and_a_draw_of_the_others(epoch):
    batches = mixed_batches(LENGTHS, 16, 7, epoch, **MIXED)
    assert len(batches) == steps_per_epoch(150, 16, 0.4) == 10 + 4
    kinds = [{bool(row >= 150) for row in rows} for rows in batches]
    assert all(len(kind) == 1 for kind in kinds)  # alpha is one number for a batch
    rows = np.concatenate(batches)
    assert sorted(rows[rows < 150]) == list(range(150))
    others = rows[rows >= 150]
    assert len(others) == len(set(others)) == 60
    assert {True} in kinds[:7]
    assert {True} in kinds[7:]  # among the labelled ones, not behind them


def test_more_than_there_are_come_again_and_each_epoch_draws_anew():
    every = {"labelled": 150, "share": 1.0}
    drawn = [np.concatenate(mixed_batches(LENGTHS, 16, 7, epoch, **every)) for epoch in (0, 1)]
    counts = [np.bincount(rows, minlength=230)[150:] for rows in drawn]
    assert all(set(count) == {1, 2} and count.sum() == 150 for count in counts)
    assert not np.array_equal(*counts)


def test_without_a_share_the_batches_are_those_of_the_labelled_examples():
    alone = epoch_batches(LENGTHS[:150], 16, 7, 2)
    mixed = mixed_batches(LENGTHS, 16, 7, 2, labelled=150, share=0.0)
    assert all(np.array_equal(*pair) for pair in zip(alone, mixed, strict=True))


def test_a_resumed_trial_finds_its_place():
    total = 3 * steps_per_epoch(150, 16, 0.4)
    whole = list(remaining_batches(LENGTHS, 16, 7, 0, total, **MIXED))
    assert len(whole) == total
    for step in (1, 13, 14, 30):
        rest = remaining_batches(LENGTHS, 16, 7, step, total, **MIXED)
        assert all(np.array_equal(*pair) for pair in zip(whole[step:], rest, strict=True))


def test_the_teacher_is_the_one_of_the_labelled_examples_and_labels_the_others(
    transferred, inputs, cpu
):
    assert transferred.teacher == inputs.teacher
    assert transferred.examples == {**inputs.examples, "transfer": 64}
    logits = np.load(Path(transferred.outputs["logits"]) / "values.npy")
    labelled = np.load(Path(inputs.outputs["logits"]) / "values.npy")
    np.testing.assert_allclose(logits[:96], labelled, atol=1e-6)
    split = load_split(Path(transferred.tokens), "transfer")
    teacher = load_teacher(Path(inputs.teacher.folder))
    for row in (0, 40, 63):
        ids = torch.from_numpy(split.token_ids[slice(*split.offsets[row : row + 2])]).long()
        with torch.no_grad():
            own = teacher(ids[None]).logits[0].numpy()
        np.testing.assert_allclose(logits[96 + row], own, atol=1e-5)


@pytest.mark.parametrize("pool", [None, "cls", "tokens"])
def test_alpha_is_0_on_them(transferred, make_config, cpu, pool):
    """A step on such a batch is one towards the teacher, whatever the schedule has reached."""
    aligned = {} if pool else {"aligned_layers": "none"}
    config = make_config(alpha=0.9, transfer_share=1.0, hidden_pool=pool or "cls", **aligned)
    trial, seen = Trial.start(config, transferred, cpu), []
    losses = trial.setup.step.losses

    def watched(model, batch):
        found = losses(model, batch)
        alpha = float(trial.setup.distillation.alpha)
        teacher = sum(float(found[name].detach()) for name in ("kl", "hidden", "relations"))
        expected = alpha * float(found["cross_entropy"].detach()) + (1 - alpha) * teacher
        assert float(found["loss"].detach()) == pytest.approx(expected, rel=1e-5)
        seen.append((bool((batch.rows >= 96).all()), round(alpha, 6)))
        return found

    trial.setup.step.losses = watched
    evaluations = [(e.alpha, seen[-1][1]) for e in trial.run()]
    assert set(seen) == {(True, 0.0), (False, 0.9)}
    assert len(seen) == trial.total_steps == 12 + 12
    assert len(evaluations) == 3
    assert all(recorded == pytest.approx(used) for recorded, used in evaluations)


def test_the_share_decides_unless_cross_entropy_alone_is_trained_on(transferred, make_config, cpu):
    def train(share, **changes):
        config = make_config(transfer_share=share, **changes)
        return config.recipe, numbers(Trial.start(config, transferred, cpu).run())

    runs = [train(share)[1] for share in (0.0, 0.5, 2.0)]
    assert runs[0] != runs[1] != runs[2] != runs[0]
    plain = {"alpha": 1.0, "aligned_layers": "none"}
    assert train(2.0, **plain) == train(0.0, **plain)


def test_empty_texts_and_near_duplicates_of_validation_examples_are_left_out_and_counted():
    validation = LabelledTexts(["It works!", "so-so"], [0, 1])
    dataset = Dataset(LabelledTexts(["x", "y"], [0, 1]), validation, ["a", "b"])
    texts = ["it WORKS", "So so.", "it works not", "new", "", "new", " ", "it  works"]
    found, left_out = with_transfer(dataset, texts)
    assert (found.transfer.texts, left_out) == (["it works not", "new"], 5)
    assert found.digest != dataset.digest
    tested, left_out = with_transfer(replace(dataset, test=found.transfer), texts)
    assert (tested.transfer.texts, left_out) == ([], 8)


def test_of_pairs_both_texts_must_be_those_of_a_validation_example(pair_dataset):
    first, second = pair_dataset.evaluation.texts[:2]
    pairs = [(first[0].upper(), f"{first[1]}!"), first[::-1], (first[0], second[1]), (first[0], "")]
    found, left_out = with_transfer(pair_dataset, pairs)
    assert (found.transfer.texts, left_out) == (pairs[1:3], 2)


def test_texts_come_from_a_file_and_rest_is_what_a_preset_leaves_aside(
    options, data_folder, dataset, tmp_path
):
    file = tmp_path / "texts.csv"
    given = replace(options, dataset=str(data_folder), max_train_samples=60, max_eval_samples=20)
    known = load_sources(given).dataset.evaluation.texts[0]
    file.write_text("text\n" + "\n".join(["one more", "another", known.upper()]))
    found = load_sources(replace(given, transfer=str(file)))
    assert found.dataset.transfer.texts == ["one more", "another"]
    assert found.left_out == 1
    rest = load_sources(replace(given, transfer="rest")).dataset
    assert len(rest.transfer) == 36
    assert set(rest.transfer.texts) | set(rest.train.texts) == set(dataset.train.texts)
    assert set(rest.transfer.texts).isdisjoint(rest.train.texts)


def test_made_texts_go_with_others_and_leave_validation_examples_out(
    options, data_folder, dataset, tmp_path
):
    file = tmp_path / "texts,more.csv"  # its comma divides nothing
    file.write_text("text\none more\n")
    given = replace(options, dataset=str(data_folder), max_train_samples=60)
    alone, rest, both, own = (
        load_sources(replace(given, transfer=text)).dataset
        for text in ("augment", "rest", "rest, augment", str(file))
    )
    made = set(alone.transfer.texts)
    assert len(made) == 4 * 60
    assert both.transfer.texts == [*rest.transfer.texts, *alone.transfer.texts]
    assert own.transfer.texts == ["one more"]
    assert alone.digest == load_sources(replace(given, transfer="augment")).dataset.digest
    fewer = load_sources(replace(given, transfer="augment", augmentation=(("share", 2.5),)))
    assert len(fewer.dataset.transfer) == 150

    known = alone.transfer.texts[7]  # a validation example that a crop would be, but for a comma
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "train.tsv").write_text((data_folder / "train.tsv").read_text())
    (folder / "dev.tsv").write_text(f"sentence\tlabel\n{known.upper()} ,\t0\nbad\t1\n")
    found = load_sources(replace(given, dataset=str(folder), transfer="augment"))
    assert (set(found.dataset.transfer.texts), found.left_out) == (made - {known}, 1)


@pytest.mark.parametrize(
    ("transfer", "augmentation", "share"),
    [
        ("none", {}, None),
        ("rest", {}, 1.0),
        ("augment", {}, 4.0),
        ("rest,augment", {"share": 3}, 3.0),
    ],
)
def test_the_share_where_none_is_given(options, transfer, augmentation, share):
    """And with `none` there are no such texts."""
    given = replace(options, transfer=transfer, augmentation=augmentation)
    assert given.constants.get("transfer_share") == share
    assert bool(given.transfer_sources) == (share is not None)


@pytest.mark.parametrize("transfer", [None, "rest"])
def test_settings_of_made_texts_need_them(options, data_folder, transfer):
    given = replace(options, dataset=str(data_folder), transfer=transfer, augmentation={"drop": 0})
    with pytest.raises(UserError, match=r"^--augment: has no effect without --transfer augment"):
        load_sources(given)


@pytest.mark.parametrize(
    ("content", "refused"),
    [("label\n1\n", "has columns label; it needs sentence, text, rev"), ("text\n", "it is empty")],
)
def test_a_file_that_has_none_is_named_by_its_flag(
    options, data_folder, tmp_path, content, refused
):
    file = tmp_path / "texts.csv"
    file.write_text(content)
    given = replace(options, dataset=str(data_folder), transfer=str(file))
    with pytest.raises(UserError, match=rf"^--transfer {file}: {refused}"):
        load_sources(given)


def test_a_share_without_texts_is_refused(inputs, make_config):
    config = {"alpha": 0.5, "transfer_share": 1.0, "student_layers": 2}
    with pytest.raises(UserError, match="--transfer"):
        inputs.config(config)
    assert inputs.config({**config, "alpha": 1.0}).transfer == 0.0
    assert TrialConfig(**config, seed=0).label().endswith("transfer 1")
