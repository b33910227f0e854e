"""Batches made on the device, by hand and against the tokenizer's own padding."""

from dataclasses import fields

import numpy as np
import pytest
import torch

from tests.conftest import padded_batch
from trainable.data.examples import Examples

CPU = torch.device("cpu")


def test_one_batch_by_hand(split):
    """Wider than it need be; a token of the second example equals the padding."""
    batch = Examples(split, 0, CPU).batch(torch.tensor([2, 4, 1]), width=4)
    assert batch.input_ids.tolist() == [[5, 6, 0, 0], [0, 11, 0, 0], [4, 0, 0, 0]]
    assert batch.attention_mask.tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [1, 0, 0, 0]]
    assert batch.token_types.tolist() == [[0, 1, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0]]
    assert batch.positions.tolist() == [[4, 5, 0, 0], [10, 11, 0, 0], [3, 0, 0, 0]]
    assert batch.labels.tolist() == [0, 2, 0]
    assert batch.rows.tolist() == [2, 4, 1]
    assert batch.weights.tolist() == pytest.approx([1 / 3] * 3)
    torch.testing.assert_close(batch.token_weights, batch.attention_mask / 5)
    tensors = (batch.input_ids, batch.attention_mask, batch.labels)
    assert {tensor.dtype for tensor in tensors} == {torch.int64}


def test_picked_examples_are_the_same_under_other_numbers(split):
    every, chosen = Examples(split, 0, CPU), np.array([4, 2])
    picked = every.pick(chosen)
    assert (len(picked), len(every), picked.longest(np.array([1]))) == (2, 5, 2)
    found = picked.batch(torch.tensor([0, 1, 0]), width=4)
    expected = every.batch(torch.tensor([4, 2, 4]), width=4)
    for name in {field.name for field in fields(found)} - {"rows", "offset"}:
        assert torch.equal(getattr(found, name), getattr(expected, name))


def test_parts_make_up_the_batch(split):
    for most, sizes in ((2, [2, 2, 1]), (4, [4, 1]), (1, [1] * 5), (5, [5]), (None, [5])):
        batch = padded_batch(split, np.array([3, 0, 4, 2, 1]), pad_id=0, device=CPU)
        parts = batch.parts(most)
        assert [len(part.rows) for part in parts] == sizes
        for name in [field.name for field in fields(batch) if field.name != "offset"]:
            joined = torch.cat([getattr(part, name) for part in parts])
            assert torch.equal(joined, getattr(batch, name))
        assert [part.offset for part in parts] == [sum(sizes[:i]) for i in range(len(sizes))]


def test_what_fills_a_batch_up_has_no_weight(split):
    rows = torch.tensor([3, 0, 4, 3, 0])
    batch = Examples(split, 0, CPU).batch(rows, 4, count=torch.tensor(3.0))
    assert batch.weights.tolist() == pytest.approx([1 / 3] * 3 + [0.0, 0.0])
    expected = [[1 / 9] * 4, [1 / 9] * 3 + [0.0], [1 / 9] * 2 + [0.0] * 2, [0.0] * 4, [0.0] * 4]
    assert batch.token_weights.tolist() == [pytest.approx(row) for row in expected]
    assert batch.attention_mask.sum(dim=1).tolist() == [4, 3, 2, 4, 3]  # the model sees examples
