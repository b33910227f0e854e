"""The training step and the evaluation against plain PyTorch."""

from unittest.mock import Mock

import numpy as np
import pytest
import torch

from tests.conftest import padded_batch, tiny_classifier
from trainable.data.examples import Examples
from trainable.data.tokens import TokenisedSplit
from trainable.engine import cuda_graph
from trainable.engine import training_step as training_step_module
from trainable.engine.cuda_graph import CaptureError, Executor
from trainable.engine.metrics import predicted
from trainable.engine.training_step import (
    Evaluator,
    Feed,
    TrainingStep,
    label_losses,
    make_optimiser,
    mean_label_loss,
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


@pytest.mark.parametrize("examples", [8, 7, 3, 1])
def test_a_step_that_memory_runs_out_in_is_taken_in_parts(examples):
    """Dropout off: the same weights as with all the memory; and so are the steps that follow."""
    limited, given = memory_for(examples)
    trained = []
    for loss in (losses, limited):
        model = tiny_classifier().eval()
        step = training_step(model, loss)
        for first in (0, 8):
            step.take(np.arange(first, first + 8), 1e-3)
        trained.append((list(model.parameters()), step.means.take()["loss"]))
    most = {8: None, 7: 4, 3: 2, 1: 1}[examples]
    assert step.feed.executor.most == most
    parts = 8 // (most or 8)
    assert [len(lengths) for lengths in given[-parts:]] == [8 // parts] * parts
    (whole, loss), (parts, its) = trained
    assert its == pytest.approx(loss, rel=1e-5)
    for mine, expected in zip(parts, whole, strict=True):
        torch.testing.assert_close(mine, expected, rtol=1e-3, atol=1e-4)
    reduced = {4: "4 examples", 2: "2 examples", 1: "1 example"}.get(most)
    text = f"{reduced} at a time: out of memory" if reduced else ""
    assert step.feed.executor.reduced == text


def test_what_does_not_fit_at_all_is_one_line():
    limited, _ = memory_for(0)
    step = training_step(model := tiny_classifier(), limited)
    before = [p.detach().clone() for p in model.parameters()]
    with pytest.raises(torch.OutOfMemoryError, match=r"^not even one example of \d+ tokens fits"):
        step.take(np.arange(8), 1e-3)
    assert all(torch.equal(p, old) for p, old in zip(model.parameters(), before, strict=True))


def test_other_errors_are_raised_as_they_are():
    error = RuntimeError("CUDA error: an illegal memory access was encountered")
    with pytest.raises(RuntimeError, match="illegal memory access"):
        training_step(tiny_classifier(), Mock(side_effect=error)).take(np.arange(8), 1e-3)


def test_no_batch_is_wider_than_the_longest_example_for_which_a_model_may_have_no_position():
    executor, examples = Executor(padded=True), Examples(random_split(), 0, CPU)
    short = np.flatnonzero(examples.lengths <= 10)
    assert examples.lengths[short].max() == 10 < examples.lengths.max()
    assert Feed(examples, 8, executor).width(short) == 12
    assert Feed(examples.pick(short), 8, executor).width(np.arange(len(short))) == 10


def test_a_warm_up_takes_each_width_twice_widest_first_and_changes_no_weight():
    """The longest examples of each; what is left of optimiser and means is as before it."""
    widths, batches = [], []

    def watched(model, batch):
        widths.append(batch.input_ids.shape[1])
        batches.append(sorted(batch.attention_mask.sum(dim=1).tolist()))
        return losses(model, batch)

    model, fresh = tiny_classifier(), tiny_classifier()
    step = training_step(model, watched, decay=0.1, executor=Executor(padded=True))
    step.warm_up()
    assert widths == [16, 16, 12, 12, 8, 8]
    lengths = np.sort(step.examples.lengths)
    assert batches[0] == batches[1] == lengths[-8:].tolist()
    assert batches[2] == lengths[lengths <= 12][-8:].tolist()
    for mine, expected in zip(model.parameters(), fresh.parameters(), strict=True):
        assert torch.equal(mine, expected)
    states = [v for state in step.optimiser.state.values() for v in state.values()]
    assert not any(value.any() for value in (*states, *step.means.sums.values()))
    assert step.means.steps == 0


def test_a_capture_that_memory_runs_out_in_is_made_again_of_parts():
    """What was captured before is captured anew: its memory is given back first."""
    captured = []

    def capture(body):
        captured.append(step.feed.executor.most)
        if captured == [None, None]:  # of the second width
            raise OUT_OF_MEMORY[0]
        return body

    step = training_step(tiny_classifier(), executor=Executor(capture))
    step.warm_up()
    assert captured == [None, None, 4, 4, 4]
    captured.clear()
    step = training_step(tiny_classifier(), executor=Executor(capture))
    step.feed.executor.make_room = lambda: True  # by another student's leave, so of whole batches
    step.warm_up()
    assert captured == [None] * 5


def test_an_allocator_that_stays_in_a_failed_capture_ends_the_process(monkeypatch):
    asserts = Mock(side_effect=RuntimeError("captures_underway.empty() INTERNAL ASSERT FAILED"))
    monkeypatch.setattr(cuda_graph, "release_memory", asserts)
    limited, _ = memory_for(4)
    with pytest.raises(CaptureError, match="INTERNAL ASSERT"):
        training_step(tiny_classifier(), limited).take(np.arange(8), 1e-3)


@pytest.mark.parametrize("most", [None, 5])
def test_an_evaluation_that_memory_runs_out_in_goes_on_in_parts(most, cpu, monkeypatch):
    split, model, seen = random_split(count=150), tiny_classifier(), []
    expected = Evaluator(model, Examples(split, 0, cpu), "fp32").logits()
    evaluator = Evaluator(model, Examples(split, 0, cpu), "fp32")
    run = training_step_module.run_model

    def limited(model, batch, precision):
        seen.append(len(batch.rows))
        if most and len(batch.rows) > most:
            raise OUT_OF_MEMORY[0]
        return run(model, batch, precision)

    monkeypatch.setattr(training_step_module, "run_model", limited)
    torch.testing.assert_close(evaluator.logits(), expected)
    # The 22 longest come first.
    assert evaluator.feed.executor.most == (3 if most else None)


def test_a_wider_batch_trains_the_same_student():
    """Whatever a batch is padded to, with dropout off; against batches of the longest example."""
    trained = []
    for padded in (False, True):
        model = tiny_classifier("deberta-v2").eval()
        step = training_step(model, decay=0.01, executor=Executor(padded=padded))
        for first in (0, 8, 16):
            step.take(np.arange(first, first + 8), 1e-3)
        trained.append((model, step.means.take()["loss"]))
    (one, loss), (other, its) = trained
    assert its == pytest.approx(loss, rel=1e-5)
    for mine, wider in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(wider, mine, rtol=1e-3, atol=2e-5)


@torch.no_grad()
def one_by_one(model, split):
    """Logits of each example alone, in evaluation mode, [N, C]."""
    model.eval()
    sentences = np.split(split.token_ids, split.offsets[1:-1])
    return torch.cat([model(torch.from_numpy(ids).long()[None]).logits for ids in sentences])


@pytest.mark.parametrize("architecture", ["bert", "deberta-v2"])
def test_evaluation_equals_one_sentence_at_a_time(architecture, cpu):
    split, model = random_split(count=150), tiny_classifier(architecture).train()
    found = Evaluator(model, Examples(split, 0, cpu), "fp32").logits()
    predictions, loss = predicted(found.numpy()), mean_label_loss(found, split.labels)
    assert model.training
    logits, rows = one_by_one(model, split), torch.arange(150)
    assert predictions.tolist() == logits.argmax(dim=1).tolist()
    expected = logits.logsumexp(dim=1) - logits[rows, torch.from_numpy(split.labels)]
    assert loss == pytest.approx(float(expected.mean()), rel=1e-5)
    assert predictions.dtype == np.int64
    assert 0 < predictions.sum() < 150


def test_a_regression_is_evaluated_by_its_outputs_and_squared_errors(cpu):
    split, model = random_split(count=70), tiny_classifier(num_labels=1)
    examples = Examples(split, 0, cpu)
    examples.labels = torch.linspace(0.0, 5.0, 70)
    evaluator = Evaluator(model, examples, "fp32")
    outputs, loss = evaluator.predictions(), mean_label_loss(evaluator.logits(), evaluator.labels)
    assert outputs.dtype == np.float32
    np.testing.assert_allclose(outputs, one_by_one(model, split)[:, 0], atol=1e-5)
    assert loss == pytest.approx(np.mean((outputs - np.linspace(0, 5, 70)) ** 2), rel=1e-5)
