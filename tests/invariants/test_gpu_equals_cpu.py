"""The same numbers on a CUDA GPU."""

import numpy as np
import pytest
import torch

from tests.conftest import ARCHITECTURES, batch_of, padded_batch, tiny_classifier, train_split
from trainable.engine.training_step import TrainingStep, label_losses, make_optimiser
from trainable.trial.training_loop import Trial

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU"),
]
CUDA = torch.device("cuda")


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_training_steps(architecture, cpu):
    weights = []
    for device in (cpu, CUDA):
        model = tiny_classifier(architecture).to(device)
        ids = torch.tensor([[2, 7, 9, 50, 120, 3], [2, 9, 9, 3, 0, 0]], device=device)
        batch = batch_of(ids, (ids > 0).long(), torch.tensor([0, 1], device=device))
        step = TrainingStep(
            model,
            make_optimiser([model], weight_decay=0.01),
            label_losses("fp32"),
            gradient_clip=1.0,
        )
        for _ in range(3):
            step(batch, learning_rate=1e-3)
        weights.append(torch.cat([p.detach().cpu().flatten() for p in model.parameters()]))
    assert float((weights[0] - weights[1]).abs().max()) < 2e-3  # Adam's sign of near-zero slopes
    assert float((weights[0] - weights[1]).abs().mean()) < 1e-5


@pytest.mark.parametrize(
    "changes",
    [
        {"hidden_pool": "cls"},
        {"hidden_pool": "mean"},
        {"hidden_pool": "tokens"},
        {"aligned_layers": "none", "relation_weight": 10.0, "relation_heads": 4},
    ],
)
def test_losses(inputs, make_config, cpu, changes):
    found = []
    for device in (cpu, CUDA):
        trial = Trial.start(make_config(hidden_weight=10.0, **changes), inputs, device)
        trial.student.eval()
        trial.trainer.distillation.alpha.fill_(0.3)
        batch = padded_batch(train_split(inputs), np.arange(16), inputs.pad_id, device)
        losses = trial.trainer.distillation.losses(trial.student, batch)
        found.append({name: float(value.detach()) for name, value in losses.items()})
    assert found[1] == pytest.approx(found[0], rel=1e-4)
