"""What accuracy is weighed against: depths that fit the teacher, and each student's cost."""

from fractions import Fraction

import pytest

from search.objectives import DEPTH, LATENCY, OBJECTIVES, cost_of, directions, names, student_depths
from search.plan import plan_trials
from search.request import Request
from trainable.config import TrialConfig


def request(against, space="recipe", **asked):
    return Request(space, "mini", cache="", against=against, **asked)


@pytest.mark.parametrize("teacher", range(1, 61))
def test_depths_from_half_the_teachers_are_a_half_a_third_and_a_quarter(teacher):
    shares = [Fraction(teacher, divisor) for divisor in (2, 3, 4)]
    tried = tuple(share for share in shares if share.denominator == 1 and share > 1)
    assert student_depths(teacher, teacher / 2) == tried


@pytest.mark.parametrize("teacher", [4, 6, 12, 24])
def test_depths_from_any_down_to_half_of_it_divide_the_teachers(teacher):
    for deepest in range(1, teacher + 1):
        between = {n for n in range(2, deepest + 1) if 2 * n >= deepest}
        wanted = sorted((n for n in between if teacher % n == 0), reverse=True)
        assert student_depths(teacher, deepest) == tuple(wanted)


def test_what_optuna_is_told_of_each_objective():
    assert (directions(None), names(None)) == (["maximize"], ["best5_accuracy"])
    for against in OBJECTIVES:
        assert directions(against) == ["maximize", "minimize"]
        assert names(against) == ["best5_accuracy", against]


@pytest.mark.parametrize(("against", "cost"), [(DEPTH, 2.0), (LATENCY, 4.5)])
def test_cost(against, cost):
    config = TrialConfig(alpha=0.5, student_layers=2)
    assert cost_of(config, against, {"3": 6.5, "2": 4.5}) == cost


def test_a_listed_space_is_tried_at_every_depth():
    plain = plan_trials(request(None, "baselines"))
    weighed = plan_trials(request(DEPTH, "baselines"))
    assert len(weighed) == 2 * len(plain)
    for depth in (3, 2):
        of_depth = [c for c in weighed if c.student_layers == depth]
        assert {c.words() for c in of_depth} == {c.words() for c in plain}


def test_the_best_known_recipe_starts_at_every_depth_the_plain_ones_at_the_usual():
    configs = plan_trials(request(DEPTH))
    assert [(c.student_layers, c.aligned_layers != "none") for c in configs] == [
        (3, True),
        (3, False),
        (3, False),
        (3, False),
        (2, True),
    ]
