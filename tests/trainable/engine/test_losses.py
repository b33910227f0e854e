"""The losses against their formulas in NumPy, in double precision."""

import numpy as np
import pytest
import torch
from scipy.special import softmax
from sklearn.utils.class_weight import compute_class_weight

from trainable.data.datasets import NO_LABEL
from trainable.engine.losses import (
    TermInputs,
    class_balance,
    cross_entropy,
    distillation_kl,
    hidden_loss,
    kl_term,
    relation_loss,
)
from trainable.models.model_outputs import pool_states

BATCH, TOKENS, LAYERS, WIDTH, CLASSES = 4, 5, 3, 8, 3
LENGTHS = [5, 1, 3, 2]  # real tokens of each example


def naive_cross_entropy(logits, labels):
    """Each example's, [B]."""
    return np.array([-np.log(softmax(row)[n]) for row, n in zip(logits, labels, strict=True)])


def naive_unit(vectors):
    return vectors / np.sqrt((vectors**2).sum(axis=-1, keepdims=True))


def naive_pool(states, pool):
    """Unit vectors as the product stores the teacher's, from L layers [B, T, H]."""
    if pool == "mean":
        states = [
            np.stack([row[:n].mean(axis=0) for row, n in zip(layer, LENGTHS, strict=True)])
            for layer in states
        ]
    return naive_unit(np.stack([s[:, 0] if pool == "cls" else s for s in states], axis=-2))


GENERATOR = torch.Generator().manual_seed(0)
LOGITS, TEACHER_LOGITS = 3 * torch.randn(2, BATCH, CLASSES, generator=GENERATOR)
LABELS = torch.tensor([2, 0, 1, 2])
STATES = torch.randn(2, LAYERS, BATCH, TOKENS, WIDTH, generator=GENERATOR)  # student's, teacher's
# Their queries, keys and values; the teacher's are wider.
VECTORS = [2 * torch.randn(BATCH, TOKENS, 3, n * WIDTH, generator=GENERATOR) for n in (1, 2)]
MASK = torch.tensor([[int(t < length) for t in range(TOKENS)] for length in LENGTHS])


def test_cross_entropy_is_the_naive_one():
    each = naive_cross_entropy(LOGITS.double().numpy(), LABELS)
    assert cross_entropy(LOGITS, LABELS).item() == pytest.approx(each.mean(), rel=1e-5)
    weights = torch.linspace(0.5, 2.0, CLASSES)
    weighed = cross_entropy(LOGITS, LABELS, of_classes=weights).item()
    assert weighed == pytest.approx((each * weights[LABELS].numpy()).mean(), rel=1e-5)


def test_balanced_weights_are_those_of_scikit_learn():
    labels = [0] * 7 + [1] * 2 + [2]
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    found = class_balance(torch.tensor([*labels, -100]), 3)
    assert found.tolist() == pytest.approx(expected.tolist())


def test_kl_of_very_sure_logits_is_finite():
    student, teacher = torch.tensor([[1e4, -1e4]]), torch.tensor([[-1e4, 1e4]])
    assert distillation_kl(student, teacher, 1.0).item() == pytest.approx(2e4)


@pytest.mark.parametrize("weights", [[1.0, 1.0, 1.0], [0.0, 250.0, 0.0], [2.0, 0.0, 10.0]])
@pytest.mark.parametrize("pool", ["cls", "mean", "tokens"])
def test_hidden_loss_is_the_naive_weighted_sum(pool, weights):
    student = tuple(STATES[0])
    mine, its = (naive_pool(of.double().numpy(), pool) for of in STATES)
    squares = ((mine - its) ** 2).mean(axis=-1)  # [B, L], or [B, T, L]
    per_layer = squares[MASK.bool().numpy()] if pool == "tokens" else squares
    pooled = pool_states(student, MASK, pool)
    token_weights = MASK / MASK.sum() if pool == "tokens" else None
    measured = hidden_loss(pooled, torch.tensor(its), torch.tensor(weights), token_weights)
    assert measured.item() == pytest.approx(per_layer.mean(axis=0) @ weights, rel=1e-5)


def test_relations_of_an_example_that_only_fills_a_batch_up_cost_nothing():
    assert relation_loss(*VECTORS, 4, 0 * MASK, 0.0 * MASK).item() == 0.0


def test_relations_of_large_vectors_are_finite():
    student, teacher = (1000 * of for of in VECTORS)
    loss = relation_loss(student.requires_grad_(), teacher, 2, MASK, MASK / MASK.sum())
    (gradient,) = torch.autograd.grad(loss, student)
    assert loss.isfinite()
    assert gradient.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_losses_are_reckoned_in_fp32(dtype):
    def losses(student, teacher, vectors):
        yield cross_entropy(student, LABELS)
        yield distillation_kl(student, teacher, 2.0)
        yield hidden_loss(student[:, None], teacher[:, None], torch.ones(1))
        yield relation_loss(*vectors, 2, MASK)

    given = [of.to(dtype) for of in (LOGITS, TEACHER_LOGITS, *VECTORS)]
    low, full = (losses(*of[:2], of[2:]) for of in (given, [of.float() for of in given]))
    for mine, expected in zip(low, full, strict=True):
        assert mine.dtype == torch.float32
        assert mine.item() == expected.item()


def test_of_a_regression_the_losses_are_squared_errors():
    """With the labels, 0 where there is none, and with the teacher's outputs."""
    outputs, teacher = torch.tensor([[1.0], [2.5], [4.0]]), torch.tensor([[1.5], [2.5], [1.0]])
    labels, weights = torch.tensor([2.0, NO_LABEL, 1.0]), torch.tensor([0.5, 0.25, 0.25])
    assert cross_entropy(outputs, labels).item() == pytest.approx((1 + 0 + 9) / 3)
    assert cross_entropy(outputs, labels, weights).item() == pytest.approx(0.5 + 9 / 4)
    of = TermInputs(outputs, teacher, torch.tensor(2.0), weights, torch.zeros(1))
    assert kl_term(of).item() == pytest.approx(0.25 / 2 + 9 / 4)
