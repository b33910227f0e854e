"""The reference loop, against a step written by hand and against the project's own loss."""

import copy

import numpy as np
import pytest
import torch
from torch.nn import functional

from search.bench_inputs import make_workload
from search.bench_rungs import cached, lengths, live, teacher_outputs
from search.length_tables import LengthTable
from search.live_teacher import LiveTeacherLoop
from tests.conftest import padded_batch, tiny_classifier
from trainable.batches import epoch_batches
from trainable.distillation import Distillation
from trainable.students import build_student
from trainable.vocabulary import dense_split, trim_embedding

TABLE = LengthTable(np.array([0, 0, 0, 2, 1, 1, 3, 1]), 40, "a test")
NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


def make_tiny_workload(config, folder, architecture="bert"):
    teacher = tiny_classifier(architecture, **NO_DROPOUT)
    return make_workload(teacher, config, TABLE, 6, device=torch.device("cpu"), folder=folder)


def by_hand(teacher, student, sentences, labels, config):
    """One loss, sentence by sentence and without padding, by the definition."""
    cross_entropy, kl, hidden, tokens = 0.0, 0.0, 0.0, 0
    for sentence, label in zip(sentences, labels, strict=True):
        ours = student(sentence[None], output_hidden_states=True)
        with torch.no_grad():
            theirs = teacher(sentence[None], output_hidden_states=True)
        cross_entropy = cross_entropy - ours.logits[0].log_softmax(-1)[label]
        p, q = ((out.logits[0] / config.temperature).softmax(-1) for out in (theirs, ours))
        kl = kl + config.temperature**2 * (p * (p / q).log()).sum()
        for layer in (1, 2):
            a, b = ours.hidden_states[layer][0], theirs.hidden_states[2 * layer][0]  # [T, H]
            if config.hidden_pool == "cls":
                a, b = a[:1], b[:1]
            if config.hidden_pool == "mean":
                a, b = a.mean(0, keepdim=True), b.mean(0, keepdim=True)
            a, b = functional.normalize(a, dim=-1), functional.normalize(b, dim=-1)
            hidden = hidden + (a - b).pow(2).mean(-1).sum()
        tokens += len(a)
    teachers = kl / len(labels) + config.hidden_weight * hidden / tokens
    return config.alpha * cross_entropy / len(labels) + (1 - config.alpha) * teachers


@pytest.mark.parametrize("pool", ["cls", "mean", "tokens"])
def test_two_steps_equal_steps_by_hand(make_config, tmp_path, cpu, pool):
    config = make_config(hidden_pool=pool, hidden_weight=10.0, alpha=0.3, gradient_clip=0.05)
    work = make_tiny_workload(config, tmp_path)
    student = build_student(work.teacher, config)
    ours = copy.deepcopy(student)
    loop = LiveTeacherLoop(work.teacher, student, config, work.pad_id, cpu)
    adam = torch.optim.AdamW(ours.parameters(), lr=1e-3, weight_decay=config.weight_decay)
    all_ids = torch.from_numpy(work.split.token_ids.astype(np.int64))
    for rows in (np.arange(8), np.arange(8, 16)):
        bounds = zip(work.split.offsets[rows], work.split.offsets[rows + 1], strict=True)
        sentences = [all_ids[start:end] for start, end in bounds]
        labels = torch.from_numpy(work.split.labels[rows])
        found = loop.step(sentences, labels)
        loss = by_hand(work.teacher, ours, sentences, labels, config)
        assert float(found) == pytest.approx(float(loss.detach()), rel=1e-5)
        adam.zero_grad()
        loss.backward()
        norm = torch.cat([p.grad.flatten() for p in ours.parameters()]).norm()
        assert norm > 0.1  # so that clipping is part of what is compared
        for parameter in ours.parameters():
            parameter.grad *= 0.05 / norm
        adam.step()
    before = dict(build_student(work.teacher, config).named_parameters())
    for (name, a), b in zip(student.named_parameters(), ours.parameters(), strict=True):
        # Adam's first steps have the sign of the slope, so slopes of rounding's size may differ.
        far = (a - b).abs() > 1e-5
        assert far.float().mean() < 0.01, name
        assert not torch.equal(a, before[name]), name


@pytest.mark.parametrize("architecture", ["bert", "deberta-v2"])
@pytest.mark.parametrize("layers", ["1,2", "2", "none"])
@pytest.mark.parametrize("pool", ["cls", "mean", "tokens"])
def test_loss_is_that_of_cached_outputs(make_config, tmp_path, architecture, layers, pool):
    cpu = torch.device("cpu")
    config = make_config(aligned_layers=layers, hidden_pool=pool, hidden_weight=10.0, alpha=0.3)
    work = make_tiny_workload(config, tmp_path, architecture)
    student = build_student(work.teacher, config).eval()
    loop = LiveTeacherLoop(work.teacher, copy.deepcopy(student), config, work.pad_id, cpu)
    rows = np.array([5, 3, 17, 40, 2])
    batch = padded_batch(work.split, rows, work.pad_id, cpu)
    outputs = teacher_outputs(work, work.split)
    distillation = Distillation.build(config, work.teacher.config, outputs, cpu)
    distillation.set_up(config)
    distillation.alpha.fill_(config.alpha)
    with torch.no_grad():
        ours = loop.loss(batch.input_ids, batch.attention_mask, batch.labels)
        theirs = distillation.losses(student, batch)
    assert float(theirs["kl"]) > 1e-4
    assert float(theirs["hidden"]) > 0.01 or layers == "none"
    assert float(ours) == pytest.approx(float(theirs["loss"]), rel=1e-3)  # kept in half precision


def test_live_and_cached_train_on_the_same_batches(make_config, tmp_path):
    work = make_tiny_workload(make_config(), tmp_path)
    a, b = live(work), cached(work)
    assert len(a.batches) == 6
    assert np.array_equal(a.batches, b.batches)
    for index in (3, 0):  # any order; the second after a step, whose weight decay differs
        a.step(index)
        b.step(index)
        assert a.loss() == pytest.approx(b.loss(), rel=1e-3)


def test_lengths_is_cached_with_other_batches_and_fewer_rows(make_config, tmp_path, cpu):
    config = make_config()
    work = make_tiny_workload(config, tmp_path)
    rung = lengths(work)
    expected = epoch_batches(work.split.lengths, 8, config.seed, epoch=0)
    assert np.array_equal(rung.batches, expected)
    student = build_student(work.teacher, config)
    trim_embedding(student, work.in_use)
    split = dense_split(work.split, work.in_use)
    outputs = teacher_outputs(work, split)
    distillation = Distillation.build(config, work.teacher.config, outputs, cpu)
    distillation.set_up(config)
    distillation.alpha.fill_(0.5)
    batch = padded_batch(split, expected[2], work.pad_id, cpu)
    loss = distillation.losses(student.train(), batch)["loss"]
    rung.step(2)
    assert rung.loss() == pytest.approx(float(loss.detach()), rel=1e-5)


@pytest.mark.parametrize("rung", [live, cached, lengths])
def test_every_sentence_trains_once(make_config, tmp_path, rung):
    work = make_tiny_workload(make_config(), tmp_path)
    rows = np.concatenate(rung(work.at_batch_size(16)).batches)
    assert np.array_equal(np.sort(rows), np.arange(48))
    assert [len(batch) for batch in rung(work.at_batch_size(16)).batches] == [16, 16, 16]
