"""Trial configurations: bounds, combinations, equality and words."""

import re
from dataclasses import FrozenInstanceError, fields

import pytest

from trainable.config import TeacherSettings, TrialConfig, setting_types
from trainable.errors import UserError

FIXED = {"alpha": 0.5}
GROWTH = {"alpha_schedule": "cosine_growth", "sharpness": 1.0}

# For every setting a value other than the default, and what it needs beside it.
OTHER_VALUES = {
    "initialisation": {"initialisation": "random"},
    "aligned_layers": {"aligned_layers": "1,2,3"},
    "alpha_schedule": {"alpha_schedule": "cosine_vshape", "alpha": None, "sharpness": 1.0},
    "alpha": {"alpha": 0.25},
    "sharpness": {**GROWTH, "alpha": None, "sharpness": 2.0},
    "temperature": {"temperature": 4.0},
    "hidden_weight": {"hidden_weight": 100.0},
    "hidden_pool": {"hidden_pool": "tokens"},
    "student_layers": {"student_layers": 4},
    "student_width": {"student_width": 128, "initialisation": "random"},
    "learning_rate": {"learning_rate": 1e-4},
    "weight_decay": {"weight_decay": 0.0},
    "warmup_share": {"warmup_share": 0.0},
    "gradient_clip": {"gradient_clip": 5.0},
    "batch_size": {"batch_size": 16},
    "epochs": {"epochs": 1},
    "evaluations": {"evaluations": 3},
    "seed": {"seed": 1},
    "precision": {"precision": "bf16"},
}


def refusal(**values):
    """The message with which these values are refused."""
    with pytest.raises(UserError) as caught:
        TrialConfig.from_dict(values)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_defaults_are_the_designs():
    config = TrialConfig(alpha=0.5)
    assert (config.temperature, config.hidden_weight, config.hidden_pool) == (2.0, 1.0, "cls")
    assert (config.initialisation, config.aligned_layers) == ("teacher_spread", "none")
    assert (config.student_layers, config.epochs, config.evaluations) == (6, 3, 15)


@pytest.mark.parametrize(
    ("name", "good", "bad", "bound"),
    [
        ("alpha", [0, 0.5, 1], [-0.001, 1.001], "at (least 0|most 1)"),
        ("temperature", [0.01, 20.0], [0.0, -1.0], "above 0"),
        ("hidden_weight", [1e-6, 1e4], [0.0, -1.0], "above 0"),
        ("student_layers", [1, 24], [0, -6], "at least 1"),
        ("learning_rate", [1e-9, 1.0], [0.0, -1e-5], "above 0"),
        ("weight_decay", [0.0, 1.0], [-0.1], "at least 0"),
        ("warmup_share", [0.0, 0.999], [-0.1, 1.0], "(at least 0|below 1)"),
        ("gradient_clip", [0.01], [0.0], "above 0"),
        ("batch_size", [1, 4096], [0], "at least 1"),
        ("epochs", [1], [0], "at least 1"),
        ("evaluations", [1], [0], "at least 1"),
        ("seed", [0, 2**31], [-1], "at least 0"),
    ],
)
def test_bounds(name, good, bad, bound):
    for value in good:
        assert getattr(TrialConfig.from_dict({**FIXED, name: value}), name) == value
    for value in bad:
        with pytest.raises(UserError, match=rf"^{name}: {value} must be {bound}"):
            TrialConfig.from_dict({**FIXED, name: value})


@pytest.mark.parametrize("sharpness", [0.0, -1.0])
def test_sharpness_is_above_zero(sharpness):
    assert refusal(**{**GROWTH, "sharpness": sharpness}) == (
        f"sharpness: {sharpness} must be above 0.0"
    )


def test_width_is_at_least_one():
    message = refusal(**FIXED, initialisation="random", student_width=0)
    assert message == "student_width: 0 must be at least 1"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize(
    "name", [name for name, (kind, _) in setting_types().items() if kind is float]
)
def test_no_setting_takes_what_is_not_finite(name, value):
    schedule = GROWTH if name == "sharpness" else FIXED
    assert refusal(**{**schedule, name: value}).startswith(f"{name}: {value} must be ")


@pytest.mark.parametrize(
    ("name", "value", "kind"),
    [
        ("epochs", 3.0, "int"),
        ("epochs", True, "int"),
        ("epochs", "3", "int"),
        ("epochs", None, "int"),
        ("temperature", "2", "float"),
        ("temperature", True, "float"),
        ("temperature", None, "float"),
        ("alpha", "0.5", "float"),
        ("aligned_layers", (1, 2), "str"),
        ("aligned_layers", 1, "str"),
        ("initialisation", None, "str"),
    ],
)
def test_types(name, value, kind):
    assert refusal(**{**FIXED, name: value}) == f"{name}: {value!r} is not of type {kind}"


@pytest.mark.parametrize(
    ("name", "value", "nearest"),
    [
        ("alpha_schedule", "cosine_grwoth", "cosine_growth"),
        ("alpha_schedule", "cosine_shape", "cosine_^shape"),
        ("initialisation", "teacher_spred", "teacher_spread"),
        ("hidden_pool", "token", "tokens"),
        ("precision", "fp16", "bf16"),
        ("aligned_layers", "lowr", "lower"),
    ],
)
def test_a_misspelt_value_gets_the_nearest_one(name, value, nearest):
    message = refusal(**{**FIXED, name: value})
    assert message.startswith(f"{name}: {value!r} is not known; did you mean ")
    assert nearest in message.partition("valid: ")[2].split(", ")


def test_a_misspelt_growth_is_pointed_to_growth():
    message = refusal(alpha_schedule="cosine_grwoth", sharpness=1.0)
    assert "did you mean cosine_growth?" in message


def test_a_misspelt_setting_gets_the_nearest_one():
    message = refusal(**FIXED, temprature=2.0)
    assert message.startswith("setting: 'temprature' is not known; did you mean temperature?")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "alpha: missing"),
        ({"alpha_schedule": "fixed"}, "alpha: missing"),
        ({"alpha": 0.5, "sharpness": 1.0}, "sharpness: 1.0 given"),
        ({"alpha_schedule": "cosine_growth"}, "sharpness: missing; cosine_growth"),
        ({**GROWTH, "alpha": 0.5}, "alpha: 0.5 given, but cosine_growth"),
        ({"alpha": 1.0, "aligned_layers": "1,2"}, "aligned_layers: '1,2' has no effect at alpha 1"),
        ({"alpha": 1, "aligned_layers": "all"}, "aligned_layers: '1,2,3,4,5,6' has no effect"),
        ({**FIXED, "student_width": 128}, "student_width: 128 needs initialisation random"),
        ({**FIXED, "aligned_layers": "7"}, "aligned_layers: layer 7 is outside the student"),
        ({**FIXED, "aligned_layers": "4", "student_layers": 3}, "aligned_layers: layer 4 is"),
    ],
)
def test_what_does_not_go_together(values, message):
    assert refusal(**values).startswith(message)


def test_every_setting_has_another_value_here():
    assert list(OTHER_VALUES) == [setting.name for setting in fields(TrialConfig)]


@pytest.mark.parametrize("name", OTHER_VALUES)
def test_every_setting_changes_the_digest(name):
    values = FIXED
    if name == "sharpness":
        values = {**GROWTH}
    if name == "student_width":
        values = {**FIXED, "initialisation": "random"}
    plain = TrialConfig.from_dict(values)
    other = TrialConfig.from_dict({**values, **OTHER_VALUES[name]})
    assert getattr(other, name) != getattr(plain, name)
    assert other != plain
    assert other.digest != plain.digest


@pytest.mark.parametrize(
    ("one", "same"),
    [
        ({"alpha": 1}, {"alpha": 1.0}),
        ({**FIXED, "aligned_layers": "lower"}, {"aligned_layers": "3, 2,1", **FIXED}),
        (
            {**FIXED, "aligned_layers": "all", "student_layers": 2},
            {**FIXED, "aligned_layers": "1,2", "student_layers": 2},
        ),
        ({**FIXED, "temperature": 2}, FIXED),
        ({**FIXED, "seed": 3, "epochs": 1}, {"epochs": 1, "seed": 3, **FIXED}),
    ],
)
def test_equal_configurations_have_one_digest(one, same):
    first, second = TrialConfig.from_dict(one), TrialConfig.from_dict(same)
    assert first == second
    assert first.digest == second.digest
    assert len(first.digest) == 8
    assert set(first.digest) <= set("0123456789abcdef")


@pytest.mark.parametrize("name", OTHER_VALUES)
def test_a_configuration_comes_back_from_its_dictionary(name):
    config = TrialConfig.from_dict({**FIXED, **OTHER_VALUES[name]})
    values = config.to_dict()
    assert list(values) == list(OTHER_VALUES)
    assert TrialConfig.from_dict(values) == config


def test_a_configuration_is_frozen():
    config = TrialConfig(alpha=0.5)
    with pytest.raises(FrozenInstanceError):
        config.alpha = 1.0


def test_from_dict_leaves_the_callers_values_alone():
    values = {"alpha": 1, "aligned_layers": "none"}
    TrialConfig.from_dict(values)
    assert values == {"alpha": 1, "aligned_layers": "none"}
    assert type(values["alpha"]) is int


@pytest.mark.parametrize(
    ("values", "uses"),
    [({"alpha": 1.0}, False), ({"alpha": 0.999}, True), ({"alpha": 0.0}, True), (GROWTH, True)],
)
def test_only_alpha_one_needs_no_teacher_outputs(values, uses):
    assert TrialConfig.from_dict(values).uses_teacher_outputs is uses


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"alpha": 1.0}, "teacher_spread, cross-entropy only"),
        (FIXED, "teacher_spread, logits only, fixed 0.5"),
        (
            {**GROWTH, "initialisation": "random", "aligned_layers": "lower"},
            "random, layers 1,2,3, cosine_growth k=1",
        ),
        (
            {
                "aligned_layers": "6",
                "hidden_pool": "tokens",
                "hidden_weight": 1000,
                "alpha_schedule": "cosine_^shape",
                "sharpness": 2.5,
                "temperature": 4,
            },
            "teacher_spread, layers 6, pool tokens, weight 1000, cosine_^shape k=2.5, T=4",
        ),
        (
            {**FIXED, "hidden_pool": "mean", "hidden_weight": 10},
            "teacher_spread, logits only, fixed 0.5",
        ),
        ({**FIXED, "seed": 0}, "teacher_spread, logits only, fixed 0.5"),
        ({**FIXED, "seed": 3}, "teacher_spread, logits only, fixed 0.5, seed 3"),
        (
            {**GROWTH, "aligned_layers": "6", "temperature": 4, "seed": 12},
            "teacher_spread, layers 6, cosine_growth k=1, T=4, seed 12",
        ),
        ({"alpha": 1.0, "seed": 0}, "teacher_spread, cross-entropy only"),
        ({"alpha": 1.0, "seed": 1}, "teacher_spread, cross-entropy only, seed 1"),
    ],
)
def test_words(values, words):
    assert TrialConfig.from_dict(values).words() == words


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"alpha": 1.0}, "teacher_spread-cross-entropy-only"),
        ({**FIXED, "seed": 3}, "teacher_spread-logits-only-fixed-0.5-seed-3"),
        (
            {**GROWTH, "initialisation": "random", "aligned_layers": "lower"},
            "random-layers-1-2-3-cosine_growth-k=1",
        ),
        (
            {
                "aligned_layers": "6",
                "hidden_weight": 0.5,
                "alpha_schedule": "cosine_^shape",
                "sharpness": 2.5,
                "temperature": 4,
            },
            "teacher_spread-layers-6-weight-0.5-cosine_-shape-k=2.5-T=4",
        ),
    ],
)
def test_a_folder_is_named_by_words_and_digest(values, name):
    config = TrialConfig.from_dict(values)
    assert config.folder_name == f"{name}-{config.digest}"


def test_configurations_with_the_same_words_have_folders_of_their_own():
    one, other = TrialConfig(alpha=0.5, epochs=1), TrialConfig(alpha=0.5, epochs=2)
    assert one.words() == other.words()
    assert one.folder_name != other.folder_name


@pytest.mark.parametrize("name", OTHER_VALUES)
def test_every_folder_name_is_safe_on_any_file_system(name):
    config = TrialConfig.from_dict({**FIXED, **OTHER_VALUES[name]})
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._=-]*[A-Za-z0-9]", config.folder_name)


def test_types_of_the_settings():
    types = setting_types()
    assert list(types) == list(OTHER_VALUES)
    assert types["epochs"] == (int, False)
    assert types["initialisation"] == (str, False)
    assert types["temperature"] == (float, False)
    assert types["alpha"] == types["sharpness"] == (float, True)
    assert types["student_width"] == (int, True)


def test_every_setting_says_what_it_is():
    assert all(len(setting.metadata["help"]) > 10 for setting in fields(TrialConfig))


def test_a_teachers_settings_are_settings_of_a_trial():
    names = {setting.name for setting in fields(TeacherSettings)}
    assert names < setting_types().keys()
