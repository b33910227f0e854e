"""Metrics and scores by example against scikit-learn, SciPy, brute force; packed predictions."""

import json
from functools import partial

import numpy as np
import pytest
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

from trainable.config.metrics import CORRELATIONS, METRIC_LABELS, lowest_score
from trainable.engine.metrics import (
    METRICS,
    agreement,
    best5_indices,
    example_scores,
    mean_of_best5,
    pack_predictions,
    score,
    unpack_predictions,
)

REFERENCES = {
    "accuracy": accuracy_score,
    "f1": partial(f1_score, labels=[1], average="macro", zero_division=0),
    "macro_f1": partial(f1_score, average="macro", zero_division=0),
    "mcc": matthews_corrcoef,
    "pearson": lambda labels, predictions: pearsonr(labels, predictions).statistic,
    "spearman": lambda labels, predictions: spearmanr(labels, predictions).statistic,
}


def classes_of(metric, case):
    """Labels and predictions [N] of few examples, some classes rare."""
    rng = np.random.default_rng(case)
    count, most = int(rng.integers(2, 40)), 2 if metric == "f1" else int(rng.integers(2, 6))
    labels = (most * rng.random(count) ** 3).astype(np.int64)
    right = rng.random(count) < rng.choice([0.0, 0.7, 1.0], p=[0.1, 0.8, 0.1])
    return labels, np.where(right, labels, rng.integers(0, most, count))


def without_each(values, *pair):
    """A metric without each example, by brute force."""
    rows = np.arange(len(pair[0]))
    return np.array([values(*(numbers[rows != row] for numbers in pair)) for row in rows])


def assert_jackknife(metric, labels, predictions, left_out):
    """The metric is the reference's, and the scores are the pseudo-values around it."""
    found = example_scores(metric, predictions, labels)
    whole = REFERENCES[metric](labels, predictions)
    assert score(metric, predictions, labels) == pytest.approx(whole, abs=1e-9)
    assert found.mean() == pytest.approx(whole, abs=1e-9)
    wanted = len(labels) * whole - (len(labels) - 1) * left_out
    np.testing.assert_allclose(found - found.mean(), wanted - wanted.mean(), atol=1e-8)


@pytest.mark.parametrize("metric", ["accuracy", "f1", "macro_f1", "mcc"])
def test_scores_of_classes_are_pseudo_values(metric):
    assert METRICS.keys() == METRIC_LABELS.keys() == REFERENCES.keys()
    for case in range(25):
        labels, predictions = classes_of(metric, case)
        left_out = without_each(REFERENCES[metric], labels, predictions)
        assert_jackknife(metric, labels, predictions, left_out)


@pytest.mark.parametrize("metric", ["pearson", "spearman"])
@pytest.mark.parametrize("noise", [0.2, 1.0, 3.0])
@pytest.mark.parametrize("digits", [0, 9])
def test_scores_of_correlations_are_nearly_pseudo_values(metric, noise, digits):
    """Of ranks taken anew without each example; without digits there are ties."""
    rng = np.random.default_rng(0)
    labels = rng.standard_normal(400).round(digits)
    outputs = (labels + noise * rng.standard_normal(400)).round(digits)
    wanted = -399 * without_each(REFERENCES[metric], labels, outputs)
    found = example_scores(metric, outputs, labels)
    assert score(metric, outputs, labels) == pytest.approx(found.mean(), abs=1e-9)
    assert found.mean() == pytest.approx(REFERENCES[metric](labels, outputs), abs=1e-9)
    np.testing.assert_allclose(found - found.mean(), wanted - wanted.mean(), rtol=0.05, atol=0.05)
    assert found.std() == pytest.approx(wanted.std(), rel=0.02)


@pytest.mark.parametrize("metric", METRICS)
def test_what_is_undefined_is_0(metric):
    constant, labels = np.zeros(6, np.int64), np.array([1, 1, 0, 1, 1, 1])
    if metric in ("pearson", "spearman"):
        constant, labels = constant.astype(np.float32), labels.astype(np.float32)
        assert score(metric, labels * np.nan, labels) == 0.0
    undefined = metric not in ("accuracy", "macro_f1")
    found = example_scores(metric, constant, labels)
    assert np.isfinite(found).all()
    assert (score(metric, constant, labels) == 0.0) == undefined
    assert np.isfinite(example_scores(metric, constant[:1], labels[:1])).all()


def test_agreement_of_classes_is_both_right_or_both_wrong_and_of_outputs_their_correlation():
    student, teacher, labels = np.array([[0, 1, 2, 2], [0, 2, 0, 2], [0, 1, 1, 2]])
    assert agreement(student, teacher, labels) == 0.75
    outputs = np.array([0.0, 1.0, 2.0], np.float32)
    assert agreement(outputs, 5 - 2 * outputs, outputs) == pytest.approx(-1.0)


def test_score_and_the_evaluations_it_averages_of_equal_ones_the_earlier():
    for scores, best5, indices in (
        ([0.5], 0.5, [0]),
        ([0.5, 0.75], 0.625, [0, 1]),
        ([0.1, 0.8, 0.6, 0.7, 0.9, 0.5], 0.7, [1, 2, 3, 4, 5]),
        ([1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0], 1.0, [0, 2, 4, 6, 8]),
        ([0.9] * 4 + [0.4] * 8, 0.8, [0, 1, 2, 3, 4]),
        ([0.4, 0.5, 0.4, 0.5, 0.4, 0.5], 0.46, [0, 1, 2, 3, 5]),
    ):
        assert mean_of_best5(scores) == pytest.approx(best5)
        assert best5_indices(scores) == indices
        with pytest.raises(ValueError, match="no evaluation yet"):
            mean_of_best5([])


@pytest.mark.parametrize("classes", [2, 3, 4, 5, 77])
def test_predictions_come_back_as_they_were_packed(classes):
    for count in (1, 7, 8, 9, 872):
        predictions = np.random.default_rng(count).integers(0, classes, count)
        packed = json.loads(json.dumps(pack_predictions(predictions, classes)))
        unpacked = unpack_predictions(packed, count, classes)
        assert unpacked.dtype == np.int64
        np.testing.assert_array_equal(unpacked, predictions)


def test_two_classes_take_a_bit_and_numbers_half_a_word():
    assert pack_predictions(np.array([1] + 7 * [0] + [1]), 2) == "gIA="  # bytes 0x80 0x80
    years = np.array([2019, 2019.25, -1e9], np.float32)
    packed = pack_predictions(years, 0, "<f4")
    np.testing.assert_array_equal(unpack_predictions(packed, 3, 0), years)
    packed = pack_predictions(np.array([0.1, -2.5, 1e9], np.float32), 0)
    unpacked = unpack_predictions(packed, 3, 0)
    assert (len(packed), unpacked.dtype) == (8, np.float32)
    np.testing.assert_allclose(unpacked, [0.1, -2.5, 65504.0], rtol=5e-4)


@pytest.mark.parametrize("metric", METRIC_LABELS)
def test_the_lowest_score_is_that_of_answers_that_are_all_wrong(metric):
    labels = np.arange(20) % 2
    wrong = -labels.astype(float) if metric in CORRELATIONS else 1 - labels
    assert score(metric, wrong, labels) == pytest.approx(lowest_score(metric))
