"""Trial configurations: bounds, combinations, equality and words."""

import re
from dataclasses import asdict, replace

import numpy as np
import pytest

from tests.conftest import user_error
from trainable.config.fields import field_types
from trainable.config.trial_config import TrialConfig

FIXED = {"alpha": 0.5}
GROWTH = {"alpha_schedule": "cosine_growth", "sharpness": 1.0}
RANDOM, PRETRAINED = ({**FIXED, "initialisation": kind} for kind in ("random", "pretrained"))
TWO_LAYERS = {**FIXED, "student_layers": 2}

# For every setting: what stands beside it, a value other than the default, and values refused.
SETTINGS = {
    "initialisation": (FIXED, "random", ["teacher", None]),
    "aligned_layers": (FIXED, "1,2,3", ["lowr", 1, (1, 2), "7", "1,0"]),
    "alpha_schedule": ({"sharpness": 1.0}, "cosine_vshape", ["cosine_grwoth", None]),
    "alpha": ({}, 1.0, [-0.001, 1.001, "0.5", True]),
    "sharpness": ({"alpha_schedule": "cosine_growth"}, 2.0, [0.0, -1.0, None]),
    "class_weight": (FIXED, "balanced", ["balance", None]),
    "temperature": (FIXED, 4.0, [0.0, -1.0, "2", True, None]),
    "hidden_weight": (FIXED, 100.0, [0.0, -1.0]),
    "hidden_pool": (FIXED, "tokens", ["token"]),
    "relation_weight": (FIXED, 10.0, [-1.0, "1"]),
    "relation_heads": (FIXED, 24, [0, -12, 12.0]),
    "transfer_share": (FIXED, 4.0, [-1.0, 1e4]),
    "student_layers": (FIXED, 4, [0, -6, 3.0]),
    "student_width": (RANDOM, 128, [0, 12.0]),
    "feedforward_share": (FIXED, 0.5, [0.0, 1.5]),
    "learning_rate": (FIXED, 1e-4, [0.0, -1e-5]),
    "weight_decay": (FIXED, 0.0, [-0.1]),
    "warmup_share": (FIXED, 0.0, [-0.1, 1.0]),
    "gradient_clip": (FIXED, 5.0, [0.0]),
    "ema_decay": (FIXED, 0.999, [-0.1, 1.0, 1, "0.9"]),
    "batch_size": (FIXED, 16, [0, "8"]),
    "epochs": (FIXED, 1, [0, 3.0, True, "3", None]),
    "max_steps": (FIXED, 100, [0, -1, 3.0, "3"]),
    "evaluations": (FIXED, 3, [0]),
    "seed": (FIXED, 2**32 - 1, [-1, 2**32]),
    "precision": (FIXED, "bf16", ["fp16"]),
}
KINDS = {name: kind for name, (kind, _) in field_types(TrialConfig).items()}


@pytest.mark.parametrize("name", KINDS)
def test_each_settings_values(name):
    """A good one comes back from JSON's values and changes the digest; a bad one is named."""
    beside, value, refused = SETTINGS[name]
    config = TrialConfig.from_dict({**beside, name: value})
    assert getattr(config, name) == value
    assert TrialConfig.from_dict(asdict(config)) == config
    usual = {**FIXED, **GROWTH}.get(name, getattr(TrialConfig, name))
    assert config.digest != TrialConfig.from_dict({**beside, name: usual}).digest
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._=-]*[A-Za-z0-9]", config.folder_name)
    not_finite = [float("nan"), float("inf"), float("-inf")] if KINDS[name] is float else []
    for bad in [*refused, *not_finite]:
        said = user_error(TrialConfig.from_dict, {**beside, name: bad})
        assert said.startswith(f"{name}: ")


def test_what_does_not_go_together_or_is_misspelt():
    for values, message in (
        ({"alpha": 0.5, "sharpness": 1.0}, "sharpness: 1.0 given"),
        ({"alpha_schedule": "cosine_growth"}, "sharpness: missing; cosine_growth"),
        ({**GROWTH, "alpha": 0.5}, "alpha: 0.5 given, but cosine_growth"),
        ({"alpha": 1.0, "aligned_layers": "1,2"}, "aligned_layers: '1,2' has no effect at alpha 1"),
        ({"alpha": 1.0, "relation_weight": 2.0}, "relation_weight: 2.0 has no effect at alpha 1"),
        (
            {**FIXED, "relation_weight": 2.0, "aligned_layers": "1,2"},
            "relation_weight: 2.0 does not go with aligned layers 1,2; give aligned_layers none",
        ),
        ({**FIXED, "student_width": 128}, "student_width: 128 needs initialisation random"),
        ({**PRETRAINED, "feedforward_share": 0.5}, "feedforward_share: 0.5 does not go with init"),
        ({**FIXED, "aligned_layers": "4", "student_layers": 3}, "aligned_layers: layer 4 is"),
        ({**FIXED, "temprature": 2.0}, "setting: 'temprature' is not known; did you mean temper"),
        ({"alpha_schedule": "fixd"}, "alpha_schedule: 'fixd' is not known; did you mean fixed?"),
    ):
        assert user_error(TrialConfig.from_dict, values).startswith(message)


def test_equal_configurations_have_one_digest():
    """Settings in groups, and as numpy draws them for Tune's samplers, are the plain ones."""
    for one, same in (
        ({"alpha": 1}, {"alpha": 1.0}),
        ({**FIXED, "weight_decay": 0.0}, {**FIXED, "weight_decay": -0.0}),
        ({**FIXED, "aligned_layers": "lower"}, {"aligned_layers": "3, 2,1", **FIXED}),
        ({**TWO_LAYERS, "aligned_layers": "all"}, {**TWO_LAYERS, "aligned_layers": "1,2"}),
        ({**FIXED, "temperature": 2}, FIXED),
        ({"alpha": {"alpha_schedule": "fixed", "alpha": 0.5}}, FIXED),
        ({"a": {"b": GROWTH}, "c": {"seed": 3}}, {**GROWTH, "seed": 3}),
        ({"alpha": np.float64(0.5), "seed": np.int64(0), "hidden_pool": np.str_("cls")}, FIXED),
    ):
        first, second = TrialConfig.from_dict(one), TrialConfig.from_dict(same)
        assert re.fullmatch("[0-9a-f]{8}", first.digest)
        assert (first, first.digest, asdict(first)) == (second, second.digest, asdict(second))


def test_what_is_idle_makes_no_other_recipe():
    """Temperature and hidden states at alpha 1, hidden states where no layer is aligned, the heads
    of relations that have no weight."""
    labels = TrialConfig(alpha=1.0)
    assert not labels.uses_teacher_outputs
    assert labels.recipe == TrialConfig(alpha=1.0, temperature=4.0, hidden_pool="mean").recipe
    logits = TrialConfig(alpha=0.999, hidden_weight=7.0, seed=5)
    assert logits.uses_teacher_outputs
    assert logits.recipe == TrialConfig(alpha=0.999).recipe
    assert logits.recipe != TrialConfig(alpha=0.999, temperature=4.0).recipe
    aligned = TrialConfig(alpha=0.5, aligned_layers="1", hidden_weight=7.0)
    assert aligned.recipe == replace(aligned, relation_heads=12)
    of_teacher = replace(logits, alpha=0.0)
    assert of_teacher.recipe == replace(of_teacher, class_weight="balanced").recipe
    assert TrialConfig(alpha=0.5, relation_heads=4).recipe == TrialConfig(alpha=0.5).recipe
    related = TrialConfig(alpha=0.5, relation_weight=2.0, relation_heads=4, hidden_weight=7.0)
    assert related.recipe == replace(related, hidden_weight=1.0)
    assert related.with_fixed_alpha(1.0).recipe == TrialConfig(alpha=1.0).recipe
    assert related.with_fixed_alpha(0.5) == related


def test_words_and_folder():
    aligned = {"aligned_layers": "6", "hidden_pool": "tokens", "hidden_weight": 1000}
    aligned |= {"alpha_schedule": "cosine_^shape", "sharpness": 2.5, "temperature": 4}
    shape = "layers 6, pool tokens, weight 1000, cosine_^shape k=2.5, T=4, ema 0.99, seed 3"
    for values, label in (
        ({"alpha": 1.0}, "cross-entropy only"),
        ({**aligned, "ema_decay": 0.99, "seed": 3}, shape),
        (
            {"relation_weight": 0.5, "relation_heads": 48},
            "relations weight 0.5, heads 48, fixed 0.5",
        ),
    ):
        config, wanted = TrialConfig.from_dict(values), f"teacher_spread, {label}"
        folder = wanted.replace(",", "").replace("^", " ").replace(" ", "-")
        assert (config.label(), config.folder_name) == (wanted, f"{folder}-{config.digest}")


def test_constant_alpha_is_half_where_none_is_given():
    assert TrialConfig() == TrialConfig.from_dict({"alpha": None}) == TrialConfig(alpha=0.5)
    assert TrialConfig(**GROWTH).alpha is None
