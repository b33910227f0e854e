"""Temperatures and calibration errors against planted and hand-computed ones."""

import numpy as np
import pytest
from scipy.special import softmax

from trainable.engine.calibration import calibration_error, fit_temperature


@pytest.mark.parametrize("planted", [0.5, 1.0, 3.0])
def test_the_planted_temperature_is_found(planted):
    generator = np.random.default_rng(0)
    logits = generator.normal(0, 2, size=(20_000, 3))
    drawn = generator.random((len(logits), 1))
    labels = (softmax(logits, axis=1).cumsum(axis=1) < drawn).sum(axis=1)
    assert fit_temperature(planted * logits, labels) == pytest.approx(planted, rel=0.05)


@pytest.mark.parametrize(("planted", "found"), [(1.3, 1.0), (4.0, 4.0)])
def test_few_examples_have_to_show_clearly_that_a_temperature_is_better(planted, found):
    generator = np.random.default_rng(0)
    logits = generator.normal(0, 2, size=(40, 3))
    drawn = generator.random((40, 1))
    labels = (softmax(logits, axis=1).cumsum(axis=1) < drawn).sum(axis=1)
    assert fit_temperature(planted * logits, labels) == pytest.approx(found, rel=0.4)
    assert (fit_temperature(planted * logits, labels) == 1.0) == (found == 1.0)


def test_the_error_is_the_weighed_gap_of_each_bin():
    # Three of four right at 0.9, none of one at 0.6: 4/5 * |0.75 - 0.9| + 1/5 * |0 - 0.6|.
    probabilities = np.array([[0.9, 0.1]] * 4 + [[0.6, 0.4]])
    labels = np.array([0, 0, 0, 1, 1])
    assert calibration_error(probabilities, labels) == pytest.approx(0.8 * 0.15 + 0.2 * 0.6)
    assert calibration_error(np.array([[1.0, 0.0]]), np.array([0])) == 0.0
