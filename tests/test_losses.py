"""The losses against plain Python loops written from DESIGN section 3."""

from math import exp, log, sqrt

import pytest
import torch

from trainable.losses import cross_entropy, distillation_kl, distillation_loss, hidden_loss
from trainable.model_outputs import pool_states

BATCH, TOKENS, LAYERS, WIDTH, CLASSES = 4, 5, 3, 8, 3
LENGTHS = [5, 1, 3, 2]  # real tokens of each sentence


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
def mask():
    return torch.tensor([[int(t < length) for t in range(TOKENS)] for length in LENGTHS])


def measured_hidden(states, mask, pool, weights):
    student, teacher = states
    pooled = pool_states(tuple(student), mask, pool)
    token_weights = mask / mask.sum() if pool == "tokens" else None
    return hidden_loss(pooled, naive_pool(teacher, pool), torch.tensor(weights), token_weights)


def test_cross_entropy_is_the_naive_one(logits, labels):
    expected = naive_cross_entropy(logits.tolist(), labels.tolist())
    assert cross_entropy(logits, labels).item() == pytest.approx(expected, rel=1e-5)


def test_cross_entropy_of_equal_logits_is_log_of_the_classes():
    loss = cross_entropy(torch.zeros(2, CLASSES), torch.tensor([0, 2]))
    assert loss.item() == pytest.approx(log(3))


@pytest.mark.parametrize("temperature", [1.0, 2.0, 4.0])
def test_kl_is_the_naive_one(logits, teacher_logits, temperature):
    expected = naive_kl(logits.tolist(), teacher_logits.tolist(), temperature)
    measured = distillation_kl(logits, teacher_logits, temperature)
    assert measured.item() == pytest.approx(expected, rel=1e-5)


def test_kl_by_hand():
    teacher = torch.tensor([[log(3.0), 0.0]])  # 3/4 and 1/4
    expected = 0.75 * log(0.75 / 0.5) + 0.25 * log(0.25 / 0.5)
    assert distillation_kl(torch.zeros(1, 2), teacher, 1.0).item() == pytest.approx(expected)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_kl_has_neither_value_nor_slope_at_the_teacher(teacher_logits, temperature):
    student = teacher_logits.clone().requires_grad_()
    loss = distillation_kl(student, teacher_logits, temperature)
    loss.backward()
    assert loss.item() == pytest.approx(0.0, abs=1e-6)
    assert student.grad.abs().max() < 1e-6


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_kl_slope_is_t_times_the_difference_of_the_softened(logits, teacher_logits, temperature):
    student = logits.clone().requires_grad_()
    distillation_kl(student, teacher_logits, temperature).backward()
    for row, student_row, teacher_row in zip(
        student.grad.tolist(), logits.tolist(), teacher_logits.tolist(), strict=True
    ):
        q = softmax([value / temperature for value in student_row])
        p = softmax([value / temperature for value in teacher_row])
        expected = [temperature * (qi - pi) / BATCH for pi, qi in zip(p, q, strict=True)]
        assert row == pytest.approx(expected, abs=1e-6)


def test_kl_ignores_a_constant_added_to_the_logits(logits, teacher_logits):
    plain = distillation_kl(logits, teacher_logits, 2.0)
    shifted = distillation_kl(logits + 7, teacher_logits - 5, 2.0)
    assert shifted.item() == pytest.approx(plain.item(), rel=1e-5)


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
    measured = measured_hidden(states, mask, pool, weights)
    assert measured.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("pool", ["mean", "tokens"])
def test_hidden_loss_does_not_see_padding(states, mask, pool):
    student, teacher = states
    before = measured_hidden(states, mask, pool, [1.0] * LAYERS)
    padding = (1 - mask)[..., None] * 1000.0
    changed = ([layer + padding for layer in student], [layer + padding for layer in teacher])
    after = measured_hidden(changed, mask, pool, [1.0] * LAYERS)
    assert after.item() == pytest.approx(before.item(), rel=1e-5)


@pytest.mark.parametrize("pool", ["cls", "tokens"])
def test_hidden_loss_of_opposite_states_is_4_over_the_width(states, mask, pool):
    student, _ = states
    opposite = (student, [-3 * layer for layer in student])
    measured = measured_hidden(opposite, mask, pool, [1.0, 0.0, 0.0])
    assert measured.item() == pytest.approx(4 / WIDTH, rel=1e-5)


def test_hidden_loss_of_states_in_the_teachers_direction_is_zero(states, mask):
    student, _ = states
    parallel = ([0.01 * layer for layer in student], student)
    assert measured_hidden(parallel, mask, "tokens", [1.0] * LAYERS).item() < 1e-10


def test_layers_without_weight_get_no_gradient(states, mask):
    student, teacher = states
    for layer in student:
        layer.requires_grad_()
    measured_hidden((student, teacher), mask, "tokens", [0.0, 1.0, 0.0]).backward()
    moved = [layer.grad.abs().max().item() > 0 for layer in student]
    assert moved == [False, True, False]


@pytest.mark.parametrize(
    ("alpha", "expected"), [(0.0, 5.0 + 7.0), (0.25, 0.25 * 3 + 0.75 * 12), (0.5, 7.5), (1.0, 3.0)]
)
def test_alpha_weighs_the_labels_and_its_rest_the_teacher(alpha, expected):
    parts = [torch.tensor(value) for value in (3.0, 5.0, 7.0)]
    found = distillation_loss(torch.tensor(alpha), *parts)
    assert found.total.item() == pytest.approx(expected)
    assert [found.cross_entropy, found.kl, found.hidden] == parts


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("temperature", [1.0, 4.0])
@pytest.mark.parametrize("pool", ["cls", "mean", "tokens"])
def test_the_whole_loss(*, states, mask, logits, teacher_logits, labels, alpha, temperature, pool):
    hidden_weight, aligned = 100.0, [1, 3]
    weights = [hidden_weight if layer in aligned else 0.0 for layer in (1, 2, 3)]
    measured = distillation_loss(
        torch.tensor(alpha),
        cross_entropy(logits, labels),
        distillation_kl(logits, teacher_logits, temperature),
        measured_hidden(states, mask, pool, weights),
    )
    student, teacher = ([layer.tolist() for layer in side] for side in states)
    hidden = sum(naive_layer_loss(student[i - 1], teacher[i - 1], pool) for i in aligned)
    kl = naive_kl(logits.tolist(), teacher_logits.tolist(), temperature)
    labels_loss = naive_cross_entropy(logits.tolist(), labels.tolist())
    expected = alpha * labels_loss + (1 - alpha) * (kl + hidden_weight * hidden)
    assert measured.total.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_inputs_are_reckoned_in_fp32(logits, teacher_logits, labels, dtype):
    student, teacher = logits.to(dtype), teacher_logits.to(dtype)
    losses = [
        (cross_entropy(student, labels), cross_entropy(student.float(), labels)),
        (
            distillation_kl(student, teacher, 2.0),
            distillation_kl(student.float(), teacher.float(), 2.0),
        ),
        (
            hidden_loss(student[:, None], teacher[:, None], torch.ones(1)),
            hidden_loss(student[:, None].float(), teacher[:, None].float(), torch.ones(1)),
        ),
    ]
    for low, full in losses:
        assert low.dtype == torch.float32
        assert low.item() == full.item()
