"""What accuracy is weighed against: depths that fit the teacher, and each student's cost."""

import pytest

from search.objectives import DEPTH, LATENCY, OBJECTIVES, cost_of, depths, directions, names
from search.plan import plan_trials
from search.request import Request
from trainable.config import TrialConfig


def request(against, space="recipe", **asked):
    return Request(space, "mini", cache="", against=against, **asked)


@pytest.mark.parametrize(
    ("student", "tried"), [(6, (6, 4, 3)), (3, (3, 2)), (4, (4, 2)), (2, (2, 1)), (1, (1,))]
)
def test_depths_are_whole_shares_of_the_students(student, tried):
    assert depths(student) == tried
    assert all(2 * student % depth == 0 for depth in tried)  # they divide the teacher's, too


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


def test_depths_follow_a_set_depth():
    asked = request(DEPTH, overrides={"student_layers": 6})
    assert asked.depths == (6, 4, 3)
    assert request(None).depths == (3,)
