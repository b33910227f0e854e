"""Which executor and attention a machine gets, and what is said where they can't be had."""

import pytest
import torch

from tests.conftest import ARCHITECTURES
from trainable.common.errors import UserError
from trainable.config.training_inputs import Execution
from trainable.engine import cuda_graph
from trainable.engine.cuda_graph import choose_execution

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def chosen(config, device=CUDA, wanted="auto"):
    said = []
    return choose_execution(config, device, wanted, said.append), said


@pytest.fixture
def flash(monkeypatch):
    """Pretends that flash attention can be had, or why it can't."""

    def pretend(obstacle):
        monkeypatch.setattr(cuda_graph, "flash_obstacle", lambda *_: obstacle)

    return pretend


@pytest.mark.parametrize("wanted", ["auto", "eager"])
def test_a_cpu_runs_steps_as_they_are_and_says_nothing(wanted):
    assert chosen(ARCHITECTURES["deberta-v2"], CPU, wanted) == (Execution("eager", False), [])


def test_capturing_on_a_cpu_is_refused():
    with pytest.raises(UserError, match=r"^--executor graph: .*CUDA GPU"):
        chosen(ARCHITECTURES["bert"], CPU, "graph")


@pytest.mark.parametrize("wanted", ["auto", "graph"])
@pytest.mark.parametrize("architecture", sorted(set(ARCHITECTURES) - {"deberta-v2"}))
def test_a_gpu_captures(architecture, wanted):
    assert chosen(ARCHITECTURES[architecture], CUDA, wanted) == (Execution("graph", False), [])


def test_deberta_gets_flash_attention_where_it_can(flash):
    flash(None)
    assert chosen(ARCHITECTURES["deberta-v2"]) == (Execution("graph", True), [])


def test_one_line_where_deberta_cannot(flash):
    flash("it is not installed")
    found, said = chosen(ARCHITECTURES["deberta-v2"])
    assert found == Execution("graph", False)
    assert said == ["plain attention instead of disentangled-flash: it is not installed"]


def test_eager_steps_have_plain_attention_without_a_word(flash):
    """Its kernels would be compiled for every shape of a batch."""
    flash(None)
    assert chosen(ARCHITECTURES["deberta-v2"], wanted="eager") == (Execution("eager", False), [])
