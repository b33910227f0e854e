"""Steps are checked beside eager ones before they are trusted; what differs is stepped down."""

import subprocess
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import pytest
import torch

from tests.conftest import ARCHITECTURES
from tests.traced import Executors, state_of
from trainable.common.files import write_checked_json
from trainable.config.names import GRAPH
from trainable.config.training_inputs import Execution
from trainable.engine.cuda_graph import CaptureError
from trainable.models.flash_attention import replace_attention
from trainable.trial import step_check, training_setup
from trainable.trial.step_check import check, checked
from trainable.trial.training_setup import TrainingSetup

FUSED, CAPTURED, EAGER = Execution(GRAPH, flash_attention=True), Execution(GRAPH), Execution()
PLAIN = "plain attention instead of fused: no"
WIDE = {"hidden_size": 64, "pooler_hidden_size": 64, "num_attention_heads": 2}


def shape_of(architecture, **changes):
    return {**ARCHITECTURES[architecture].to_dict(), "model_type": architecture, **changes}


@pytest.fixture
def answer(monkeypatch):
    """Checks with recorded steps; `fault` is done to a setup."""

    def run(architecture="bert", *, precision="fp32", flash=False, fault=None, **how):
        executors = Executors()

        def make(*arguments, **keywords):
            setup = TrainingSetup(*arguments, **keywords)
            capture = setup.step.feed.executor._capture
            if capture is not None:
                capture.changed = lambda: state_of(setup.step)
                if fault is not None:
                    setup.step.feed.executor._capture = partial(fault, capture, setup)
            return setup

        monkeypatch.setattr(step_check, "TrainingSetup", make)
        monkeypatch.setattr(step_check, "LONG", 40)
        return check(shape_of(architecture, **how), precision, flash=flash, executors=executors)

    return run


@pytest.mark.parametrize(
    ("architecture", "precision"), [("bert", "bf16"), ("deberta-v2", "fp32"), ("roberta", "fp32")]
)
def test_right_steps_are_equal(answer, architecture, precision):
    assert answer(architecture, precision=precision) == ""


def test_steps_of_a_model_whose_masks_are_read_are_eager(answer):
    """ModernBERT's padding token is among the last, which the small model here has not."""
    with pytest.raises(CaptureError, match="a step of this model can't be captured as a CUDA gra"):
        answer("modernbert", pad_token_id=204)


def another_seed(capture, setup, body):
    recorded = capture(body)
    return lambda: torch.manual_seed(7) and recorded()


def wrong_scale(capture, setup, body):
    setup.step.gradient_clip *= 0.9
    return capture(body)


def stale(number):
    """A replay that sees the number as it was when it was recorded."""

    def fault(capture, setup, body):
        recorded, tensor = capture(body), number(setup)
        old = float(tensor)
        return lambda: tensor.fill_(old) is not None and recorded()

    return fault


def test_a_planted_fault_is_caught(answer):
    for fault, precision in (
        (another_seed, "bf16"),
        (wrong_scale, "fp32"),
        (stale(lambda setup: setup.distillation.alpha), "bf16"),
        (stale(lambda setup: setup.step._learning_rate), "fp32"),
        (stale(lambda setup: setup.step.feed._count), "fp32"),
    ):
        assert " differ by " in answer(precision=precision, fault=fault)


@pytest.mark.parametrize(("scale", "right"), [(1.0, True), (1.2, False)])
def test_fused_attention_is_held_against_plain(answer, monkeypatch, scale, right):
    """The package's attention in its form for a CPU, whose output is scaled."""
    pytest.importorskip("disentangled_flash")

    def fuse(model, _):
        assert replace_attention(model.base_model, "torch")
        for layer in model.base_model.encoder.layer:
            attention = layer.attention.self
            attention.register_forward_hook(lambda _, __, out: (scale * out[0], *out[1:]))
        return ""

    monkeypatch.setattr(training_setup, "fuse_attention", fuse)
    problem = answer("deberta-v2", precision="bf16", flash=True, **WIDE)
    assert (problem == "") == right
    assert right or problem.startswith("fused attention: the ")


@pytest.fixture
def asked(monkeypatch, runtime, tmp_path):
    """Checks with another process that answers with what `problems` has for fused attention or
    plain; what was logged, and how often it was asked."""

    def run(problems, execution=FUSED, stderr=""):
        logged, count = [], []

        def answering(command, *, input, **_):
            count.append(command)
            if (problem := problems['"flash": true' in input]) is not None:
                write_checked_json(step_check.Path(command[-1]), {"problem": problem})
            return SimpleNamespace(stderr=stderr, returncode=1)

        monkeypatch.setattr(subprocess, "run", answering)
        place = replace(runtime, cache=tmp_path, execution=execution, log=logged.append)
        return checked(place, ARCHITECTURES["deberta-v2"]).execution, logged, len(count)

    return run


@pytest.mark.parametrize(
    ("problems", "execution", "lines"),
    [
        ({True: ""}, FUSED, []),
        ({True: "no", False: ""}, CAPTURED, [PLAIN]),
        ({True: "no", False: "nor this"}, EAGER, [PLAIN, "eager: nor this"]),
    ],
)
def test_what_is_wrong_is_stepped_down_and_remembered(asked, problems, execution, lines):
    found, logged, count = asked(problems)
    assert (found, count) == (execution, len(problems))
    assert [line for line in logged if not line.startswith("Captured steps, ")] == lines
    assert sum(line.startswith("Captured steps, ") for line in logged) == count
    assert asked({}) == (execution, lines, 0)  # known by now


def test_a_process_that_gives_no_answer_is_asked_again(asked):
    for _ in range(2):
        found, logged, count = asked({False: None}, CAPTURED, "Traceback\nKilled by a test")
        assert (found, logged[-1], count) == (EAGER, "eager: Killed by a test", 1)


def test_another_driver_is_checked_anew(asked, monkeypatch, tmp_path):
    assert asked({False: ""}, CAPTURED)[2] == 1
    assert asked({}, CAPTURED)[2] == 0
    monkeypatch.setattr(step_check, "DRIVER", tmp_path / "version")
    (tmp_path / "version").write_text("another")
    assert asked({False: ""}, CAPTURED)[2] == 1


def test_the_other_process_answers(runtime, tmp_path):
    """Here, without a GPU, that nothing can be captured; and that is kept."""
    logged, place = [], replace(runtime, cache=tmp_path, execution=CAPTURED)
    found = checked(replace(place, log=logged.append), ARCHITECTURES["bert"])
    assert found.execution == EAGER
    assert logged[0].startswith("Captured steps, plain attention, checked beside eager ones: ")
    assert len(list((tmp_path / "step_checks").iterdir())) == 1
