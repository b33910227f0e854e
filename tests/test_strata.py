"""Strata: two trials share one exactly where they agree in the named settings."""

from itertools import combinations

import pytest

from search.plan import plan_trials
from search.request import Request
from search.strata import EVERYTHING, stratum_of

CONFIGS = [config.to_dict() for config in plan_trials(Request("study", "sst2", cache=""))]


@pytest.mark.parametrize(
    ("compare_within", "name"),
    [
        ((), EVERYTHING),
        (("initialisation",), "random"),
        (["initialisation"], "random"),
        (("initialisation", "aligned_layers"), "random, aligned_layers=1,2"),
        (("aligned_layers", "initialisation"), "aligned_layers=1,2, random"),
        (("alpha", "temperature"), "alpha=None, temperature=2.0"),
    ],
)
def test_a_stratum_is_named_by_its_values(compare_within, name):
    config = {
        "initialisation": "random",
        "aligned_layers": "1,2",
        "alpha": None,
        "temperature": 2.0,
    }
    assert stratum_of(config, compare_within) == name


@pytest.mark.parametrize(
    "compare_within",
    [
        ("initialisation",),
        ("aligned_layers",),
        ("alpha", "sharpness"),
        ("initialisation", "aligned_layers", "alpha_schedule"),
    ],
    ids=",".join,
)
def test_same_name_exactly_where_all_settings_agree(compare_within):
    for one, other in combinations(CONFIGS, 2):
        agree = all(one[setting] == other[setting] for setting in compare_within)
        assert (stratum_of(one, compare_within) == stratum_of(other, compare_within)) == agree


def test_without_settings_all_trials_are_one_stratum():
    assert {stratum_of(config, ()) for config in CONFIGS} == {EVERYTHING}
