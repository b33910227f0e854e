"""What a student is trained towards."""

import numpy as np
import pytest
import torch

from tests.conftest import tiny_classifier
from trainable.distillation import Distillation
from trainable.tokens import padded_batch
from trainable.trial import Trial


def build(config, cpu):
    return Distillation.build(config, tiny_classifier().config, None, cpu)


def test_layers_weights_and_mirrors(make_config, cpu):
    made = build(make_config(aligned_layers="2", hidden_weight=7.0), cpu)
    assert made.layer_weights.tolist() == [0.0, 7.0]
    assert made.mirrored.tolist() == [2, 4]
    assert len(made.projections) == 0


def test_projection_only_where_widths_differ(make_config, cpu):
    random = {"initialisation": "random"}
    made = build(make_config(student_width=16, **random), cpu)
    assert [tuple(p.weight.shape) for p in made.projections] == [(32, 16), (32, 16)]
    assert len(build(make_config(student_width=32, **random), cpu).projections) == 0
    assert (
        len(build(make_config(student_width=16, aligned_layers="none", **random), cpu).projections)
        == 0
    )


def test_projection_is_trained(task, make_config, cpu):
    config = make_config(initialisation="random", student_width=16, evaluations=1)
    trial = Trial.start(config, task, cpu)
    before = [p.detach().clone() for p in trial.distillation.projections.parameters()]
    list(trial.run())
    after = list(trial.distillation.projections.parameters())
    assert all(not torch.equal(a, b) for a, b in zip(before, after, strict=True))


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_alpha_weighs_the_parts(task, make_config, cpu, alpha):
    trial = Trial.start(make_config(alpha=0.5, hidden_weight=100.0), task, cpu)
    trial.student.eval()
    trial.distillation.alpha.fill_(alpha)
    batch = padded_batch(trial.splits["train"], np.arange(4), task.pad_id, cpu)
    losses = trial.distillation.losses(trial.student, batch)
    parts = {name: float(value.detach()) for name, value in losses.items()}
    assert min(parts.values()) > 0
    teacher = parts["kl"] + parts["hidden"]
    assert parts["loss"] == pytest.approx(
        alpha * parts["cross_entropy"] + (1 - alpha) * teacher, rel=1e-6
    )
