"""The distillation loss: pure functions of tensors, in fp32 whatever the autocast.

L = alpha * CE + (1 - alpha) * (KL + hidden_weight * sum over aligned layers i of H_i)
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class LossParts:
    """The loss and its parts, each a scalar tensor; `hidden` already carries its weight."""

    total: Tensor
    cross_entropy: Tensor
    kl: Tensor
    hidden: Tensor


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy in nats; logits [B, C], labels [B] with values 0..C-1."""
    return functional.cross_entropy(logits.float(), labels)


def distillation_kl(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """T^2 * mean over the batch of KL(softmax(teacher / T) || softmax(student / T)), in nats.

    Both logits [B, C]. T^2 keeps the gradient's size independent of T (Hinton et al. 2015,
    section 2).
    """
    student = functional.log_softmax(student_logits.float() / temperature, dim=-1)
    teacher = functional.log_softmax(teacher_logits.float() / temperature, dim=-1)
    per_class = functional.kl_div(student, teacher, reduction="none", log_target=True)
    return per_class.sum(dim=-1).mean() * temperature**2


def unit(states: Tensor) -> Tensor:
    """States [..., H] divided by their L2 norm, in fp32."""
    return functional.normalize(states.float(), dim=-1)


def hidden_loss(
    student_states: Tensor,
    teacher_units: Tensor,
    layer_weights: Tensor,
    token_mask: Tensor | None = None,
) -> Tensor:
    """Sum over layers of layer_weights[i] * H_i, H_i the mean squared error of unit vectors.

    student_states [B, S, H], or [B, T, S, H] with token_mask [B, T] (1 for a real token);
    teacher_units of the same shape, each vector of length 1 (or 0 under the mask); layer_weights
    [S]. The mean runs over the H coordinates and over the batch, or over its real tokens.
    """
    squared = (unit(student_states) - teacher_units.float()).pow(2).mean(dim=-1)  # [..., S]
    if token_mask is None:
        per_layer = squared.mean(dim=0)
    else:
        mask = token_mask.to(squared.dtype)
        per_layer = torch.einsum("bts,bt->s", squared, mask) / mask.sum()
    return (per_layer * layer_weights).sum()


def distillation_loss(
    alpha: Tensor, cross_entropy: Tensor, kl: Tensor, hidden: Tensor
) -> LossParts:
    """Combines the parts; alpha (scalar tensor in [0, 1]) weighs CE, 1 - alpha the teacher's."""
    total = alpha * cross_entropy + (1.0 - alpha) * (kl + hidden)
    return LossParts(total, cross_entropy, kl, hidden)
