"""The engine on a CUDA GPU: captured steps, memory, and a worker's trials one after the other."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.conftest import tiny_classifier, train_split
from trainable.checkpoint import load_checkpoint, write_checkpoint
from trainable.engine import Training, TrainingStep, label_losses, make_optimiser
from trainable.environment import Environment
from trainable.execution import Execution
from trainable.executor import CudaGraphCapture, GraphExecutor
from trainable.names import EAGER, GRAPH
from trainable.sentences import Sentences
from trainable.static_forward import make_static
from trainable.teacher_outputs import (
    HiddenStates,
    OutputReader,
    ResidentHidden,
    StreamedHidden,
    open_outputs,
)
from trainable.trial import Trial
from trainable.workbench import Workbench

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


def run(config, inputs, executor, workbench=None):
    trial = Trial.start(config, on_gpu(inputs, executor), CUDA, workbench)
    losses = [(e.loss, e.loss_cross_entropy, e.loss_kl, e.loss_hidden) for e in trial.run()]
    return trial, np.array(losses)


def assert_close(found, expected, precision="fp32"):
    np.testing.assert_allclose(found, expected, rtol=ROUNDING[precision], atol=1e-5)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("pool", ["cls", "mean", "tokens"])
def test_graph_equals_eager_over_sixty_steps(inputs, config, pool, precision):
    """Dropout included: a replay draws what the step would have drawn."""
    chosen = config(hidden_pool=pool, precision=precision)
    captured, graph = run(chosen, inputs, GRAPH)
    assert captured.apparatus.training.executor.name == GRAPH
    assert captured.apparatus.training.executor.problem == ""
    assert_close(graph, run(chosen, inputs, EAGER)[1], precision)


def test_resumed_on_a_worker_that_ran_others(inputs, config, tmp_path):
    _, whole = run(config(), inputs, GRAPH)
    bench, planned = Workbench(), on_gpu(inputs, GRAPH)
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
    executor = GraphExecutor(CudaGraphCapture(CUDA))
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
    sentences = Sentences.on_device(train_split(inputs), inputs.pad_id, CUDA)
    step = TrainingStep(model, make_optimiser([model], 0.0), label_losses("fp32"), 1.0)
    training = Training(step, sentences, batch_size=96)
    whole = torch.cuda.get_device_properties(CUDA).total_memory
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_reserved()
    training.fit_memory()
    assert step.most_sentences is None
    needed = torch.cuda.max_memory_reserved() - before
    try:
        torch.cuda.set_per_process_memory_fraction((before + needed * 0.6) / whole)
        training.fit_memory()
        assert step.most_sentences in (12, 24, 48)
        training.step(np.arange(96), 1e-3)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


@pytest.mark.parametrize("pool", ["cls", "tokens"])
def test_streamed_states_are_the_resident_ones(inputs, pool):
    split = train_split(inputs)
    wanted = HiddenStates(Path(inputs.outputs[pool]), pool, (2, 4))
    outputs = open_outputs(Path(inputs.outputs["logits"]), wanted, split, 8, CUDA)
    assert isinstance(outputs.hidden, ResidentHidden)
    states = np.load(wanted.folder / "values.npy")
    streamed = StreamedHidden(states, wanted, split, 8, CUDA)
    sentences = Sentences.on_device(split, inputs.pad_id, CUDA)
    for start in range(0, 88, 8):
        rows = np.arange(start, start + 8)
        batch = sentences.batch(torch.from_numpy(rows).to(CUDA), 16)
        streamed.stage(rows, 16)
        found, expected = streamed.of_batch(batch), outputs.batch_hidden(batch)
        if pool == "tokens":
            real = batch.attention_mask.bool()
            found, expected = found[real], expected[real]
        assert torch.equal(found, expected)


def test_outputs_read_by_a_captured_teacher(inputs, tmp_path):
    split = train_split(inputs)
    sentences = Sentences.on_device(split, inputs.pad_id, CUDA)
    teacher = tiny_classifier("deberta-v2").to(CUDA)
    make_static(teacher)
    readers = [
        OutputReader(
            teacher,
            sentences,
            ("logits", "cls", "tokens"),
            Environment(tmp_path, CUDA, "fp32", print, Execution(executor)),
        )
        for executor in (EAGER, GRAPH)
    ]
    order = np.argsort(split.lengths, kind="stable")
    with torch.no_grad():
        for rows in (order[:64], order[:64], order[:64], order[64:], order[64:]):
            eager, graph = (reader.read(rows) for reader in readers)
            for kind, values in eager.items():
                np.testing.assert_allclose(graph[kind], values, atol=2e-3)
