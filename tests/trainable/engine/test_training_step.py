"""The training step and the evaluation against plain PyTorch."""

import numpy as np
import pytest
import torch

from tests.conftest import padded_batch, tiny_classifier
from trainable.data.examples import Examples
from trainable.data.tokens import TokenisedSplit
from trainable.engine.cuda_graph import Executor
from trainable.engine.training_step import (
    Evaluator,
    LossMeans,
    TrainingStep,
    label_losses,
    make_optimiser,
)

CPU = torch.device("cpu")
losses = label_losses("fp32")


def test_a_step_is_adamw_on_clipped_gradients(cpu):
    """Against AdamW's first step written out: m / sqrt(v) is the sign of the gradient."""
    model, rate, decay = tiny_classifier(), 1e-3, 0.1
    reference, split = tiny_classifier(), random_split()
    training_step(model, decay=decay, clip=0.01).take(np.arange(2), rate)
    losses(reference, padded_batch(split, np.arange(2), 0, cpu))["loss"].backward()
    norm = torch.stack([p.grad.norm() for p in reference.parameters()]).norm()
    assert norm > 0.01
    for new, old in zip(model.parameters(), reference.parameters(), strict=True):
        gradient = old.grad * (0.01 / norm)
        kept = old * (1 - rate * decay) if old.ndim > 1 else old
        expected = kept - rate * gradient / (gradient.abs() + 1e-8)
        torch.testing.assert_close(new, expected, rtol=1e-4, atol=1e-7)


def random_split(seed=0, count=24):
    generator = np.random.default_rng(seed)
    lengths = generator.integers(3, 17, size=count)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    ids = generator.integers(4, 200, size=offsets[-1]).astype(np.int32)
    return TokenisedSplit(ids, offsets, generator.integers(0, 2, size=count))


def training_step(model, loss=losses, decay=0.0, clip=1.0, executor=None):
    """Steps of 8 of the 24 examples."""
    examples, optimiser = Examples(random_split(), 0, CPU), make_optimiser([model], decay)
    feed = {"examples": examples, "batch_size": 8, "executor": executor}
    return TrainingStep(model, optimiser, loss, clip, **feed)


OUT_OF_MEMORY = (
    torch.OutOfMemoryError("CUDA out of memory"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
)


def memory_for(examples):
    """Losses on a device that holds so many examples, and the lengths that it was given."""
    given = []

    def limited(model, batch):
        given.append(sorted(batch.attention_mask.sum(dim=1).tolist()))
        if len(batch.rows) > examples:
            raise OUT_OF_MEMORY[examples % 2]
        return losses(model, batch)

    return limited, given


@pytest.mark.parametrize(("examples", "most"), [(8, None), (7, 4), (3, 2), (1, 1), (0, None)])
def test_as_many_examples_at_a_time_as_fit(examples, most):
    model = tiny_classifier()
    before = [p.detach().clone() for p in model.parameters()]
    limited, given = memory_for(examples)
    step = training_step(model, limited)
    if not examples:
        with pytest.raises(RuntimeError, match="CUDA out of memory"):
            step.fit_memory()
        return
    step.fit_memory()
    assert step.micro_batch_size == most
    assert given[0] == sorted(step.examples.lengths.tolist())[-8:]  # tried on the longest
    assert all(torch.equal(p, old) for p, old in zip(model.parameters(), before, strict=True))
    given.clear()
    step.take(np.arange(8), 1e-3)  # whatever its examples
    assert {len(lengths) for lengths in given} == {most or 8}


def test_room_is_made_before_fewer_examples_go_through_at_a_time():
    model, asked = tiny_classifier(), []
    limited, given = memory_for(8)

    def make_room():
        asked.append(len(given))
        return len(asked) < 3

    def tight(model, batch):
        if len(asked) < 2:
            raise OUT_OF_MEMORY[1]
        return limited(model, batch)

    step = training_step(model, tight)
    step.fit_memory(make_room)
    assert (step.micro_batch_size, len(asked)) == (None, 2)


@pytest.mark.parametrize("padded", [True, False])
def test_a_wider_batch_trains_the_same_student(padded):
    """Whatever a batch is padded to, with dropout off; against batches of the longest example."""
    trained = []
    for executor in (Executor(), Executor(padded=padded)):
        model = tiny_classifier("deberta-v2").eval()
        step = training_step(model, decay=0.01, executor=executor)
        for first in (0, 8, 16):
            step.take(np.arange(first, first + 8), 1e-3)
        trained.append((model, step.means.take()["loss"]))
    (one, loss), (other, its) = trained
    assert its == pytest.approx(loss, rel=1e-5)
    for mine, wider in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(wider, mine, rtol=1e-3, atol=2e-5)


def counted(means, losses):
    means.add(losses)
    means.steps += 1


def test_loss_means():
    means = LossMeans()
    for value in (1.0, 2.0, 6.0):
        counted(means, {"loss": torch.tensor(value), "kl": torch.tensor(10 * value)})
    places = {name: value.data_ptr() for name, value in means.sums.items()}
    assert means.take() == {"loss": 3.0, "kl": 30.0}
    counted(means, {"loss": torch.tensor(5.0), "kl": torch.tensor(7.0)})
    assert means.take() == {"loss": 5.0, "kl": 7.0}
    assert places == {name: value.data_ptr() for name, value in means.sums.items()}


@pytest.mark.parametrize("architecture", ["bert", "deberta-v2"])
def test_evaluation_equals_one_sentence_at_a_time(architecture, cpu):
    split = random_split(count=150)
    ids, offsets = split.token_ids, split.offsets
    model = tiny_classifier(architecture).train()
    examples = Examples(split, 0, cpu)
    predictions, loss = Evaluator(model, examples, "fp32").predictions_and_loss()
    assert model.training
    model.eval()
    losses = []
    for i in range(150):
        sentence = torch.from_numpy(ids[offsets[i] : offsets[i + 1]]).long()[None]
        with torch.no_grad():
            logits = model(sentence).logits
        assert predictions[i] == int(logits.argmax())
        losses.append(float(logits.logsumexp(dim=-1) - logits[0, split.labels[i]]))
    assert loss == pytest.approx(sum(losses) / 150, rel=1e-5)
    assert predictions.dtype == np.int64
    assert 0 < predictions.sum() < 150


def test_a_regression_is_evaluated_by_its_outputs_and_squared_errors(cpu):
    split = random_split(count=70)
    examples, model = Examples(split, 0, cpu), tiny_classifier(num_labels=1)
    examples.labels = torch.linspace(0.0, 5.0, 70)
    outputs, loss = Evaluator(model, examples, "fp32").predictions_and_loss()
    ids, offsets = split.token_ids, split.offsets
    expected = []
    for i in range(70):
        with torch.no_grad():
            sentence = torch.from_numpy(ids[offsets[i] : offsets[i + 1]]).long()[None]
            expected.append(model(sentence).logits.item())
    assert outputs.dtype == np.float32
    np.testing.assert_allclose(outputs, expected, atol=1e-5)
    assert loss == pytest.approx(np.mean((outputs - np.linspace(0, 5, 70)) ** 2), rel=1e-5)
