"""Batches made on the device, by hand and against the tokenizer's own padding."""

from dataclasses import fields

import numpy as np
import pytest
import torch

from tests.conftest import padded_batch, tokens_of
from trainable.sentences import Sentences
from trainable.tokens import tokenise

CPU = torch.device("cpu")


def test_one_batch_by_hand(split):
    batch = padded_batch(split, np.array([2, 0, 1]), pad_id=99, device=CPU)
    assert batch.input_ids.tolist() == [[5, 6, 99], [1, 2, 3], [4, 99, 99]]
    assert batch.attention_mask.tolist() == [[1, 1, 0], [1, 1, 1], [1, 0, 0]]
    assert batch.labels.tolist() == [0, 1, 0]
    assert batch.rows.tolist() == [2, 0, 1]
    tensors = (batch.input_ids, batch.attention_mask, batch.labels)
    assert {tensor.dtype for tensor in tensors} == {torch.int64}


@pytest.mark.parametrize("rows", [[4], [1], [4, 3], [0, 1, 2, 3, 4], [3, 3, 0]])
def test_a_batch_less_its_padding_is_the_sentences(split, rows):
    batch = padded_batch(split, np.array(rows), pad_id=0, device=CPU)
    real = [
        ids[mask == 1].tolist()
        for ids, mask in zip(batch.input_ids, batch.attention_mask, strict=True)
    ]
    assert real == [tokens_of(split, row) for row in rows]
    assert batch.input_ids.shape[1] == max(len(ids) for ids in real)
    assert batch.input_ids[batch.attention_mask == 0].eq(0).all()


def test_a_real_token_that_equals_the_padding_stays_real(split):
    batch = padded_batch(split, np.array([4]), pad_id=0, device=CPU)
    assert batch.attention_mask.tolist() == [[1, 1]]


def test_a_batch_agrees_with_the_tokenizers_own_padding(bert):
    texts = ["a tiny, tender film", "dull", "I would watch it again and again !"]
    split = tokenise(bert, texts, [1, 0, 1], max_length=8)
    batch = padded_batch(split, np.arange(3), bert.pad_token_id, CPU)
    expected = bert(texts, truncation=True, max_length=8, padding="longest", return_tensors="pt")
    assert torch.equal(batch.input_ids, expected["input_ids"])
    assert torch.equal(batch.attention_mask, expected["attention_mask"])


def test_wider_than_the_longest(split):
    sentences = Sentences.on_device(split, 99, CPU)
    batch = sentences.batch(torch.tensor([1, 3]), width=6)
    assert batch.input_ids.tolist() == [[4, 99, 99, 99, 99, 99], [7, 8, 9, 10, 99, 99]]
    assert batch.attention_mask.sum(dim=1).tolist() == [1, 4]
    assert batch.positions.tolist() == [[3, 0, 0, 0, 0, 0], [6, 7, 8, 9, 0, 0]]


def test_positions_are_those_of_the_tokens(split):
    batch = padded_batch(split, np.arange(5), pad_id=99, device=CPU)
    real = batch.attention_mask.bool()
    assert batch.positions[real].tolist() == list(range(12))
    assert split.token_ids[batch.positions[real]].tolist() == batch.input_ids[real].tolist()


def test_lengths(split):
    sentences = Sentences.on_device(split, 0, CPU)
    assert len(sentences) == 5
    assert sentences.longest(np.array([1, 2])) == 2
    assert sentences.device == CPU


@pytest.mark.parametrize(
    ("most", "sizes"), [(2, [2, 2, 1]), (3, [3, 2]), (4, [4, 1]), (1, [1] * 5)]
)
def test_parts_make_up_the_batch(split, most, sizes):
    batch = padded_batch(split, np.array([3, 0, 4, 2, 1]), pad_id=0, device=CPU)
    parts = batch.parts(most)
    assert [len(part.rows) for part in parts] == sizes
    for name in [field.name for field in fields(batch) if field.name != "offset"]:
        joined = torch.cat([getattr(part, name) for part in parts])
        assert torch.equal(joined, getattr(batch, name))
    assert [part.offset for part in parts] == [sum(sizes[:i]) for i in range(len(sizes))]


@pytest.mark.parametrize("most", [None, 5, 8])
def test_a_batch_that_is_small_enough_stays_whole(split, most):
    batch = padded_batch(split, np.arange(5), pad_id=0, device=CPU)
    [whole] = batch.parts(most)
    assert whole is batch


@pytest.mark.parametrize("count", [None, 5, torch.tensor(5.0)])
def test_sentences_and_tokens_have_equal_weights(split, count):
    rows = torch.tensor([3, 0, 4, 2, 1])
    batch = Sentences.on_device(split, 0, CPU).batch(rows, 4, count)
    assert batch.weights.tolist() == pytest.approx([0.2] * 5)
    real = batch.attention_mask.bool()
    assert batch.token_weights[real].tolist() == pytest.approx([1 / 12] * 12)
    assert batch.token_weights[~real].abs().sum() == 0


def test_what_fills_a_batch_up_has_no_weight(split):
    rows = torch.tensor([3, 0, 4, 3, 0])
    batch = Sentences.on_device(split, 0, CPU).batch(rows, 4, count=torch.tensor(3.0))
    assert batch.weights.tolist() == pytest.approx([1 / 3] * 3 + [0.0, 0.0])
    expected = [[1 / 9] * 4, [1 / 9] * 3 + [0.0], [1 / 9] * 2 + [0.0] * 2, [0.0] * 4, [0.0] * 4]
    assert batch.token_weights.tolist() == [pytest.approx(row) for row in expected]
    assert batch.attention_mask.sum(dim=1).tolist() == [4, 3, 2, 4, 3]  # the model sees sentences
