"""The engine on a CUDA GPU: captured steps, memory, and a worker's trials one after the other."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from tests.conftest import tiny_classifier, train_split
from trainable.config.names import EAGER, GRAPH
from trainable.config.training_inputs import Execution
from trainable.data.examples import Examples, upload
from trainable.engine.cuda_graph import CudaGraphCapture, Executor, make_executor
from trainable.engine.training_step import (
    Feed,
    Training,
    TrainingStep,
    label_losses,
    make_optimiser,
)
from trainable.models.static_forward import make_static
from trainable.teacher import outputs as teacher_outputs
from trainable.teacher.outputs import TeacherOutputs, open_outputs, outputs_of
from trainable.trial.checkpoint import load_checkpoint, write_checkpoint
from trainable.trial.trainer import TrainerCache
from trainable.trial.training_loop import Trial

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU"),
]
CUDA = torch.device("cuda")
# Sums of the backward pass come in an order of their own each time, and Adam makes it felt.
ROUNDING = {"fp32": 2e-3, "bf16": 3e-2}


@pytest.fixture
def config(make_config):
    def make(**changes):
        base = {"alpha_schedule": "cosine_growth", "alpha": None, "sharpness": 1.0, "epochs": 5}
        return make_config(**{**base, "evaluations": 5, **changes})

    return make


def on_gpu(inputs, executor):
    return replace(inputs, device="cuda", execution=Execution(executor))


def run(config, inputs, executor, trainers=None):
    trial = Trial.start(config, on_gpu(inputs, executor), CUDA, trainers)
    losses = [(e.loss, *e.losses.values()) for e in trial.run()]
    return trial, np.array(losses)


def assert_close(found, expected, precision="fp32"):
    np.testing.assert_allclose(found, expected, rtol=ROUNDING[precision], atol=1e-5)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("pool", ["cls", "mean", "tokens"])
def test_graph_equals_eager_over_sixty_steps(inputs, config, pool, precision):
    """Dropout included: a replay draws what the step would have drawn."""
    chosen = config(hidden_pool=pool, precision=precision)
    captured, graph = run(chosen, inputs, GRAPH)
    assert captured.trainer.training.feed.executor.problem == ""
    assert_close(graph, run(chosen, inputs, EAGER)[1], precision)


def test_resumed_on_a_worker_that_ran_others(inputs, config, tmp_path):
    _, whole = run(config(), inputs, GRAPH)
    bench, planned = TrainerCache(), on_gpu(inputs, GRAPH)
    interrupted = Trial.start(config(), planned, CUDA)
    for _ in range(31):
        interrupted.advance()
    write_checkpoint(interrupted, tmp_path)
    run(config(seed=4, initialisation="random"), inputs, GRAPH, bench)
    resumed = load_checkpoint(tmp_path, config(), planned, CUDA, bench)
    last = [e.loss for e in resumed.run()]
    assert_close(np.array(last), whole[-len(last) :, 0])


def test_what_cannot_be_captured_runs_on(inputs, config):
    """A failed capture leaves generators and memory as they were."""
    executor = Executor(CudaGraphCapture(CUDA))
    total = torch.zeros((), device=CUDA)
    for _ in range(3):
        executor.run("read back", lambda: total.add_(float(total) + 1.0))
    assert float(total) == 1.0 + 2.0 + 4.0
    assert executor.problem
    torch.manual_seed(3)
    expected = torch.rand(4, device=CUDA)
    torch.manual_seed(3)
    assert torch.equal(torch.rand(4, device=CUDA), expected)
    assert_close(run(config(), inputs, GRAPH)[1], run(config(), inputs, EAGER)[1])


def test_as_much_at_a_time_as_fits_a_capped_memory(inputs):
    """The process's share of the GPU is capped as on a smaller one."""
    model = tiny_classifier("bert", num_hidden_layers=8).to(CUDA).train()
    make_static(model)
    sentences = Examples(train_split(inputs), inputs.pad_id, CUDA)
    step = TrainingStep(model, make_optimiser([model], 0.0), label_losses("fp32"), 1.0)
    training = Training(step, sentences, batch_size=96)
    whole = torch.cuda.get_device_properties(CUDA).total_memory
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_reserved()
    training.fit_memory()
    assert step.micro_batch_size is None
    needed = torch.cuda.max_memory_reserved() - before
    try:
        torch.cuda.set_per_process_memory_fraction((before + needed * 0.6) / whole)
        training.fit_memory()
        assert step.micro_batch_size in (12, 24, 48)
        training.step(np.arange(96), 1e-3)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


@pytest.mark.parametrize("pool", ["cls", "tokens"])
def test_streamed_states_are_the_resident_ones(inputs, pool, monkeypatch):
    """The GPU is busy while the host goes on to the next batches."""
    split = train_split(inputs)
    shape = {"split": split, "batch_size": 8, "device": CUDA}
    resident = open_outputs(inputs.outputs, pool, (2, 4), **shape)
    assert type(resident) is TeacherOutputs
    monkeypatch.setattr(teacher_outputs, "RESIDENT_SHARE", 0.0)
    streamed = open_outputs(inputs.outputs, pool, (2, 4), **shape)
    assert type(streamed) is teacher_outputs.StreamedOutputs
    sentences, pairs = Examples(split, inputs.pad_id, CUDA), []
    torch.cuda._sleep(100_000_000)
    for start in range(0, 88, 8):
        rows = np.arange(start, start + 8)
        batch = sentences.batch(torch.from_numpy(rows).to(CUDA, non_blocking=True), 16)
        streamed.stage(rows, 16)
        real = batch.attention_mask.bool()[..., None, None] if pool == "tokens" else True
        pairs.append([out.batch_hidden(batch) * real for out in (streamed, resident)])
    assert all(torch.equal(*pair) for pair in pairs)


def test_many_uploads_ahead_of_the_gpu_arrive_in_order():
    target, sums = torch.zeros(1000, dtype=torch.int64, device=CUDA), []
    torch.cuda._sleep(100_000_000)  # the GPU is busy while the host writes on
    for value in range(50):
        upload(np.full(1000, value), target)
        sums.append(target.sum())
    assert [int(total) for total in sums] == [1000 * value for value in range(50)]


def test_outputs_read_by_a_captured_teacher(inputs):
    split = train_split(inputs)
    sentences = Examples(split, inputs.pad_id, CUDA)
    teacher = tiny_classifier("deberta-v2").to(CUDA)
    make_static(teacher)
    feeds = [Feed(sentences, 64, make_executor(name, CUDA)) for name in (EAGER, GRAPH)]
    read = partial(outputs_of, teacher, ("logits", "cls", "tokens"), "fp32")
    order = np.argsort(split.lengths, kind="stable")
    with torch.no_grad():
        for rows in (order[:64], order[:64], order[:64], order[64:], order[64:]):
            eager, graph = (feed.run(rows, read) for feed in feeds)
            for kind, values in eager.items():
                found, expected = graph[kind][: len(rows)], values[: len(rows)]
                torch.testing.assert_close(found, expected, rtol=0, atol=2e-3)
