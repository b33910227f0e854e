"""What a request resolves to, and that models are looked at only if something depends on them."""

import json
import math
from collections import Counter
from dataclasses import asdict, replace
from itertools import product

import pytest
from transformers import BertConfig

from search.plan.draws import config_of_draw, random_draws, starting_points
from search.plan.grid import plan_trials
from search.plan.request import Request
from search.plan.resolve import ResolvedRequest, resolve
from spaces import Inputs, file_digest
from tests.conftest import tiny_classifier, user_error
from tests.made_runs import asked
from trainable.config.fields import from_plain
from trainable.config.presets import PRESETS


def resolved(**request):
    return resolve(Request(**{"space": "baselines", "preset": "mini", **request}), print)


@pytest.fixture
def teacher_of(tmp_path):
    """A folder with the configuration of a teacher of so many layers, which is all that counts."""

    def make(layers):
        BertConfig(num_hidden_layers=layers).save_pretrained(tmp_path / str(layers))
        return str(tmp_path / str(layers))

    return make


def test_all_that_is_left_open_is_decided(tmp_path, capsys):
    listed = resolved(preset="auto")
    assert (listed.searcher, listed.scheduler, listed.preset) == ("grid", "asha", "mini")
    assert capsys.readouterr().out == "Preset mini: no CUDA GPU is visible.\n"
    assert (listed.shapes, listed.pretrained, listed.space_digest) == ((), (), "")
    searched = resolved(space="recipe")
    assert (searched.searcher, searched.scheduler) == ("prior", "promotion")
    assert resolved(space="recipe", searcher="random", scheduler="asha").scheduler == "asha"
    assert searched.inputs == Inputs(coarse=True)
    (tmp_path / "mine.py").write_text("def grid(): return {}")
    space = f"{tmp_path}/mine.py:grid"
    assert resolved(space=space).space_digest == file_digest(space) != ""


def test_students_have_half_the_layers_of_a_given_teacher(teacher_of, tmp_path):
    """If its configuration says how many there are; `--set` and a space come first."""
    depths = {
        layers: resolved(teacher=teacher_of(layers)).default.student_layers for layers in (8, 22)
    }
    assert depths == {8: 4, 22: 11}
    assert resolved().default.student_layers == 3
    given = (("student_layers", 2),)
    assert resolved(teacher=teacher_of(8), overrides=given).default.student_layers == 2
    assert plan_trials(resolved(teacher=teacher_of(12)))[0].student_layers == 6
    (tmp_path / "8" / "config.json").write_text('{"layers": 8}')
    assert resolved(teacher=str(tmp_path / "8")).default.student_layers == 3
    assert user_error(resolved, teacher="no/such").startswith("--teacher no/such: ")


def test_a_student_decides_its_shape(tmp_path):
    tiny_classifier().save_pretrained(teacher := str(tmp_path / "teacher"))
    request = resolved(teacher=teacher, student=teacher)
    assert request.pretrained == (("student_layers", 4), ("student_width", None))
    assert user_error(resolved, teacher=teacher, student="no/such").startswith("--student no/such")


def test_round_trip_through_json():
    sets = {"overrides": (("epochs", 1), ("alpha", 0.5)), "samples": 3, "time_budget": 1.5}
    request = asked(**sets, against="latency", shapes=((12, 1.0), (6, 0.5)))
    for values in (asdict(request), json.loads(json.dumps(asdict(request)))):
        assert from_plain(ResolvedRequest, values) == request


@pytest.mark.parametrize(
    ("searched", "against", "within", "strata"),
    [
        (False, None, None, ("initialisation",)),
        (True, None, None, ()),
        (False, "depth", None, ("initialisation", "student_layers")),
        (True, "latency", None, ("student_layers",)),
        (True, None, "init,aligned_layers", ("initialisation", "aligned_layers")),
        (False, "depth", "all", ()),
    ],
)
def test_trials_compete_with_those_that_answer_the_same_question(searched, against, within, strata):
    searcher = "optuna" if searched else "grid"
    request = asked(searcher=searcher, against=against, compare_within=within)
    assert request.strata == strata
    if strata == ("student_layers",):
        request = replace(request, shapes=((3, 1.0), (3, 0.5)))
        assert request.strata == ("student_layers", "feedforward_share")


@pytest.mark.parametrize(
    ("samples", "budget", "wanted"),
    [(None, None, 40), (7, None, 7), (None, 60.0, math.inf), (7, 60.0, 7)],
)
def test_a_searcher_is_to_suggest_so_many(samples, budget, wanted):
    assert asked(samples=samples, time_budget=budget, searcher="optuna").wanted == wanted


def test_the_first_rung_is_as_asked_or_goes_by_scheduler_and_preset():
    """But not before 50 steps, in which some students learn nothing yet."""
    promotion = asked(scheduler="promotion")
    assert asked(scheduler="asha").first_rung(10, 1000) == 2  # of the tests' preset
    assert [promotion.first_rung(n, 1000) for n in (4, 10, 15)] == [1, 2, 3]
    assert [promotion.first_rung(6, steps) for steps in (320, 85, 51, 20)] == [1, 4, 6, 6]
    assert asked(scheduler="promotion", grace_evaluations=7).first_rung(10, 20) == 7


# Depths.


@pytest.mark.parametrize(
    ("layers", "deepest", "tried"),
    [
        (24, None, (12, 8, 6)),
        (12, None, (6, 4, 3)),
        (6, None, (3, 2)),
        (12, 12, (12, 6)),
        (12, 4, (4, 3, 2)),
        (4, 4, (4, 2)),
    ],
)
def test_trials_are_tried_at_every_depth_of_the_teacher(teacher_of, layers, deepest, tried):
    overrides = (("epochs", 1), *([("student_layers", deepest)] if deepest else []))
    weighed = {"teacher": teacher_of(layers), "against": "depth", "overrides": overrides}
    for space in ("baselines", "recipe"):
        request = resolved(space=space, **weighed)
        assert (request.depths, request.overrides) == (tried, (("epochs", 1),))
        starts = plan_trials(request)
        if request.searched:
            starts = [config for config, _ in starting_points(request)]
        depths = Counter(config.student_layers for config in starts)
        # Of what is searched the first start alone.
        deepest, others = (5, 5) if space == "baselines" else (2, 1)
        assert depths == {tried[0]: deepest, **dict.fromkeys(tried[1:], others)}


def test_what_a_start_of_ones_own_space_lacks_is_drawn(tmp_path):
    (tmp_path / "own.py").write_text(
        "POINTS_TO_EVALUATE = [{'alpha': 0.9}, {'alpha': 0.123, 'temperature': 3.0}]\n\n"
        "def own(trial):\n    trial.suggest_float('alpha', 0.1, 0.9)\n"
        "    trial.suggest_float('temperature', 1.0, 4.0)\n"
    )
    request = resolved(space=f"{tmp_path}/own.py:own", preset="mini")
    first, second = starts = starting_points(request)
    assert (first[0].alpha, second[0].alpha, second[0].temperature) == (0.9, 0.123, 3.0)
    assert 1.0 < first[0].temperature < 4.0
    assert all(config_of_draw(request, draw) == config for config, draw in starts)
    assert starting_points(request) == starts


def test_a_search_that_weighs_latency_tries_half_of_the_feed_forward_neurons_too(teacher_of):
    weighed = {"teacher": teacher_of(12), "against": "latency"}
    request = resolved(space="recipe", **weighed)
    assert request.shapes == tuple(product((6, 4, 3), (1.0, 0.5)))
    for found in (starting_points(request), random_draws(request)):
        shapes = {(config.student_layers, config.feedforward_share) for config, _ in found}
        assert shapes == {*request.shapes}
        assert all(config_of_draw(request, draw) == config for config, draw in found)
    assert {share for _, share in resolved(space="baselines", **weighed).shapes} == {1.0}
    student = resolved(space="recipe", **weighed, student=teacher_of(4))
    starts = [config for config, _ in starting_points(student)]
    own = [c for c in starts if c.initialisation == "pretrained"]
    assert {(c.student_layers, c.feedforward_share) for c in own} == {(4, 1.0)}
    fixed = resolved(space="recipe", **weighed, overrides=(("feedforward_share", 0.25),))
    assert fixed.shapes == ((6, 0.25), (4, 0.25), (3, 0.25))
    assert fixed.default.feedforward_share == 0.25


def test_a_rung_of_a_scheduler_without_rungs_is_refused():
    said = user_error(resolved, space="study", scheduler="fifo", grace_evaluations=2)
    assert said == "--grace-evaluations 2: has no effect with --scheduler fifo; leave it out"


@pytest.mark.parametrize(
    ("layers", "given", "said"),
    [
        (12, 5, "--set student_layers=5: tries two depths or more that divide the teacher's 12"),
        (12, 1, "valid: 12, 6, 4, 3"),
        (10, None, "--against depth: tries two depths"),
        (7, 1, "valid: none"),
    ],
)
def test_what_is_not_the_deepest_of_two_names_the_way_out(teacher_of, layers, given, said):
    overrides = (("student_layers", given),) if given else ()
    wrong = {"teacher": teacher_of(layers), "against": "depth", "overrides": overrides}
    assert said in user_error(resolved, **wrong)


@pytest.mark.parametrize(("space", "searcher"), [("schedules", "grid"), ("recipe", "random")])
def test_where_examples_are_few_a_trial_has_no_more_evaluations_than_steps(space, searcher):
    request = asked(space=space, searcher=searcher, overrides=(("batch_size", 16),))
    assert request.default.epochs == 2
    assert request.on_examples(32, 1).evaluations == 4
    assert request.on_examples(5120, 1).evaluations is None
    (first, *_) = plan_trials(request.on_examples(32, 1))
    assert first.evaluations == 4


def test_a_run_on_few_examples_has_longer_trials(monkeypatch):
    monkeypatch.setitem(PRESETS, "mini", replace(PRESETS["mini"], least_steps=9))
    (first, *_) = plan_trials(asked(space="schedules").on_examples(33, 1))  # 2 steps a pass
    assert first.epochs == 5
    fixed = asked(space="schedules", overrides=(("epochs", 1),)).on_examples(33, 1)
    assert plan_trials(fixed)[0].epochs == 1
