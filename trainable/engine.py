"""The training step and the evaluation, for teachers and students alike."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from trainable.batches import evaluation_batches
from trainable.losses import cross_entropy
from trainable.model_outputs import run_model
from trainable.tokens import Batch, TokenisedSplit, padded_batch

EVALUATION_BATCH = 64
ADAM_BETAS = (0.9, 0.999)
ADAM_EPSILON = 1e-8

Losses = dict[str, Tensor]  # scalar tensors by name; `loss` is the one that is minimised
LossFunction = Callable[[nn.Module, Batch], Losses]


def label_losses(precision: str) -> LossFunction:
    """Cross-entropy with the labels as the whole loss."""

    def losses(model: nn.Module, batch: Batch) -> Losses:
        logits, _ = run_model(model, batch, precision)
        return {"loss": cross_entropy(logits, batch.labels)}

    return losses


def make_optimiser(modules: Sequence[nn.Module], weight_decay: float) -> torch.optim.AdamW:
    """Fused AdamW over the modules' parameters; vectors (biases, norms) don't decay.

    The learning rate is set at each step.
    """
    parameters = [p for module in modules for p in module.parameters()]
    matrices = [p for p in parameters if p.ndim > 1]
    vectors = [p for p in parameters if p.ndim <= 1]
    groups = [
        {"params": matrices, "weight_decay": weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        groups, lr=0.0, betas=ADAM_BETAS, eps=ADAM_EPSILON, weight_decay=0.0, fused=True
    )


@dataclass
class TrainingStep:
    """Forward, losses, backward, clipping and the optimiser's step on one batch."""

    model: nn.Module
    optimiser: torch.optim.Optimizer
    losses: LossFunction
    gradient_clip: float

    def __call__(self, batch: Batch, learning_rate: float) -> Losses:
        """Takes one step; returns the losses before it, detached, still on the device."""
        losses = self.losses(self.model, batch)
        losses["loss"].backward()  # type: ignore[no-untyped-call]
        parameters = [p for group in self.optimiser.param_groups for p in group["params"]]
        torch.nn.utils.clip_grad_norm_(parameters, self.gradient_clip)
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        return {name: value.detach() for name, value in losses.items()}


@dataclass
class LossMeans:
    """Running means of the losses, kept on the device so that a step never waits for it."""

    sums: Losses = field(default_factory=dict)
    steps: int = 0

    def add(self, losses: Losses) -> None:
        """Counts one step's losses."""
        self.steps += 1
        for name, value in losses.items():
            self.sums[name] = self.sums[name] + value if name in self.sums else value

    def take(self) -> dict[str, float]:
        """The mean of each loss since the last call, in nats; starts anew."""
        means = {name: float(value) / self.steps for name, value in self.sums.items()}
        self.sums, self.steps = {}, 0
        return means


@torch.inference_mode()
def evaluate(
    model: nn.Module, split: TokenisedSplit, pad_id: int, device: torch.device, precision: str
) -> np.ndarray:
    """Whether each of the split's N sentences is classified right, bool [N]; dropout off."""
    was_training = model.training
    model.eval()
    correct = np.empty(len(split), dtype=bool)
    for rows in evaluation_batches(split.lengths, EVALUATION_BATCH):
        batch = padded_batch(split, rows, pad_id, device)
        logits, _ = run_model(model, batch, precision)
        correct[rows] = (logits.argmax(dim=-1) == batch.labels).cpu().numpy()
    model.train(was_training)
    return correct


def accuracy(correct: np.ndarray) -> float:
    """Share of right answers, 0 to 1."""
    return float(np.mean(correct))
