"""A searched setting that changes nothing is the worst fault a search can have."""

from dataclasses import fields
from itertools import combinations

import pytest
import torch

from trainable.config.trial_config import TrialConfig
from trainable.trial.training_loop import Trial

SCHEDULE = {"alpha": None, "alpha_schedule": "cosine_growth", "sharpness": 1.0}

RELATED = {"aligned_layers": "none", "relation_weight": 10.0}

# setting: (what all its trials have, the values)
VALUES = {
    "initialisation": (
        {},
        ["random", "teacher_spread", "teacher_lower", "teacher_upper", "teacher_embeddings"],
    ),
    "aligned_layers": ({}, ["none", "1", "2", "1,2"]),
    "alpha_schedule": (
        SCHEDULE,
        ["cosine_growth", "cosine_descent", "cosine_vshape", "cosine_^shape"],
    ),
    "alpha": ({}, [0.5, 0.6]),
    "sharpness": (SCHEDULE, [1.0, 2.0]),
    "class_weight": ({}, ["none", "balanced"]),
    "temperature": ({}, [2.0, 3.0]),
    "hidden_weight": ({}, [1.0, 10.0]),
    "hidden_pool": ({}, ["cls", "mean", "tokens"]),
    "relation_weight": ({"aligned_layers": "none", "relation_heads": 4}, [0.0, 1.0, 10.0]),
    "relation_heads": (RELATED, [1, 4, 8]),
    "student_layers": ({"aligned_layers": "1"}, [1, 2]),
    "student_width": ({"initialisation": "random"}, [16, 32]),
    "feedforward_share": ({}, [1.0, 0.5, 0.25]),
    "learning_rate": ({}, [1e-3, 2e-3]),
    "weight_decay": ({}, [0.0, 0.5]),
    "warmup_share": ({}, [0.0, 0.5]),
    "gradient_clip": ({}, [0.01, 1.0]),
    "ema_decay": ({}, [0.0, 0.3, 0.5]),
    "batch_size": ({}, [8, 16]),
    "epochs": ({}, [1, 2]),
    "max_steps": ({}, [None, 3, 5]),
    "evaluations": ({}, [2, 3]),
    "seed": ({}, [0, 1]),
    "precision": ({}, ["fp32", "bf16"]),
}


def final_weights(config, inputs, device):
    """As they are evaluated."""
    trial = Trial.start(config, inputs, device)
    evaluations = list(trial.run())
    with trial.setup.averaged():
        weights = torch.cat([p.detach().flatten() for p in trial.student.parameters()])
    return len(evaluations), weights


def differ(first, second):
    return (
        first[0] != second[0]
        or first[1].shape != second[1].shape
        or bool((first[1] != second[1]).any())
    )


def test_no_setting_is_left_out():
    elsewhere = {"transfer_share"}  # test_texts_without_labels_train_by_the_teacher_alone.py
    assert set(VALUES) | elsewhere == {setting.name for setting in fields(TrialConfig)}


@pytest.mark.parametrize("setting", VALUES)
def test_every_value_trains_another_student(setting, inputs, make_config, cpu):
    common, values = VALUES[setting]
    runs = [final_weights(make_config(**{**common, setting: v}), inputs, cpu) for v in values]
    for first, second in combinations(runs, 2):
        assert differ(first, second)


def test_alpha_one_ignores_the_teachers_outputs(inputs, make_config, cpu):
    """Cross-entropy only, whatever stands for the teacher's part."""
    base = {"alpha": 1.0, "aligned_layers": "none"}
    first, second = (
        final_weights(make_config(**base, temperature=t), inputs, cpu) for t in (1.0, 4.0)
    )
    assert torch.equal(first[1], second[1])
