"""How precise a difference becomes with how many seeds, by hand."""

from math import sqrt

import numpy as np
import pytest

from search.results.precision import SEED_SD, Spread, spread_of


def test_half_width_by_hand():
    """Of 4 seeds each: Student's quantile at 6 degrees of freedom is 2.446912."""
    spread = Spread(of_seed=2e-5, of_examples=1e-5)
    half = sqrt(2.446912**2 * 2 * 2e-5 / 4 + 1.959964**2 * 1e-5)
    assert spread.half_width(4, 0.05) == pytest.approx(half, rel=1e-6)
    assert spread.half_width(10**6, 0.05) == pytest.approx(1.959964 * sqrt(1e-5), rel=1e-3)
    # At one comparison and one look, a gap is its half width and 0.8416 errors.
    error = sqrt(2 * 2e-5 / 4 + 1e-5)
    assert spread.shown_gap(4, 1) == pytest.approx(half + 0.841621 * error, rel=1e-6)
    assert spread.shown_gap(4, 3) > spread.shown_gap(4, 1)


def test_spread_of_several_seeds_by_hand():
    """Two recipes of 2 seeds and 3 examples, of a seed's part, an example's part and a rest."""
    rest = np.array([[0.02, 0.0, -0.02], [-0.02, 0.0, 0.02]])
    first = np.array([[0.1], [0.3]]) + np.array([-0.1, 0.0, 0.1]) + rest
    second = np.array([[0.1], [0.2]]) + np.zeros(3) - rest
    spread = spread_of([first, second])
    assert spread.of_seed == pytest.approx((0.02 + 0.005) / 2)  # variances of 0.1, 0.3; 0.1, 0.2
    # Of the gaps -0.1, 0, 0.1 on examples; the rest's mean square is 4 * 0.02^2 / 2.
    chance = 4 * 0.02**2 / 2 / 3
    assert spread.of_examples == pytest.approx(0.01 / 3 - chance * (1 / 2 + 1 / 2))
    assert spread_of([first]) is None


def test_spread_of_one_seed_assumes_the_rest_of_it():
    first, second = np.zeros((1, 1000)), np.zeros((1, 1000))
    second[0, :65] = 1  # they differ on 65 of 1,000
    spread = spread_of([first, second])
    of_gaps = 0.065 * 0.935 * 1000 / 999 / 1000
    assert spread.of_examples == pytest.approx(0.3 * of_gaps)
    assert spread.of_seed == pytest.approx(SEED_SD**2 + 0.7 * of_gaps / 2)
