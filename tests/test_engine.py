"""The training step and the evaluation against plain PyTorch."""

import numpy as np
import pytest
import torch

from tests.conftest import tiny_classifier
from trainable.engine import (
    LossMeans,
    TrainingStep,
    accuracy,
    evaluate,
    label_losses,
    make_optimiser,
)
from trainable.tokens import Batch, TokenisedSplit


def batch():
    ids = torch.tensor([[2, 7, 8, 3], [2, 9, 3, 0]])
    return Batch(np.arange(2), ids, (ids > 0).long(), torch.tensor([0, 1]))


losses = label_losses("fp32")


def test_a_step_is_adamw_on_clipped_gradients():
    """Against AdamW's first step written out: m / sqrt(v) is the sign of the gradient."""
    model, rate, decay = tiny_classifier(), 1e-3, 0.1
    reference = tiny_classifier()
    TrainingStep(model, make_optimiser([model], decay), losses, gradient_clip=0.01)(batch(), rate)
    losses(reference, batch())["loss"].backward()
    norm = torch.stack([p.grad.norm() for p in reference.parameters()]).norm()
    assert norm > 0.01
    for new, old in zip(model.parameters(), reference.parameters(), strict=True):
        gradient = old.grad * (0.01 / norm)
        kept = old * (1 - rate * decay) if old.ndim > 1 else old
        expected = kept - rate * gradient / (gradient.abs() + 1e-8)
        torch.testing.assert_close(new, expected, rtol=1e-4, atol=1e-7)


def test_step_returns_the_loss_before_it_and_clears_gradients():
    model = tiny_classifier()
    before = float(losses(model, batch())["loss"].detach())
    step = TrainingStep(model, make_optimiser([model], 0.0), losses, gradient_clip=1.0)
    assert float(step(batch(), 1e-3)["loss"]) == before
    assert all(p.grad is None for p in model.parameters())
    assert float(step(batch(), 1e-3)["loss"]) < before


def test_loss_means():
    means = LossMeans()
    for value in (1.0, 2.0, 6.0):
        means.add({"loss": torch.tensor(value), "kl": torch.tensor(10 * value)})
    assert means.take() == {"loss": 3.0, "kl": 30.0}
    means.add({"loss": torch.tensor(5.0)})
    assert means.take() == {"loss": 5.0}


def test_loss_means_go_on_from_their_sums_and_steps():
    means = LossMeans()
    first = torch.tensor(1.0)
    means.add({"loss": first})
    means.add({"loss": torch.tensor(2.0)})
    again = LossMeans({"loss": means.sums["loss"].clone()}, means.steps)
    for both in (means, again):
        both.add({"loss": torch.tensor(6.0)})
    assert (again.sums, again.steps) == ({"loss": torch.tensor(9.0)}, 3)
    assert means.take() == again.take() == {"loss": 3.0}
    assert (again.sums, again.steps) == ({}, 0)
    assert first == 1.0  # the caller's, not added to


def test_loss_means_are_apart_from_each_other():
    one = LossMeans()
    one.add({"loss": torch.tensor(1.0)})
    assert LossMeans().sums == {}


@pytest.mark.parametrize("architecture", ["bert", "deberta-v2"])
def test_evaluation_equals_one_sentence_at_a_time(architecture, cpu):
    generator = np.random.default_rng(0)
    lengths = generator.integers(3, 17, size=150)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    ids = generator.integers(4, 200, size=offsets[-1]).astype(np.int32)
    split = TokenisedSplit(ids, offsets, generator.integers(0, 2, size=150))
    model = tiny_classifier(architecture).train()
    correct = evaluate(model, split, 0, cpu, "fp32")
    assert model.training
    model.eval()
    for i in range(150):
        sentence = torch.from_numpy(ids[offsets[i] : offsets[i + 1]]).long()[None]
        with torch.no_grad():
            assert correct[i] == (int(model(sentence).logits.argmax()) == split.labels[i])
    assert 0 < accuracy(correct) < 1
    assert accuracy(correct) == correct.sum() / 150
