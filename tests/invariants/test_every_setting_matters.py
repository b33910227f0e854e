"""A searched setting that changes nothing is the worst fault a search can have."""

from dataclasses import fields
from itertools import combinations

import pytest
import torch

from trainable.config.initialisations import INITIALISATIONS
from trainable.config.trial_config import TrialConfig
from trainable.trial.training_loop import Trial

# By setting its values; then what all its trials have, unless that is nothing.
VALUES = {"initialisation": INITIALISATIONS, "aligned_layers": ["none", "1", "2", "1,2"]}
VALUES["alpha_schedule"] = [f"cosine_{name}" for name in ("growth", "descent", "vshape", "^shape")]
VALUES |= {"alpha": [0.5, 0.6], "sharpness": [1.0, 2.0], "class_weight": ["none", "balanced"]}
VALUES |= {"temperature": [2.0, 3.0], "hidden_weight": [1.0, 10.0]}
VALUES |= {"hidden_pool": ["cls", "mean", "tokens"], "relation_weight": [0.0, 1.0, 10.0]}
VALUES |= {"relation_heads": [1, 4, 8], "student_layers": [1, 2], "student_width": [16, 32]}
VALUES |= {"feedforward_share": [1.0, 0.5, 0.25], "learning_rate": [1e-3, 2e-3]}
VALUES |= {"weight_decay": [0.0, 0.5], "warmup_share": [0.0, 0.5], "gradient_clip": [0.01, 1.0]}
VALUES |= {"ema_decay": [0.0, 0.3, 0.5], "batch_size": [8, 16], "epochs": [1, 2]}
VALUES |= {"max_steps": [None, 3, 5], "evaluations": [2, 3], "seed": [0, 1]}
VALUES |= {"precision": ["fp32", "bf16"]}
SCHEDULE = {"alpha": None, "alpha_schedule": "cosine_growth", "sharpness": 1.0}
COMMON = {
    **dict.fromkeys(("alpha_schedule", "sharpness"), SCHEDULE),
    "relation_weight": {"aligned_layers": "none", "relation_heads": 4},
    "relation_heads": {"aligned_layers": "none", "relation_weight": 10.0},
    "student_layers": {"aligned_layers": "1"},
    "student_width": {"initialisation": "random"},
}


def final_weights(config, inputs, device):
    """As they are evaluated."""
    trial = Trial.start(config, inputs, device)
    evaluations = list(trial.run())
    with trial.setup.averaged():
        weights = torch.cat([p.detach().flatten() for p in trial.student.parameters()])
    return len(evaluations), weights


def differ(first, second):
    return first[0] != second[0] or not torch.equal(first[1], second[1])


def test_no_setting_is_left_out():
    elsewhere = {"transfer_share"}  # test_texts_without_labels_train_by_the_teacher_alone.py
    assert set(VALUES) | elsewhere == {setting.name for setting in fields(TrialConfig)}


@pytest.mark.parametrize("setting", VALUES)
def test_every_value_trains_another_student(setting, inputs, make_config, cpu):
    common = COMMON.get(setting, {})
    configs = [make_config(**{**common, setting: value}) for value in VALUES[setting]]
    runs = [final_weights(config, inputs, cpu) for config in configs]
    for first, second in combinations(runs, 2):
        assert differ(first, second)
