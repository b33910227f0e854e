"""What a student is trained towards."""

import numpy as np
import pytest
import torch

from tests.conftest import padded_batch, train_split
from trainable.trial.training_loop import Trial
from trainable.trial.training_setup import SetupCache

RELATED = {"relation_weight": 10.0, "relation_heads": 4, "aligned_layers": "none"}


def test_projection_only_where_widths_differ(inputs, make_config, cpu):
    narrow = {"student_width": 16}
    others = ({"student_width": 32}, {**narrow, "aligned_layers": "none"}, {**narrow, **RELATED})
    for changes in others:
        config = make_config(initialisation="random", **changes)
        assert not list(SetupCache().set_up(config, inputs, cpu).distillation.projections)


def test_projection_is_trained(inputs, make_config, cpu):
    config = make_config(initialisation="random", student_width=16, evaluations=1)
    trial = Trial.start(config, inputs, cpu)
    before = [p.detach().clone() for p in trial.setup.distillation.projections.parameters()]
    assert [tuple(p.shape) for p in before] == [(32, 16), (32, 16)]
    list(trial.run())
    after = list(trial.setup.distillation.projections.parameters())
    assert all(not torch.equal(a, b) for a, b in zip(before, after, strict=True))


@pytest.mark.parametrize("most", [1, 3])
@pytest.mark.parametrize("pool", ["cls", "mean", "tokens", "relations"])
def test_losses_of_parts_add_up_to_those_of_the_batch(inputs, make_config, cpu, pool, most):
    hidden = {"hidden_pool": pool, "hidden_weight": 100.0}
    config = make_config(**(RELATED if pool == "relations" else hidden))
    trial = Trial.start(config, inputs, cpu)
    trial.student.eval()
    trial.setup.distillation.alpha.fill_(0.3)
    rows = np.array([3, 50, 7, 91, 22, 8, 61])
    batch = padded_batch(train_split(inputs), rows, inputs.pad_id, cpu)
    step = trial.setup.step
    expected, losses = step.gradients([batch])
    found, summed = step.gradients(batch.parts(most))
    whole = {name: float(value) for name, value in losses.items()}
    assert {name: float(value) for name, value in summed.items()} == pytest.approx(whole, rel=1e-4)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-6)
