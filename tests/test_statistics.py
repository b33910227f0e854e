"""Statistics of a trial's answers, against answers worked out by hand and normal approximations."""

import numpy as np
import pytest

from search.statistics import best5_scores, sentence_interval
from trainable.metrics import best5_accuracy


def generator(seed=0):
    return np.random.default_rng(seed)


def answers(evaluations, sentences, share=0.8, seed=0):
    """Boolean arrays [sentences], one an evaluation."""
    return list(generator(seed).random((evaluations, sentences)) < share)


def normal_interval(scores):
    """Mean -/+ 1.96 standard errors."""
    half = 1.959964 * scores.std() / np.sqrt(len(scores))
    return scores.mean() - half, scores.mean() + half


def test_best5_scores_by_hand():
    correct = [
        [1, 1, 1, 1],  # 1.00
        [0, 0, 0, 1],  # 0.25: the worst of six is left out
        [1, 1, 1, 0],
        [1, 1, 0, 0],
        [1, 1, 0, 0],
        [1, 0, 1, 0],
    ]
    found = best5_scores([np.array(row, dtype=bool) for row in correct])
    np.testing.assert_allclose(found, [1.0, 0.8, 0.6, 0.2], rtol=0, atol=1e-15)


def test_of_equal_evaluations_the_earlier_counts():
    same = [np.array([True, False])] * 5
    found = best5_scores([*same, np.array([False, True])])
    np.testing.assert_array_equal(found, [1.0, 0.0])


@pytest.mark.parametrize("evaluations", [1, 2, 4, 5, 6, 15])
@pytest.mark.parametrize("sentences", [1, 7, 872])
def test_mean_of_best5_scores_is_best5_accuracy(evaluations, sentences):
    correct = answers(evaluations, sentences, seed=evaluations)
    best5 = best5_accuracy([float(bits.mean()) for bits in correct])
    assert best5_scores(correct).shape == (sentences,)
    assert best5_scores(correct).mean() == pytest.approx(best5, abs=1e-12)


@pytest.mark.parametrize("share", [0.6, 0.9])
@pytest.mark.parametrize("evaluations", [1, 5])
def test_interval_is_near_the_normal_approximation(share, evaluations):
    scores = best5_scores(answers(evaluations, 872, share))
    # 2,000 resamples place a 2.5 % quantile to 6 % of a standard error (0.0166 at most)
    np.testing.assert_allclose(
        sentence_interval(scores, generator()), normal_interval(scores), rtol=0, atol=0.0025
    )


def test_standard_error_is_one_point_at_090_with_872_sentences():
    scores = np.repeat([1.0, 0.0], [785, 87])
    low, high = sentence_interval(scores, generator())
    assert (high - low) / 2 / 1.96 == pytest.approx(0.0102, abs=0.0008)


def test_four_times_the_sentences_halve_the_interval():
    scores = best5_scores(answers(1, 500))
    low, high = sentence_interval(scores, generator())
    lower, higher = sentence_interval(np.tile(scores, 4), generator())
    assert (higher - lower) / (high - low) == pytest.approx(0.5, abs=0.05)


def test_same_generator_seed_same_interval_to_the_last_bit():
    scores = best5_scores(answers(7, 300))
    assert sentence_interval(scores, generator(3)) == sentence_interval(scores, generator(3))


def test_generator_is_used():
    scores = best5_scores(answers(7, 300))
    assert len({sentence_interval(scores, generator(seed)) for seed in range(5)}) > 1


def test_global_random_state_is_neither_used_nor_moved():
    scores = best5_scores(answers(1, 100))
    np.random.seed(1)
    first = sentence_interval(scores, generator())
    state = np.random.get_state()[1].copy()
    np.random.seed(2)
    assert sentence_interval(scores, generator()) == first
    np.random.seed(1)
    np.testing.assert_array_equal(np.random.get_state()[1], state)


@pytest.mark.parametrize("value", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("sentences", [1, 50])
def test_equal_scores_have_no_width(value, sentences):
    assert sentence_interval(np.full(sentences, value), generator()) == (value, value)


@pytest.mark.parametrize("seed", range(5))
def test_interval_holds_the_mean_and_stays_among_the_scores(seed):
    scores = best5_scores(answers(6, 60, 0.9, seed))
    low, high = sentence_interval(scores, generator(seed))
    assert scores.min() <= low < scores.mean() < high <= scores.max()


def test_95_percent_of_intervals_hold_the_true_share():
    """150 samples of 400 sentences: 142.5 expected, deviation 2.7."""
    draws = (np.asarray(answers(1, 400, 0.8, seed)[0], dtype=float) for seed in range(150))
    found = [sentence_interval(scores, generator(1)) for scores in draws]
    assert 134 <= sum(low <= 0.8 <= high for low, high in found) <= 150
