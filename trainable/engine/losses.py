"""The distillation loss: pure functions of tensors, in fp32 whatever the autocast.

L = alpha * CE + (1 - alpha) * (KL + hidden_weight * sum over aligned layers i of H_i
                                   + relation_weight * sum over queries, keys and values of R)

Of a regression, whose models have one output, CE is the mean squared error with the labels, and KL
that with the teacher's output.

What 1 - alpha multiplies is the sum of TEACHER_TERMS; another term is a function and a line there.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt

import torch
from torch import Tensor
from torch.nn import functional

from trainable.data.datasets import NO_LABEL


def weighted_mean(values: Tensor, weights: Tensor | None) -> Tensor:
    """Sum of weights * values; the weights add up to 1, and None stands for equal ones."""
    return values.mean() if weights is None else (values * weights).sum()


def cross_entropy(
    logits: Tensor, labels: Tensor, weights: Tensor | None = None, of_classes: Tensor | None = None
) -> Tensor:
    """Mean cross-entropy in nats, an example's times the weight of its class; logits [B, C], labels
    [B] with values 0..C-1, weights [B], those `of_classes` [C]. Of a regression, whose labels are
    floats, the mean of `squared_errors`."""
    if labels.is_floating_point():
        return weighted_mean(squared_errors(logits, labels), weights)
    each = functional.cross_entropy(logits.float(), labels, of_classes, reduction="none")
    return weighted_mean(each, weights)


def squared_errors(outputs: Tensor, labels: Tensor) -> Tensor:
    """Of B outputs [B, 1] from labels [B], [B]; 0 without a label."""
    error = outputs[:, 0].float() - labels
    return torch.where(labels == NO_LABEL, 0.0, error.square())


def class_balance(labels: Tensor, classes: int) -> Tensor:
    """N / (C * count) of each class [C], fp32, of labels [N], whose mean weight is then 1 (King and
    Zeng 2001; scikit-learn's `balanced`). Negative labels are none; 1 for those of a regression."""
    if labels.is_floating_point():
        return torch.ones(classes, device=labels.device)
    counts = torch.bincount(labels[labels >= 0], minlength=classes)
    return counts.sum() / (classes * counts.clamp(min=1))


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

    student_states [B, S, H], or [B, T, S, H] for all tokens; teacher_units of the same shape;
    layer_weights [S]; weights [B] or [B, T]. The mean runs over the H coordinates and over the
    batch or its real tokens.
    """
    squared = (unit(student_states) - teacher_units.float()).pow(2).mean(dim=-1)  # [..., S]
    each = (squared * layer_weights).sum(dim=-1)
    return weighted_mean(each, weights)


def token_relations(vectors: Tensor, heads: int, mask: Tensor) -> Tensor:
    """Log-probabilities [B, 3, heads, T, T] of each token's relations to all real ones.

    Of vectors [B, T, 3, H] cut into heads of d = H / heads coordinates: log softmax over the second
    token of dot product / sqrt(d), in fp32. mask [B, T] is 1 for a real token.
    """
    by_head = vectors.float().reshape(*vectors.shape[:3], heads, -1).permute(0, 2, 3, 1, 4)
    products = by_head @ by_head.mT / sqrt(by_head.shape[-1])  # [B, 3, heads, T, T]
    padding = mask[:, None, None, None, :] == 0
    # The lowest finite number: with -inf the KL of two padded tokens would be NaN.
    return products.masked_fill(padding, torch.finfo(torch.float32).min).log_softmax(dim=-1)


def relation_loss(
    student_vectors: Tensor,
    teacher_vectors: Tensor,
    heads: int,
    mask: Tensor,
    weights: Tensor | None = None,
) -> Tensor:
    """Sum over queries, keys and values of R = KL(teacher's relations || student's), in nats.

    Vectors [B, T, 3, H], each model's with its own H; mask and weights [B, T]. The mean runs over
    the heads and the real tokens (Wang et al. 2021, MiniLMv2, section 3).
    """
    student = token_relations(student_vectors, heads, mask)
    teacher = token_relations(teacher_vectors, heads, mask)
    per_token = functional.kl_div(student, teacher, reduction="none", log_target=True).sum(dim=-1)
    return weighted_mean(per_token.mean(dim=2).sum(dim=1), weights)


@dataclass(frozen=True)
class TermInputs:
    """What a term may compare, of one batch of B examples.

    Both logits [B, C], weights [B], temperature a scalar, layer_weights [S]. If hidden states are
    read, `hidden` has those of the student, the teacher's unit vectors and their weights, as
    `hidden_loss` takes them. `relations` are the arguments of `relation_loss` if these are read.
    """

    logits: Tensor
    teacher_logits: Tensor
    temperature: Tensor
    weights: Tensor
    layer_weights: Tensor
    hidden: tuple[Tensor, Tensor, Tensor] | None = None
    relations: tuple[Tensor, Tensor, int, Tensor, Tensor] | None = None
    relation_weight: Tensor | float = 0.0


def kl_term(of: TermInputs) -> Tensor:
    """KL, T^2 included; of one output the mean squared error."""
    if of.logits.shape[-1] == 1:
        errors = squared_errors(of.logits, of.teacher_logits[:, 0].float())
        return weighted_mean(errors, of.weights)
    return distillation_kl(of.logits, of.teacher_logits, of.temperature, of.weights)


def hidden_term(of: TermInputs) -> Tensor:
    """hidden_weight * sum of H_i; 0 if no hidden states are read."""
    if of.hidden is None:
        return of.layer_weights.new_zeros(())
    states, teacher_units, weights = of.hidden
    return hidden_loss(states, teacher_units, of.layer_weights, weights)


def relation_term(of: TermInputs) -> Tensor:
    """relation_weight * sum of R; 0 if no relations are read."""
    if of.relations is None:
        return of.layer_weights.new_zeros(())
    return of.relation_weight * relation_loss(*of.relations)


TEACHER_TERMS: dict[str, Callable[[TermInputs], Tensor]] = {
    "kl": kl_term,
    "hidden": hidden_term,
    "relations": relation_term,
}


def distillation_losses(alpha: Tensor, labels_loss: Tensor, of: TermInputs) -> dict[str, Tensor]:
    """`loss` as above, and its parts by name, before alpha weighs them."""
    terms = {name: term(of) for name, term in TEACHER_TERMS.items()}
    loss = alpha * labels_loss + (1.0 - alpha) * sum(terms.values())
    return {"loss": loss, "cross_entropy": labels_loss, **terms}
