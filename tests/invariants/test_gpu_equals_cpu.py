"""The same numbers on a CUDA GPU."""

import numpy as np
import pytest
import torch

from tests.conftest import ARCHITECTURES, padded_batch, tiny_classifier, train_split
from trainable.data.examples import Examples
from trainable.engine.cuda_graph import make_executor
from trainable.engine.training_step import TrainingStep, label_losses, make_optimiser
from trainable.models.static_forward import make_static
from trainable.trial.training_loop import Trial

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU"),
]
CUDA = torch.device("cuda")


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("executor", ["eager", "graph"])
def test_training_steps(architecture, executor, inputs, cpu):
    """The third step is the first that a graph replays."""
    weights = []
    for device, name in ((cpu, "eager"), (CUDA, executor)):
        model = tiny_classifier(architecture).to(device)
        make_static(model)
        step = TrainingStep(
            model,
            make_optimiser([model], weight_decay=0.01),
            label_losses("fp32"),
            1.0,
            examples=Examples(train_split(inputs), inputs.pad_id, device),
            batch_size=8,
            executor=make_executor(name, device),
        )
        for _ in range(4):
            step.take(np.arange(8), 1e-3)
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
        trial.setup.distillation.alpha.fill_(0.3)
        batch = padded_batch(train_split(inputs), np.arange(16), inputs.pad_id, device)
        losses = trial.setup.distillation.losses(trial.student, batch)
        found.append({name: float(value.detach()) for name, value in losses.items()})
    assert found[1] == pytest.approx(found[0], rel=1e-4)
