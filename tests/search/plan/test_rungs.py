"""Who is compared with whom, and when."""

from dataclasses import asdict

import pytest

from search.plan.rungs import EVERYTHING, rungs, stratum_of
from trainable.config.trial_config import TrialConfig


@pytest.mark.parametrize(
    ("evaluations", "grace", "factor", "numbers"),
    [
        (15, 3, 2, [3, 6, 12]),
        (9, 2, 2, [2, 4, 8]),
        (1, 2, 2, []),
        (3, 3, 2, []),
        (10, 2, 3, [2, 6]),
        (9, 1, 3, [1, 3]),
    ],
)
def test_rungs_are_the_grace_multiplied_while_it_fits(evaluations, grace, factor, numbers):
    assert rungs(evaluations, grace, factor) == numbers


@pytest.mark.parametrize(
    ("within", "name"),
    [
        ((), EVERYTHING),
        (("initialisation",), "random"),
        (("aligned_layers", "initialisation"), "aligned_layers=1,2,3, random"),
        (("alpha", "temperature"), "alpha=None, temperature=2.0"),
    ],
)
def test_a_stratum_is_named_by_its_values(within, name):
    settings = {"alpha_schedule": "cosine_growth", "sharpness": 1.0, "aligned_layers": "1,2,3"}
    assert stratum_of(asdict(TrialConfig(initialisation="random", **settings)), within) == name
