"""The distillation loss: pure functions of tensors, in fp32 whatever the autocast.

L = alpha * CE + (1 - alpha) * (KL + hidden_weight * sum over aligned layers i of H_i)
"""

from torch import Tensor
from torch.nn import functional


def weighted_mean(values: Tensor, weights: Tensor | None) -> Tensor:
    """sum of weights * values; the weights add up to 1, and None stands for equal ones."""
    return values.mean() if weights is None else (values * weights).sum()


def cross_entropy(logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
    """Mean cross-entropy in nats; logits [B, C], labels [B] with values 0..C-1, weights [B]."""
    each = functional.cross_entropy(logits.float(), labels, reduction="none")
    return weighted_mean(each, weights)


def distillation_kl(
    student_logits: Tensor,
    teacher_logits: Tensor,
    temperature: Tensor | float,
    weights: Tensor | None = None,
) -> Tensor:
    """T^2 * mean over the batch of KL(softmax(teacher / T) || softmax(student / T)), in nats.

    Both logits [B, C], weights [B]. T^2 keeps the gradient's size independent of T (Hinton et al.
    2015, section 2).
    """
    student = functional.log_softmax(student_logits.float() / temperature, dim=-1)
    teacher = functional.log_softmax(teacher_logits.float() / temperature, dim=-1)
    per_class = functional.kl_div(student, teacher, reduction="none", log_target=True)
    return weighted_mean(per_class.sum(dim=-1), weights) * temperature**2


def unit(states: Tensor) -> Tensor:
    """States [..., H] divided by their L2 norm, in fp32."""
    return functional.normalize(states.float(), dim=-1)


def hidden_loss(
    student_states: Tensor,
    teacher_units: Tensor,
    layer_weights: Tensor,
    weights: Tensor | None = None,
) -> Tensor:
    """Sum over layers of layer_weights[i] * H_i, H_i the mean squared error of unit vectors.

    student_states [B, S, H], or [B, T, S, H] for states of all tokens; teacher_units of the same
    shape, each vector of length 1 where it has weight; layer_weights [S]. The mean runs over the H
    coordinates, and with weights [B] or [B, T] over the batch or its real tokens.
    """
    squared = (unit(student_states) - teacher_units.float()).pow(2).mean(dim=-1)  # [..., S]
    each = (squared * layer_weights).sum(dim=-1)
    return weighted_mean(each, weights)
