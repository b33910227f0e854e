"""The engine on a CUDA GPU: captured steps, memory, and a worker's trials one after the other."""

import subprocess
import sys
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from tests.conftest import tiny_classifier, train_split
from tests.trainable.engine.test_weight_averages import assert_averaged
from trainable.config.names import EAGER, GRAPH
from trainable.config.training_inputs import Execution
from trainable.config.trial_config import TrialConfig
from trainable.data.batches import remaining_batches
from trainable.data.examples import Examples, upload
from trainable.engine.cuda_graph import make_executor
from trainable.engine.devices import Runtime
from trainable.engine.training_step import Feed, TrainingStep, label_losses, make_optimiser
from trainable.models.static_forward import make_static
from trainable.models.students import build_student
from trainable.teacher import outputs as teacher_outputs
from trainable.teacher.outputs import TeacherOutputs, open_outputs, outputs_of, write_outputs
from trainable.trial.checkpoint import load_checkpoint, write_checkpoint
from trainable.trial.step_check import check
from trainable.trial.training_loop import Trial
from trainable.trial.training_setup import SetupCache, TrainingSetup

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU"),
]
CUDA = torch.device("cuda")
NUDGE = 2.0**-20  # of a weight: some roundings of fp32
RELATED = {"relation_weight": 10.0, "relation_heads": 4, "aligned_layers": "none"}


@pytest.fixture
def config(make_config):
    def make(**changes):
        base = {"alpha_schedule": "cosine_growth", "alpha": None, "sharpness": 1.0, "epochs": 5}
        return make_config(**{**base, "evaluations": 5, **changes})

    return make


def on_gpu(inputs, executor):
    return replace(inputs, device="cuda", execution=Execution(executor))


def run(config, inputs, executor, setups=None, *, nudge=0.0):
    trial = Trial.start(config, on_gpu(inputs, executor), CUDA, setups)
    with torch.no_grad():
        torch._foreach_mul_(list(trial.student.parameters()), 1.0 + nudge)
    losses = [(e.loss, *e.losses.values()) for e in trial.run()]
    return flat(trial.student), np.array(losses)


def flat(model):
    """All weights as one vector, copied."""
    return torch.cat([parameter.detach().flatten().clone() for parameter in model.parameters()])


def rounding(config, inputs):
    """Four times what eager steps make of weights that are rounded otherwise: sums of the backward
    pass come in an order of their own each time, and Adam makes it felt."""
    eager, nudged = (run(config, inputs, EAGER, nudge=nudge)[1] for nudge in (0.0, NUDGE))
    return 4.0 * np.abs(eager - nudged).max() + 1e-4


def assert_close(found, expected, allowed):
    np.testing.assert_allclose(found, expected, rtol=0.0, atol=allowed)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("pool", ["cls", "mean", "tokens", "relations"])
def test_graph_equals_eager_over_sixty_steps(inputs, config, pool, precision):
    """Dropout included: a replay draws what the step would have drawn."""
    compared = RELATED if pool == "relations" else {"hidden_pool": pool}
    chosen = config(**compared, precision=precision)
    losses = (run(chosen, inputs, executor)[1] for executor in (GRAPH, EAGER))
    assert_close(*losses, rounding(chosen, inputs))


def test_captured_averages_are_those_of_each_steps_weights(inputs, config):
    assert_averaged(Trial.start(config(ema_decay=0.8), on_gpu(inputs, GRAPH), CUDA), 0.8, 60)


def test_resumed_on_a_worker_that_ran_others(inputs, config, tmp_path):
    _, whole = run(config(), inputs, GRAPH)
    bench, planned = SetupCache(), on_gpu(inputs, GRAPH)
    interrupted = Trial.start(config(), planned, CUDA)
    for _ in range(31):
        interrupted.advance()
    write_checkpoint(interrupted, tmp_path)
    run(config(seed=4, initialisation="random"), inputs, GRAPH, bench)
    resumed = load_checkpoint(tmp_path, config(), planned, CUDA, bench)
    last = [e.loss for e in resumed.run()]
    assert_close(np.array(last), whole[-len(last) :, 0], rounding(config(), inputs))


STEPS = 50  # of batches of 20 of the 96 examples: every fifth one is filled up


def deberta_after_fifty_steps(inputs, folder, executor, precision, most):
    """The weights of a DeBERTa student with fused attention, before and after, dropout included."""
    sizes = {"hidden_size": 64, "pooler_hidden_size": 64, "num_attention_heads": 2}
    teacher = tiny_classifier("deberta-v2", **sizes)
    settings = {"student_layers": 2, "aligned_layers": "all", "batch_size": 20, "alpha": 0.5}
    config = TrialConfig(**settings, learning_rate=1e-3, precision=precision)
    split, folders = train_split(inputs), {kind: folder / kind for kind in ("logits", "cls")}
    if not folder.exists():
        write_outputs(teacher, split, inputs.pad_id, folders, Runtime(folder, CUDA, "fp32", print))
    student, executor = build_student(teacher, config).to(CUDA), make_executor(executor, CUDA)
    executor.most, before = most, flat(student)
    setup = TrainingSetup(
        config,
        student,
        teacher.config,
        open_outputs(folders, "cls", (2, 4), split=split, batch_size=20, device=CUDA),
        examples={"train": Examples(split, inputs.pad_id, CUDA)},
        executor=executor,
        flash_attention=True,
    )
    assert setup.fallbacks == ()
    setup.distillation.set_up(config)
    setup.distillation.alpha.fill_(0.5)
    torch.manual_seed(0)
    for rows in remaining_batches(split.lengths, 20, 0, 0, STEPS):
        setup.step.take(rows, config.learning_rate)
    return before, flat(setup.student)


@pytest.mark.parametrize("most", [None, 8])
def test_the_whole_deberta_step_with_fused_attention_captured(inputs, tmp_path, most):
    """As far from eager in bf16 as that is from eager in fp32, at most: rounding, not another step.

    A wrong dropout, alpha or moment would show as a share of all that training has moved.
    """
    pytest.importorskip("disentangled_flash")
    place = tmp_path / "outputs"
    arguments = (inputs, place)
    before, exact = deberta_after_fifty_steps(*arguments, EAGER, "fp32", most)
    _, eager = deberta_after_fifty_steps(*arguments, EAGER, "bf16", most)
    _, graph = deberta_after_fifty_steps(*arguments, GRAPH, "bf16", most)
    rounding, moved = (eager - exact).norm(), (exact - before).norm()
    assert rounding < 0.5 * moved
    assert (graph - eager).norm() <= rounding


def test_a_workers_tenth_trial_is_its_first(inputs, config):
    """What stands between changes layers, width, batches, seeds and what is read."""
    others = [
        {"seed": 5},
        {"student_layers": 1, "aligned_layers": "1"},
        {"initialisation": "random", "student_width": 16},
        {"batch_size": 20},
        {"hidden_pool": "tokens"},
        {"aligned_layers": "none"},
        {"temperature": 4.0},
        {"precision": "bf16"},
    ]
    worker = SetupCache()
    weights, losses = run(config(), inputs, GRAPH, worker)
    for change in others:
        run(config(epochs=1, evaluations=1, **change), inputs, GRAPH, worker)
    again, losses_again = run(config(), inputs, GRAPH, worker)
    assert_close(losses_again, losses, rounding(config(), inputs))
    torch.testing.assert_close(again, weights, rtol=0, atol=5e-3)


@pytest.mark.parametrize("executor", [EAGER, GRAPH])
def test_a_step_never_waits_for_the_gpu(inputs, config, executor):
    trial = Trial.start(config(evaluations=1), on_gpu(inputs, executor), CUDA)
    for _ in range(30):  # each width warmed up and captured
        trial.advance()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(20):
            trial.advance()
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_what_cannot_be_captured_is_said_in_one_line(repository):
    """In a process of its own, which is of no use after."""
    code = (
        "import torch\n"
        "from trainable.engine.cuda_graph import CaptureError, CudaGraphCapture, Executor\n"
        "executor = Executor(CudaGraphCapture(torch.device('cuda')))\n"
        "total = torch.zeros((), device='cuda')\n"
        "body = lambda: total.add_(float(total) + 1.0)\n"
        "executor.run('read back', body)\n"
        "try: executor.run('read back', body)\n"
        "except CaptureError as error: print(error.reason)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=repository, capture_output=True, text=True, check=False
    )
    assert "captur" in done.stdout, (
        done.stderr
    )  # "operation not permitted when stream is capturing"
    assert len(done.stdout.splitlines()) == 1


def test_as_much_at_a_time_as_fits_a_capped_memory(inputs):
    """The process's share of the GPU is capped as on a smaller one."""
    sizes = {"hidden_size": 256, "intermediate_size": 1024, "num_hidden_layers": 8}
    model = tiny_classifier("bert", **sizes).to(CUDA).train()  # activations far above its weights
    make_static(model)
    sentences = Examples(train_split(inputs), inputs.pad_id, CUDA)
    feed = {"examples": sentences, "batch_size": 96}
    step = TrainingStep(model, make_optimiser([model], 0.0), label_losses("fp32"), 1.0, **feed)
    whole = torch.cuda.get_device_properties(CUDA).total_memory
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_reserved()
    step.warm_up()
    assert step.feed.executor.most is None
    needed = torch.cuda.max_memory_reserved() - before
    try:
        torch.cuda.set_per_process_memory_fraction((before + needed * 0.6) / whole)
        step.warm_up()
        assert step.feed.executor.most in (24, 48)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


@pytest.mark.parametrize("pool", ["cls", "tokens", "relations"])
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
        real = batch.attention_mask.bool()[..., None, None] if pool != "cls" else True
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
    read = partial(outputs_of, teacher, dict.fromkeys(("logits", "cls", "tokens"), ()), "fp32")
    order = np.argsort(split.lengths, kind="stable")
    with torch.no_grad():
        for rows in (order[:64], order[:64], order[:64], order[64:], order[64:]):
            eager, graph = (feed.run(rows, read) for feed in feeds)
            for kind, values in eager.items():
                found, expected = graph[kind][: len(rows)], values[: len(rows)]
                torch.testing.assert_close(found, expected, rtol=0, atol=2e-3)


@pytest.mark.parametrize("flash", [False, True])
def test_the_check_before_a_sweep_finds_nothing_wrong(flash):
    if flash:
        pytest.importorskip("disentangled_flash")
    sizes = {"hidden_size": 64, "pooler_hidden_size": 64, "num_attention_heads": 2}
    shape = tiny_classifier("deberta-v2", **sizes).config.to_dict()
    assert check(shape, "bf16", flash=flash) == ""
