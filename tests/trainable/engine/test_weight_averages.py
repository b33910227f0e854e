"""Averages of the weights against a loop in NumPy, and what they leave as it is."""

import numpy as np
import pytest
import torch

from tests.conftest import tiny_classifier
from trainable.engine.weight_averages import WeightAverages


@pytest.mark.parametrize("fails", [False, True])
def test_within_their_place_values_are_swapped_and_afterwards_as_before(fails):
    model = tiny_classifier()
    averages = WeightAverages(model.parameters())
    for average in averages.averages:
        average.uniform_()
    before = [[t.detach().clone() for t in ts] for ts in (model.parameters(), averages.averages)]
    try:
        with averages.in_place_of_weights():
            assert all(map(torch.equal, model.parameters(), before[1]))
            assert not fails or 1 / 0
    except ZeroDivisionError:
        assert fails
    assert all(map(torch.equal, model.parameters(), before[0]))
    assert all(map(torch.equal, averages.averages, before[1]))


def assert_averaged(trial, decay, steps):
    """Takes so many steps; the averages are those of the weights after each one, in NumPy."""
    weights = list(trial.student.parameters())
    expected = [weight.detach().cpu().double().numpy() for weight in weights]
    for step in range(steps):
        trial.advance()
        kept = min(decay, (1 + step) / (10 + step))
        now = [weight.detach().cpu().double().numpy() for weight in weights]
        expected = [kept * e + (1 - kept) * w for e, w in zip(expected, now, strict=True)]
        for average, value in zip(trial.setup.step.averages.averages, expected, strict=True):
            np.testing.assert_allclose(average.cpu().numpy(), value, rtol=1e-5, atol=1e-7)
