"""Batches: each row exactly once, of similar length, in an order of seed and epoch alone."""

import numpy as np
import pytest

from trainable.common.errors import UserError
from trainable.data.batches import (
    POOL_BATCHES,
    batches_by_length,
    epoch_batches,
    evaluation_steps,
    padded_width,
    steps_per_epoch,
)

SIZES = [(1, 1), (1, 32), (31, 32), (32, 32), (33, 32), (1000, 7), (5000, 32)]


def example_lengths(examples):
    return np.random.default_rng(0).integers(3, 64, examples)


def padded_tokens(lengths, batches):
    return sum(len(rows) * lengths[rows].max() for rows in batches)


@pytest.mark.parametrize("epoch", [0, 1])
@pytest.mark.parametrize(("examples", "batch_size"), SIZES)
def test_an_epoch_has_each_row_once_in_full_batches(examples, batch_size, epoch):
    batches = epoch_batches(example_lengths(examples), batch_size, seed=3, epoch=epoch)
    assert sorted(np.concatenate(batches).tolist()) == list(range(examples))
    full, rest = divmod(examples, batch_size)
    sizes = sorted(len(rows) for rows in batches)
    assert sizes == ([rest] if rest else []) + [batch_size] * full
    assert len(batches) == steps_per_epoch(examples, batch_size)


def test_seed_and_epoch_alone_decide_the_order():
    lengths, pairs = example_lengths(500), [(0, 0), (0, 1), (1, 0), (1, 1)]
    orders = [str(epoch_batches(lengths, 8, *pair)) for pair in pairs]
    np.random.seed(99)
    assert orders == [str(epoch_batches(lengths, 8, *pair)) for pair in pairs]
    assert len(set(orders)) == 4


def test_batches_are_composed_anew_each_epoch():
    epochs = [epoch_batches(example_lengths(2000), 8, 0, epoch) for epoch in (0, 1)]
    first, second = ({frozenset(rows.tolist()) for rows in batches} for batches in epochs)
    assert not first & second


def test_examples_of_one_batch_are_alike_in_length():
    lengths = example_lengths(5000)
    tokens = lengths.sum()
    by_length = padded_tokens(lengths, epoch_batches(lengths, 32, 0, 0))
    random = np.array_split(np.random.default_rng(0).permutation(5000), 157)
    assert padded_tokens(lengths, random) > 1.7 * tokens
    assert by_length < 1.05 * tokens


def test_batches_do_not_come_in_order_of_length():
    lengths = np.arange(POOL_BATCHES * 4)  # a single pool
    tops = [lengths[rows].max() for rows in epoch_batches(lengths, 4, 0, 0)]
    correlation = np.corrcoef(tops, np.arange(len(tops)))[0, 1]
    assert abs(correlation) < 0.5


def test_evaluation_has_each_row_once_from_short_to_long():
    for examples, batch_size in SIZES:
        lengths = example_lengths(examples)
        batches = batches_by_length(lengths, batch_size)
        rows = np.concatenate(batches)
        assert sorted(rows.tolist()) == list(range(examples))
        assert lengths[rows].tolist() == sorted(lengths.tolist())
        assert max(len(batch) for batch in batches) <= batch_size
        assert len(batches) == steps_per_epoch(examples, batch_size)


def test_evaluation_steps_by_hand():
    by_hand = {(100, 4): [25, 50, 75, 100], (10, 3): [3, 6, 10], (5, 5): [1, 2, 3, 4, 5]}
    assert {case: evaluation_steps(*case) for case in by_hand} == by_hand
    with pytest.raises(UserError, match="6 are more than the trial's 5 steps"):
        evaluation_steps(5, 6)


def test_padded_width():
    widths = {1: 8, 8: 8, 9: 12, 33: 48, 64: 64, 65: 96, 512: 512, 513: 1024, 1025: 1536}
    assert {longest: padded_width(longest) for longest in widths} == widths
