"""The plan of a sweep: each configuration once, in an order that only the seed decides."""

from collections import Counter
from dataclasses import replace

import pytest

from search.plan import plan_trials
from spaces import SPACES
from trainable.errors import UserError
from trainable.presets import PRESETS

EVERY_SPACE = pytest.mark.parametrize("space", SPACES)
VARIED = [
    (name, key) for name, space in SPACES.items() for key in {k for p in space(True) for k in p}
]


def recipes(configs):
    """The configurations without their seed."""
    return {replace(config, seed=0) for config in configs}


@EVERY_SPACE
@pytest.mark.parametrize("preset", PRESETS)
def test_same_seed_gives_the_same_order(space, preset):
    first, second = (plan_trials(space, PRESETS[preset], {}, seed=7) for _ in range(2))
    assert first == second


@EVERY_SPACE
def test_other_seed_gives_another_order_of_the_same_recipes(space):
    first, second = (plan_trials(space, PRESETS["sst2"], {}, seed) for seed in (0, 1))
    assert recipes(first) == recipes(second)
    assert [replace(c, seed=1) for c in first] != second


def test_sweep_seed_is_each_trials_seed_unless_set():
    assert {c.seed for c in plan_trials("study", PRESETS["mini"], {}, 5)} == {5}
    assert {c.seed for c in plan_trials("study", PRESETS["mini"], {"seed": 9}, 5)} == {9}


def test_every_trial_comes_first_about_equally_often():
    plans = (plan_trials("baselines", PRESETS["mini"], {}, seed) for seed in range(500))
    first = Counter(plan[0].initialisation for plan in plans)
    assert len(first) == 5
    assert all(60 <= count <= 140 for count in first.values())  # 100 each, deviation 9


def test_override_reaches_every_trial_and_changes_nothing_else():
    plain = plan_trials("study", PRESETS["sst2"], {}, 0)
    changed = plan_trials("study", PRESETS["sst2"], {"temperature": 3.0, "epochs": 1}, 0)
    assert changed == [replace(config, temperature=3.0, epochs=1) for config in plain]


@pytest.mark.parametrize(("space", "key"), sorted(VARIED))
def test_override_of_a_varied_setting_is_refused(space, key):
    with pytest.raises(UserError, match=f"--set {key}.*{space}"):
        plan_trials(space, PRESETS["mini"], {key: 1.0}, 0)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"temperature": 0.0}, "temperature: 0.0 must be above 0.0"),
        ({"epoch": 1}, "did you mean epochs"),
        ({"epochs": 0}, "epochs: 0 must be at least 1"),
        ({"student_width": 192}, "student_width: 192 needs initialisation random"),
        ({"sharpness": 1.0}, "sharpness: 1.0 given, but alpha_schedule fixed has none"),
    ],
)
def test_override_that_spoils_a_trial_is_refused(overrides, words):
    with pytest.raises(UserError, match=words):
        plan_trials("baselines", PRESETS["mini"], overrides, 0)


def test_points_that_coincide_at_a_depth_are_tried_once():
    plan = plan_trials("layers", PRESETS["sst2"], {"student_layers": 2}, 0)
    pairs = Counter((c.initialisation, c.aligned_layers) for c in plan)
    initialisations, layer_sets = ("random", "teacher_spread"), ("none", "1,2", "1", "2")
    assert pairs == Counter((i, s) for i in initialisations for s in layer_sets)


@pytest.mark.parametrize(
    ("preset", "layers", "epochs", "evaluations"), [("sst2", 6, 3, 15), ("mini", 3, 2, 8)]
)
def test_presets_constants_are_in_every_trial(preset, layers, epochs, evaluations):
    found = {
        (c.student_layers, c.epochs, c.evaluations)
        for c in plan_trials("study", PRESETS[preset], {}, 0)
    }
    assert found == {(layers, epochs, evaluations)}


def test_learning_rate_follows_the_initialisation_unless_set():
    rates = {
        c.initialisation: c.learning_rate for c in plan_trials("study", PRESETS["sst2"], {}, 0)
    }
    assert rates == {"random": 1e-4, "teacher_spread": 5e-5}
    fixed = plan_trials("study", PRESETS["sst2"], {"learning_rate": 3e-5}, 0)
    assert {config.learning_rate for config in fixed} == {3e-5}


def test_planning_leaves_the_overrides_as_they_were():
    overrides = {"epochs": 1}
    plan_trials("study", PRESETS["mini"], overrides, 0)
    assert overrides == {"epochs": 1}


@pytest.mark.parametrize(
    ("space", "overrides"),
    [
        ("baselines", {"temperature": 4.0}),
        ("baselines", {"hidden_pool": "mean"}),
        ("logits", {"hidden_weight": 10.0}),
    ],
)
def test_a_setting_that_changes_nothing_is_refused(space, overrides):
    (key, value), *_ = overrides.items()
    with pytest.raises(UserError, match=f"--set {key}={value}: changes nothing in any trial"):
        plan_trials(space, PRESETS["mini"], overrides, 0)
    assert plan_trials("study", PRESETS["mini"], overrides, 0)  # there it changes some
