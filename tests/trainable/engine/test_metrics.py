"""The score by hand, and the bits that come back as they were packed."""

import json

import numpy as np
import pytest

from trainable.engine.metrics import (
    best5_accuracy,
    best5_indices,
    is_one_label,
    pack_bits,
    unpack_bits,
)


@pytest.mark.parametrize(
    ("correct", "found"),
    [("0110", True), ("1001", True), ("1101", False), ("0100", False), ("0000", False)],
)
def test_one_label_is_where_exactly_its_examples_are_right(correct, found):
    right = np.array([bit == "1" for bit in correct])
    assert is_one_label(right, np.array([0, 1, 1, 0])) == found


def test_there_is_no_score_before_the_first_evaluation():
    with pytest.raises(ValueError, match="no evaluation yet"):
        best5_accuracy([])


@pytest.mark.parametrize(
    ("accuracies", "score", "indices"),
    [
        ([0.5], 0.5, [0]),
        ([0.5, 0.75], 0.625, [0, 1]),
        ([0.8, 0.6, 0.7, 0.9, 0.5], 0.7, [0, 1, 2, 3, 4]),
        ([0.1, 0.8, 0.6, 0.7, 0.9, 0.5], 0.7, [1, 2, 3, 4, 5]),
        ([1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0], 1.0, [0, 2, 4, 6, 8]),
        ([0.9] * 4 + [0.4] * 8, 0.8, [0, 1, 2, 3, 4]),
        ([0.4, 0.5, 0.4, 0.5, 0.4, 0.5], 0.46, [0, 1, 2, 3, 5]),
    ],
)
def test_score_and_the_evaluations_it_averages_of_equal_ones_the_earlier(
    accuracies, score, indices
):
    assert best5_accuracy(accuracies) == pytest.approx(score)
    assert best5_indices(accuracies) == indices


@pytest.mark.parametrize("count", [1, 7, 8, 9, 872])
def test_bits_come_back_as_they_were_packed(count):
    correct = np.random.default_rng(count).random(count) < 0.7
    unpacked = unpack_bits(json.loads(json.dumps(pack_bits(correct))), count)
    assert unpacked.dtype == bool
    np.testing.assert_array_equal(unpacked, correct)


def test_eight_examples_take_a_byte():
    assert pack_bits(np.array([True] + 7 * [False] + [True])) == "gIA="  # bytes 0x80 0x80
