"""The plan of a sweep: each configuration once, in an order that only the seed decides."""

from collections import Counter
from dataclasses import replace
from itertools import product

import pytest

from search.plan import plan_trials
from search.request import Request
from spaces import SPACES
from trainable.config import TrialConfig
from trainable.errors import UserError
from trainable.layers import resolve_layer_set
from trainable.names import NO_LAYERS
from trainable.presets import PRESETS

EVERY_SPACE = pytest.mark.parametrize("space", SPACES)
VARIED = [
    (name, key) for name, space in SPACES.items() for key in {k for p in space(True) for k in p}
]


def plan(space, preset="mini", **asked):
    return plan_trials(Request(space, preset, cache="", **asked))


def recipes(configs):
    """The configurations without their seed."""
    return {replace(config, seed=0) for config in configs}


def refusal(space, preset="mini", **asked):
    """The one line of the user's error that planning must end in."""
    with pytest.raises(UserError) as caught:
        plan(space, preset, **asked)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# Order and seeds.


@EVERY_SPACE
@pytest.mark.parametrize("preset", PRESETS)
def test_same_seed_gives_the_same_order(space, preset):
    assert plan(space, preset, seed=7) == plan(space, preset, seed=7)


@EVERY_SPACE
def test_other_seed_gives_another_order_of_the_same_recipes(space):
    first, second = (plan(space, "sst2", seed=seed) for seed in (0, 1))
    assert recipes(first) == recipes(second)
    assert [replace(c, seed=1) for c in first] != second


def test_sweep_seed_is_each_trials_seed_unless_set():
    assert {c.seed for c in plan("study", seed=5)} == {5}
    assert {c.seed for c in plan("study", seed=5, overrides={"seed": 9})} == {9}


def test_every_trial_comes_first_about_equally_often():
    first = Counter(plan("baselines", seed=seed)[0].initialisation for seed in range(500))
    assert len(first) == 5
    assert all(60 <= count <= 140 for count in first.values())  # 100 each, deviation 9


@EVERY_SPACE
def test_seeds_of_a_configuration_follow_one_another_in_the_order_of_one_seed(space):
    once = plan(space, "sst2", seed=3)
    for seeds in (1, 2, 3):
        wanted = [replace(config, seed=3 + more) for config in once for more in range(seeds)]
        assert plan(space, "sst2", seed=3, seeds=seeds) == wanted
    assert len({config.digest for config in plan(space, "sst2", seed=3, seeds=3)}) == 3 * len(once)


def test_seeds_are_counted_from_the_seed_that_is_set():
    found = plan("baselines", seeds=2, overrides={"seed": 9})
    assert [config.seed for config in found] == [9, 10] * 5


def test_seed_beyond_the_largest_is_refused():
    message = refusal("baselines", seed=2**32 - 1, seeds=2)
    assert message == "seed: 4294967296 must be at most 4294967295"


# Samples.


@EVERY_SPACE
def test_samples_are_a_prefix_of_the_whole_plan(space):
    whole = plan(space, "sst2", seed=2)
    for samples in range(1, len(whole) + 2):
        assert plan(space, "sst2", seed=2, samples=samples) == whole[:samples]


def test_samples_count_configurations_each_on_all_seeds():
    drawn = plan("schedules", "sst2", samples=4)
    found = plan("schedules", "sst2", samples=4, seeds=3)
    assert Counter(config.seed for config in found) == {0: 4, 1: 4, 2: 4}
    assert recipes(found) == set(drawn)


def test_more_samples_or_seeds_lose_no_trial_and_keep_the_order():
    for fewer, more in [((2, 1), (3, 1)), ((2, 1), (2, 2)), ((2, 2), (3, 2)), ((2, 2), (5, 4))]:
        few, many = (plan("schedules", samples=s, seeds=n) for s, n in (fewer, more))
        places = [many.index(config) for config in few]
        assert places == sorted(places)


def test_another_seed_draws_other_samples():
    drawn = [recipes(plan("schedules", "sst2", seed=seed, samples=5)) for seed in range(20)]
    assert len({frozenset(found) for found in drawn}) > 15
    assert len(set.union(*drawn)) > 50  # of 78: none is left out for good


# Overrides.


def test_override_reaches_every_trial_and_changes_nothing_else():
    plain = plan("study", "sst2")
    changed = plan("study", "sst2", overrides={"temperature": 3.0, "epochs": 1})
    assert changed == [replace(config, temperature=3.0, epochs=1) for config in plain]


@pytest.mark.parametrize(("space", "key"), sorted(VARIED))
def test_override_of_a_varied_setting_is_refused(space, key):
    message = refusal(space, overrides={key: 1.0})
    assert message.startswith(f"--set {key}=1.0: ")
    assert space in message


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
    assert words in refusal("baselines", overrides=overrides)


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
    message = refusal(space, overrides=overrides)
    assert message == f"--set {key}={value}: changes nothing in any trial of {space}"
    assert plan("study", overrides=overrides)  # there it changes some


def test_planning_leaves_the_overrides_as_they_were():
    overrides = {"epochs": 1}
    plan("study", overrides=overrides, additions=(("alpha", 0.25),))
    assert overrides == {"epochs": 1}


# Additions.


def schedules_with(
    initialisations=("random", "teacher_spread"),
    layer_sets=("none", "lower", "all"),
    alphas=(0.5,),
    sharpnesses=(0.5, 1.0, 2.0),
):
    """The space `schedules` for a student of 6 layers, written out anew."""
    schedules = ("cosine_growth", "cosine_descent", "cosine_vshape", "cosine_^shape")
    of_alpha = [("fixed", alpha, None) for alpha in alphas]
    of_alpha += [(schedule, None, k) for schedule, k in product(schedules, sharpnesses)]
    written = {"none": "none", "lower": "1,2,3", "all": "1,2,3,4,5,6", "upper": "4,5,6"}
    return {
        (initialisation, written[layers], *alpha)
        for initialisation, layers, alpha in product(initialisations, layer_sets, of_alpha)
    }


@pytest.mark.parametrize(
    ("additions", "wanted", "count"),
    [
        ((), schedules_with(), 78),
        (
            (("initialisation", "teacher_lower"),),
            schedules_with(initialisations=("random", "teacher_spread", "teacher_lower")),
            78 + 39,
        ),
        (
            (("aligned_layers", "upper"),),
            schedules_with(layer_sets=("none", "lower", "all", "upper")),
            78 + 26,
        ),
        ((("alpha", 0.25),), schedules_with(alphas=(0.5, 0.25)), 78 + 6),
        ((("sharpness", 5.0),), schedules_with(sharpnesses=(0.5, 1.0, 2.0, 5.0)), 78 + 24),
        (
            (("sharpness", 4.0), ("sharpness", 5.0)),
            schedules_with(sharpnesses=(0.5, 1.0, 2.0, 4.0, 5.0)),
            78 + 48,
        ),
        (
            (("sharpness", 5.0), ("aligned_layers", "upper"), ("alpha", 0.25)),
            schedules_with(
                layer_sets=("none", "lower", "all", "upper"),
                alphas=(0.5, 0.25),
                sharpnesses=(0.5, 1.0, 2.0, 5.0),
            ),
            2 * 4 * (2 + 4 * 4),
        ),
        ((("sharpness", 1.0), ("alpha", 0.5)), schedules_with(), 78),  # which it has
    ],
    ids=lambda value: " ".join(f"{k}={v}" for k, v in value) if isinstance(value, tuple) else None,
)
def test_added_values_grow_schedules_to_the_whole_product(additions, wanted, count):
    found = plan("schedules", "sst2", additions=additions)
    names = ("initialisation", "aligned_layers", "alpha_schedule", "alpha", "sharpness")
    assert {tuple(getattr(config, name) for name in names) for config in found} == wanted
    assert len(found) == len(wanted) == count


@pytest.mark.parametrize(
    ("space", "key", "value", "count"),
    [
        ("baselines", "initialisation", "random", 0),
        ("baselines", "alpha", 0.5, 5),
        ("logits", "initialisation", "teacher_lower", 4 * 4),
        ("logits", "alpha", 0.9, 2 * 4),
        ("logits", "temperature", 16.0, 2 * 4),
        ("layers", "initialisation", "teacher_lower", 6),
        ("layers", "aligned_layers", "2,5", 2),
        ("layers", "alpha", 0.25, 2 * 6),
        ("schedules", "aligned_layers", "2,5", 2 * 13),
        ("study", "initialisation", "teacher_lower", 11),  # all that random ones have; the rest too
        ("study", "aligned_layers", "2,5", 2 * (1 + 4)),
        ("study", "alpha", 0.25, 6 + 2),  # one for each layer set that has a fixed alpha
        ("study", "sharpness", 3.0, 2 * 4),
    ],
)
def test_added_value_adds_a_trial_where_another_value_stood(space, key, value, count):
    before = set(plan(space, "sst2"))
    after = plan(space, "sst2", additions=((key, value),))
    assert before <= set(after)
    new = [config for config in after if config not in before]
    assert len(after) == len(before) + len(new)
    assert len(new) == count
    values = {c.to_dict()[key] for c in new}
    assert values == ({value} if count else set())
    free = {key, "learning_rate"}  # which goes by the initialisation
    assert {rest(config, free) for config in new} <= {rest(config, free) for config in before}


def rest(config, without):
    return tuple((k, v) for k, v in config.to_dict().items() if k not in without)


@pytest.mark.parametrize("space", ["layers", "schedules", "study"])
@pytest.mark.parametrize("layer_set", ["upper", "1", "all"])
def test_trials_without_the_teacher_are_given_no_layers(space, layer_set):
    def alone(configs):
        return {config for config in configs if not config.uses_teacher_outputs}

    before, after = (
        plan(space, "sst2", additions=a) for a in ((), (("aligned_layers", layer_set),))
    )
    assert alone(after) == alone(before)
    unaligned = [{c for c in found if c.aligned_layers == NO_LAYERS} for found in (before, after)]
    assert unaligned[0] == unaligned[1]
    written = resolve_layer_set(layer_set, 6)
    assert {c.aligned_layers for c in after} == {c.aligned_layers for c in before} | {written}


def test_additions_join_the_samples_drawn_and_all_take_each_seed():
    """So that a run of samples that is grown gets no others."""
    asked = {"samples": 10, "seed": 1}
    base = plan("schedules", **asked)
    sharper = {replace(config, sharpness=5.0) for config in base if config.sharpness}
    grown = plan("schedules", additions=(("sharpness", 5.0),), seeds=2, **asked)
    first, second = grown[::2], grown[1::2]
    assert set(first) == {*base, *sharper}
    assert len(first) == len(base) + len(sharper)
    assert second == [replace(config, seed=2) for config in first]
    assert first[: len(base)] != base  # none is always the first to arrive


def test_an_added_value_that_silences_others_is_tried_once():
    """Without the teacher the temperatures of `logits` are all the same."""
    grown = plan("logits", "sst2", additions=(("alpha", 1.0),))
    only_labels = [config for config in grown if not config.uses_teacher_outputs]
    assert sorted(config.initialisation for config in only_labels) == ["random", "teacher_spread"]


@pytest.mark.parametrize(
    ("space", "key", "value"),
    [("study", "alpha_schedule", "cosine_growth"), ("layers", "alpha", 1.0)],
)
def test_an_added_value_that_no_trial_can_take_names_its_flag(space, key, value):
    assert refusal(space, additions=((key, value),)).startswith(f"--add {key}={value}: ")


@pytest.mark.parametrize(
    ("space", "key", "value"),
    [("baselines", "sharpness", 5.0), ("study", "temperature", 4.0), ("layers", "epochs", 2)],
)
def test_addition_to_a_setting_that_is_constant_is_refused(space, key, value):
    message = refusal(space, additions=((key, value),))
    assert message.startswith(f"--add {key}={value}: ")
    assert space in message


@pytest.mark.parametrize("space", ["baselines", "logits"])
def test_set_and_add_do_not_each_send_the_user_to_the_other(space):
    """These spaces set `aligned_layers` to none throughout: neither flag can change it."""
    of_set = refusal(space, overrides={"aligned_layers": "1,2"})
    of_add = refusal(space, additions=(("aligned_layers", "1,2"),))
    assert of_add.startswith("--add aligned_layers=1,2: ")
    assert not ("--add aligned_layers" in of_set and "--set aligned_layers" in of_add)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("sharpness", -1.0, "sharpness: -1.0 must be above 0.0"),
        ("initialisation", "teacher_spred", "did you mean teacher_spread"),
        ("aligned_layers", "1,9", "layer 9 is outside the student"),
        ("alpha", 1.5, "alpha: 1.5 must be at most 1"),
    ],
)
def test_addition_that_spoils_a_trial_is_refused(key, value, words):
    assert words in refusal("schedules", additions=((key, value),))


# What a plan is made of.


def test_points_that_coincide_at_a_depth_are_tried_once():
    found = plan("layers", "sst2", overrides={"student_layers": 2})
    pairs = Counter((c.initialisation, c.aligned_layers) for c in found)
    initialisations, layer_sets = ("random", "teacher_spread"), ("none", "1,2", "1", "2")
    assert pairs == Counter((i, s) for i in initialisations for s in layer_sets)


@pytest.mark.parametrize(
    ("preset", "layers", "epochs", "evaluations"), [("sst2", 6, 3, 15), ("mini", 3, 2, 8)]
)
def test_presets_constants_are_in_every_trial(preset, layers, epochs, evaluations):
    found = {(c.student_layers, c.epochs, c.evaluations) for c in plan("study", preset)}
    assert found == {(layers, epochs, evaluations)}


def test_learning_rate_follows_the_initialisation_unless_set():
    rates = {c.initialisation: c.learning_rate for c in plan("study", "sst2")}
    assert rates == {"random": 1e-4, "teacher_spread": 5e-5}
    added = plan("study", "sst2", additions=(("initialisation", "teacher_embeddings"),))
    assert {c.learning_rate for c in added if c.initialisation == "teacher_embeddings"} == {1e-4}
    fixed = plan("study", "sst2", overrides={"learning_rate": 3e-5})
    assert {config.learning_rate for config in fixed} == {3e-5}


def test_plan_is_checked_configurations():
    found = plan("schedules", "mini", seeds=2, additions=(("sharpness", 5.0),))
    assert [TrialConfig.from_dict(config.to_dict()) for config in found] == found
