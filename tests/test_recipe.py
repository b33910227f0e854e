"""The searched space: what can be drawn, that all of it is valid, and what is tried first."""

from collections import Counter

import optuna
import pytest
from optuna.samplers import RandomSampler
from optuna.trial import FixedTrial

from search.draws import config_of_draw, random_draws, starts
from search.plan import plan_trials, possible_trials
from search.request import Request
from spaces import SEARCHED_SPACES, SPACE_NAMES, SPACES
from spaces.recipe import RECIPE_STARTS, recipe
from trainable.errors import UserError
from trainable.names import ALPHA_SCHEDULES, HIDDEN_POOLS, INITIALISATIONS, NAMED_LAYER_SETS

DRAWS = 400


def request(preset="mini", **asked):
    return Request("recipe", preset, cache="", searcher="random", **asked)


@pytest.fixture(scope="module")
def drawn():
    """Random draws: each as the searcher knows it, and as the point that it stands for."""
    study, found = optuna.create_study(sampler=RandomSampler(seed=3)), []
    for _ in range(DRAWS):
        trial = study.ask()
        point = recipe(trial)
        found.append((trial.params, point))
    return found


def test_names():
    assert set(SEARCHED_SPACES) == {"recipe"}
    assert set(SPACE_NAMES) == {*SPACES, "recipe"}
    assert not set(SPACES) & set(SEARCHED_SPACES)


def test_a_setting_is_drawn_only_where_it_changes_something(drawn):
    for parameters, point in drawn:
        fixed = point["alpha_schedule"] == "fixed"
        assert ("sharpness" in parameters) != fixed
        assert ("alpha" in parameters) == fixed
        aligned = point["aligned_layers"] != "none"
        assert {"hidden_pool", "hidden_weight"} <= set(parameters) if aligned else True
        assert aligned or not {"hidden_pool", "hidden_weight"} & set(parameters)


def test_every_value_is_drawn_and_numbers_fill_their_ranges(drawn):
    points = [point for _, point in drawn]
    for key, values in (
        ("initialisation", INITIALISATIONS),
        ("alpha_schedule", ALPHA_SCHEDULES),
        ("aligned_layers", NAMED_LAYER_SETS),
        ("hidden_pool", HIDDEN_POOLS),
    ):
        assert {point[key] for point in points if key in point} == set(values)
    for key, low, high in (
        ("learning_rate", 1e-5, 5e-4),
        ("temperature", 1.0, 8.0),
        ("sharpness", 0.25, 4.0),
        ("hidden_weight", 1.0, 1e4),
    ):
        found = [point[key] for point in points if key in point]
        middle = (low * high) ** 0.5  # as many on either side, drawn log-uniformly
        below = sum(value < middle for value in found) / len(found)
        assert low <= min(found) < low * 1.2 < high / 1.2 < max(found) <= high
        assert 0.4 < below < 0.6


@pytest.mark.parametrize("preset", ["mini", "sst2"])
def test_every_draw_is_a_valid_configuration_of_its_own(drawn, preset):
    asked = request(preset)
    configs = [config_of_draw(asked, parameters) for parameters, _ in drawn]
    assert len({config.recipe for config in configs}) == DRAWS
    for config, (_, point) in zip(configs, drawn, strict=True):
        assert config.temperature == point["temperature"]
        assert not (config.idle_settings & set(point)) or config.aligned_layers == "none"


def test_layer_sets_are_strings_so_that_importance_can_be_computed(drawn):
    kinds = Counter(type(v) for parameters, _ in drawn for v in parameters.values())
    assert set(kinds) == {str, float}


def test_cross_entropy_only_draws_nothing_of_the_teacher():
    trial = FixedTrial({**RECIPE_STARTS[2]})
    assert recipe(trial)["aligned_layers"] == "none"
    assert set(trial.params) == {"initialisation", "learning_rate", "alpha_schedule", "alpha"}


def test_starts_are_the_studys_best_recipe_and_the_plain_baselines():
    configs = plan_trials(request())
    assert [config.words() for config in configs] == [
        "teacher_spread, layers 1, cosine_growth k=1",
        "teacher_spread, logits only, fixed 0.5",
        "teacher_spread, cross-entropy only",
        "random, cross-entropy only",
    ]
    assert [config.learning_rate for config in configs] == [5e-5, 5e-5, 5e-5, 1e-4]
    for config, start in starts(request()):
        assert start in RECIPE_STARTS  # nothing in a start is ignored, nothing is missing
        assert config_of_draw(request(), start) == config


def test_starts_come_on_every_seed_one_configuration_after_the_other():
    configs = plan_trials(request(seeds=2, seed=5, samples=3))
    assert [config.seed for config in configs] == [5, 6] * 3
    assert len({config.recipe for config in configs}) == 3
    assert [c.recipe for c in configs[::2]] == [c.recipe for c in configs[1::2]]


def test_what_may_be_suggested_has_every_pool_and_every_depth():
    found = possible_trials(request(against="depth"))
    assert {c.hidden_pool for c in found if c.aligned_layers != "none"} == set(HIDDEN_POOLS)
    assert {config.student_layers for config in found} == {3, 2}
    listed = Request("study", "mini", cache="")
    assert possible_trials(listed) == plan_trials(listed)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"additions": (("alpha", 1.0),)}, "--add alpha=1.0: recipe"),
        (
            {"overrides": {"aligned_layers": "none", "hidden_weight": 9.0}},
            "--set hidden_weight=9.0: changes nothing",
        ),
        ({"overrides": {"temperature": -1.0}}, "temperature: -1.0 must be above"),
        (
            {"overrides": {"student_layers": 2}, "against": "depth"},
            "--set student_layers=2: --against depth tries 3, 2, ",
        ),
    ],
)
def test_what_cannot_be_given_to_the_space_is_refused(asked, said):
    with pytest.raises(UserError) as caught:
        plan_trials(request(**asked))
    assert str(caught.value).startswith(said)


PINNED = {"alpha_schedule": "cosine_growth", "initialisation": "teacher_upper"}


def test_what_is_set_is_not_drawn_and_holds_in_every_trial():
    asked = request(overrides=PINNED)
    for config, values in [*random_draws(asked), *starts(asked)]:
        assert (config.alpha_schedule, config.initialisation) == tuple(PINNED.values())
        assert not set(PINNED) & set(values)
        assert config_of_draw(asked, values) == config


def test_starts_that_what_is_set_leaves_no_room_for_are_passed_over():
    """A growing alpha has a sharpness, which only the study's best recipe knows of."""
    ((config, values),) = starts(request(overrides=PINNED))
    assert config.words() == "teacher_upper, layers 1, cosine_growth k=1"
    assert values["sharpness"] == 1.0


def test_starts_that_are_made_alike_come_once():
    pinned = {"initialisation": "random", "learning_rate": 2e-4}
    words = [config.words() for config in plan_trials(request(overrides=pinned))]
    assert words == [
        "random, layers 1, cosine_growth k=1",
        "random, logits only, fixed 0.5",
        "random, cross-entropy only",
    ]


def test_where_no_start_fits_a_random_draw_begins():
    asked = request(overrides={"alpha_schedule": "fixed", "aligned_layers": "all"})
    assert starts(asked) == random_draws(asked, 1)
