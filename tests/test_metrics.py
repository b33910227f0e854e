"""The score by hand, and the bits that come back as they were packed."""

import json

import numpy as np
import pytest

from trainable.metrics import best5_accuracy, best5_indices, pack_bits, unpack_bits


@pytest.mark.parametrize(
    ("accuracies", "score"),
    [
        ([0.5], 0.5),
        ([0.5, 0.75], 0.625),
        ([0.8, 0.6, 0.7, 0.9, 0.5], 0.7),
        ([0.1, 0.8, 0.6, 0.7, 0.9, 0.5], 0.7),
        ([1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0], 1.0),
        ([0.9] * 4 + [0.4] * 8, 0.8),
    ],
)
def test_best5_accuracy_by_hand(accuracies, score):
    assert best5_accuracy(accuracies) == pytest.approx(score)


def test_there_is_no_score_before_the_first_evaluation():
    with pytest.raises(ValueError, match="no evaluation yet"):
        best5_accuracy([])


@pytest.mark.parametrize("seed", range(3))
def test_the_score_never_falls_from_the_fifth_evaluation_on(seed):
    accuracies = np.random.default_rng(seed).random(15).tolist()
    scores = [best5_accuracy(accuracies[:count]) for count in range(5, 16)]
    assert scores == sorted(scores)


def test_the_score_leaves_the_history_as_it_is():
    accuracies = [0.2, 0.9, 0.4]
    best5_accuracy(accuracies)
    best5_indices(accuracies)
    assert accuracies == [0.2, 0.9, 0.4]


@pytest.mark.parametrize(
    ("accuracies", "indices"),
    [
        ([], []),
        ([0.5, 0.4], [0, 1]),
        ([0.1, 0.8, 0.6, 0.7, 0.9, 0.5], [1, 2, 3, 4, 5]),
        ([0.9, 0.1, 0.9, 0.1, 0.9, 0.9, 0.1], [0, 1, 2, 4, 5]),
        ([0.5] * 8, [0, 1, 2, 3, 4]),
        ([0.4, 0.5, 0.4, 0.5, 0.4, 0.5], [0, 1, 2, 3, 5]),
    ],
)
def test_best5_indices_take_the_earlier_of_equal_ones(accuracies, indices):
    assert best5_indices(accuracies) == indices


@pytest.mark.parametrize("seed", range(3))
def test_the_indices_are_those_of_the_score(seed):
    accuracies = np.random.default_rng(seed).integers(0, 8, 12) / 8  # with ties
    chosen = [accuracies[index] for index in best5_indices(accuracies.tolist())]
    assert sum(chosen) / 5 == pytest.approx(best5_accuracy(accuracies.tolist()))


@pytest.mark.parametrize("count", [1, 7, 8, 9, 872])
def test_bits_come_back_as_they_were_packed(count):
    correct = np.random.default_rng(count).random(count) < 0.7
    packed = json.loads(json.dumps(pack_bits(correct)))
    unpacked = unpack_bits(packed, count)
    assert unpacked.dtype == bool
    np.testing.assert_array_equal(unpacked, correct)


@pytest.mark.parametrize("value", [False, True])
def test_bits_that_are_all_alike(value):
    correct = np.full(11, value)
    np.testing.assert_array_equal(unpack_bits(pack_bits(correct), 11), correct)


def test_eight_sentences_take_a_byte():
    assert pack_bits(np.array([True] + 7 * [False] + [True])) == "gIA="  # bytes 0x80 0x80
    assert len(pack_bits(np.ones(872, dtype=bool))) == 148  # 109 bytes in base64
