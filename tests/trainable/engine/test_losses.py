"""The losses against plain Python loops."""

from math import exp, log, sqrt

import numpy as np
import pytest
import torch
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


def softmax(row):
    largest = max(row)
    powers = [exp(value - largest) for value in row]
    return [power / sum(powers) for power in powers]


def naive_cross_entropy(logits, labels):
    losses = [-log(softmax(row)[label]) for row, label in zip(logits, labels, strict=True)]
    return sum(losses) / len(losses)


def naive_kl(student, teacher, temperature):
    total = 0.0
    for student_row, teacher_row in zip(student, teacher, strict=True):
        p = softmax([value / temperature for value in teacher_row])
        q = softmax([value / temperature for value in student_row])
        total += sum(pi * (log(pi) - log(qi)) for pi, qi in zip(p, q, strict=True))
    return temperature**2 * total / len(student)


def naive_unit(vector):
    norm = sqrt(sum(x * x for x in vector))
    return [x / norm for x in vector]


def naive_mse(one, other):
    squares = [(a - b) ** 2 for a, b in zip(naive_unit(one), naive_unit(other), strict=True)]
    return sum(squares) / len(squares)


def naive_mean(vectors):
    return [sum(column) / len(vectors) for column in zip(*vectors, strict=True)]


def naive_layer_loss(student, teacher, pool):
    """H of one layer from nested lists [B][T][H], of which LENGTHS tokens are real."""
    errors = []
    for one, other, length in zip(student, teacher, LENGTHS, strict=True):
        if pool == "cls":
            errors.append(naive_mse(one[0], other[0]))
        elif pool == "mean":
            errors.append(naive_mse(naive_mean(one[:length]), naive_mean(other[:length])))
        else:
            errors += [naive_mse(one[t], other[t]) for t in range(length)]
    return sum(errors) / len(errors)


def naive_pool(states, pool):
    """The teacher's unit vectors as the product stores them, from a list of L tensors [B, T, H]."""
    pooled = []
    for layer in states:
        rows = layer.tolist()
        if pool == "cls":
            pooled.append([naive_unit(row[0]) for row in rows])
        elif pool == "mean":
            real = [row[:length] for row, length in zip(rows, LENGTHS, strict=True)]
            pooled.append([naive_unit(naive_mean(row)) for row in real])
        else:
            pooled.append([[naive_unit(token) for token in row] for row in rows])
    return torch.stack([torch.tensor(layer) for layer in pooled], dim=-2)


def naive_relations(vectors, head, size):
    """Softmax rows of the scaled dot products of tokens [T, H], in one head of so many values."""
    cut = [vector[head * size : (head + 1) * size] for vector in vectors]
    products = [[sum(np.multiply(a, b)) / sqrt(size) for b in cut] for a in cut]
    return [softmax(row) for row in products]


def naive_relation_loss(student, teacher, heads):
    """From arrays [B, T, 3, H], of which LENGTHS tokens are real: one number after the other."""
    total = 0.0
    for one, other, length in zip(student, teacher, LENGTHS, strict=True):
        for kind in range(3):
            for head in range(heads):
                mine, its = (
                    naive_relations(of[:length, kind], head, of.shape[-1] // heads)
                    for of in (one, other)
                )
                for q, p in zip(mine, its, strict=True):
                    total += sum(pi * log(pi / qi) for pi, qi in zip(p, q, strict=True)) / heads
    return total / sum(LENGTHS)


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


@pytest.fixture
def logits(generator):
    return 3 * torch.randn(BATCH, CLASSES, generator=generator)


@pytest.fixture
def teacher_logits(generator, logits):
    return 3 * torch.randn(BATCH, CLASSES, generator=generator)


@pytest.fixture
def labels():
    return torch.tensor([2, 0, 1, 2])


@pytest.fixture
def states(generator):
    """Student's and teacher's hidden states: for each a list of L tensors [B, T, H]."""
    shape = (2, LAYERS, BATCH, TOKENS, WIDTH)
    student, teacher = torch.randn(shape, generator=generator)
    return list(student), list(teacher)


@pytest.fixture
def vectors(generator):
    """Student's and teacher's queries, keys and values [B, T, 3, H], the teacher's are wider."""
    return [
        2 * torch.randn(BATCH, TOKENS, 3, width, generator=generator)
        for width in (WIDTH, 2 * WIDTH)
    ]


@pytest.fixture
def mask():
    return torch.tensor([[int(t < length) for t in range(TOKENS)] for length in LENGTHS])


def test_cross_entropy_is_the_naive_one(logits, labels):
    expected = naive_cross_entropy(logits.tolist(), labels.tolist())
    assert cross_entropy(logits, labels).item() == pytest.approx(expected, rel=1e-5)
    weights = torch.linspace(0.5, 2.0, logits.shape[1])
    each = [
        float(weights[label]) * naive_cross_entropy([row], [label])
        for row, label in zip(logits.tolist(), labels.tolist(), strict=True)
    ]
    weighed = cross_entropy(logits, labels, of_classes=weights).item()
    assert weighed == pytest.approx(sum(each) / len(each), rel=1e-5)


def test_balanced_weights_are_those_of_scikit_learn():
    labels = [0] * 7 + [1] * 2 + [2]
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    found = class_balance(torch.tensor([*labels, -100]), 3)
    assert found.tolist() == pytest.approx(expected.tolist())


@pytest.mark.parametrize("temperature", [1.0, 2.0, 4.0])
def test_kl_is_the_naive_one(logits, teacher_logits, temperature):
    expected = naive_kl(logits.tolist(), teacher_logits.tolist(), temperature)
    measured = distillation_kl(logits, teacher_logits, temperature)
    assert measured.item() == pytest.approx(expected, rel=1e-5)


def test_kl_of_very_sure_logits_is_finite():
    student, teacher = torch.tensor([[1e4, -1e4]]), torch.tensor([[-1e4, 1e4]])
    assert distillation_kl(student, teacher, 1.0).item() == pytest.approx(2e4)


@pytest.mark.parametrize("weights", [[1.0, 1.0, 1.0], [0.0, 250.0, 0.0], [2.0, 0.0, 10.0]])
@pytest.mark.parametrize("pool", ["cls", "mean", "tokens"])
def test_hidden_loss_is_the_naive_weighted_sum(states, mask, pool, weights):
    student, teacher = states
    per_layer = [
        naive_layer_loss(one.tolist(), other.tolist(), pool)
        for one, other in zip(student, teacher, strict=True)
    ]
    expected = sum(weight * loss for weight, loss in zip(weights, per_layer, strict=True))
    pooled = pool_states(tuple(student), mask, pool)
    token_weights = mask / mask.sum() if pool == "tokens" else None
    measured = hidden_loss(pooled, naive_pool(teacher, pool), torch.tensor(weights), token_weights)
    assert measured.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_relation_loss_is_the_naive_one(vectors, mask, heads):
    expected = naive_relation_loss(*(of.double().numpy() for of in vectors), heads)
    measured = relation_loss(*vectors, heads, mask, mask / mask.sum())
    assert expected > 0.1
    assert measured.item() == pytest.approx(expected, rel=1e-5)


def test_relations_are_of_real_tokens_only(vectors, mask):
    """Neither what stands under the mask nor how wide it is changes loss or gradient."""
    student, teacher = vectors
    found = []
    for noise, width in ((0.0, TOKENS), (100.0, TOKENS), (-3.0, TOKENS + 4)):
        real = torch.zeros(BATCH, width, dtype=torch.long)
        real[:, :TOKENS] = mask
        mine, its = (
            torch.full((BATCH, width, 3, of.shape[-1]), noise) for of in (student, teacher)
        )
        for padded, of in ((mine, student), (its, teacher)):
            padded[real.bool()] = of[mask.bool()]
        loss = relation_loss(mine.requires_grad_(), its, 2, real, real / real.sum())
        (gradient,) = torch.autograd.grad(loss, mine)
        assert gradient[~real.bool()].abs().sum() == 0
        found.append((loss.detach(), gradient[real.bool()]))
    for loss, gradient in found[1:]:
        torch.testing.assert_close(loss, found[0][0])
        torch.testing.assert_close(gradient, found[0][1])


def test_relations_that_are_the_teachers_cost_nothing(vectors, mask):
    """Nor do those of an example that only fills a batch up, whose tokens have no weight."""
    student, teacher = vectors
    assert relation_loss(teacher, teacher, 4, mask, mask / mask.sum()).item() == 0.0
    assert relation_loss(student, teacher, 4, 0 * mask, 0.0 * mask).item() == 0.0


def test_relations_of_large_vectors_are_finite(vectors, mask):
    student, teacher = (1000 * of for of in vectors)
    loss = relation_loss(student.requires_grad_(), teacher, 2, mask, mask / mask.sum())
    (gradient,) = torch.autograd.grad(loss, student)
    assert loss.isfinite()
    assert gradient.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_inputs_are_reckoned_in_fp32(
    logits, teacher_logits, labels, vectors, mask, dtype
):
    def losses(student, teacher, vectors):
        yield cross_entropy(student, labels)
        yield distillation_kl(student, teacher, 2.0)
        yield hidden_loss(student[:, None], teacher[:, None], torch.ones(1))
        yield relation_loss(*vectors, 2, mask)

    given = [of.to(dtype) for of in (logits, teacher_logits, *vectors)]
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
