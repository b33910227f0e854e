"""Which executor and attention a machine gets, and what is said where they can't be had."""

import pytest
import torch
from transformers import AlbertConfig

from tests.conftest import ARCHITECTURES, SIZES
from trainable import execution
from trainable.errors import UserError
from trainable.execution import Execution, choose_execution

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def chosen(config, device=CUDA, wanted="auto"):
    said = []
    return choose_execution(config, device, wanted, said.append), said


@pytest.fixture
def flash(monkeypatch):
    """Pretends that flash attention can be had, or why it can't."""

    def pretend(obstacle):
        monkeypatch.setattr(execution, "flash_obstacle", lambda *_: obstacle)

    return pretend


@pytest.mark.parametrize("wanted", ["auto", "eager"])
def test_a_cpu_runs_steps_as_they_are_and_says_nothing(wanted):
    assert chosen(ARCHITECTURES["deberta-v2"], CPU, wanted) == (Execution("eager", False), [])


def test_capturing_on_a_cpu_is_refused():
    with pytest.raises(UserError, match=r"^--executor graph: .*CUDA GPU"):
        chosen(ARCHITECTURES["bert"], CPU, "graph")


@pytest.mark.parametrize("architecture", sorted(set(ARCHITECTURES) - {"deberta-v2"}))
def test_a_gpu_captures(architecture):
    assert chosen(ARCHITECTURES[architecture]) == (Execution("graph", False), [])


def test_deberta_gets_flash_attention_where_it_can_and_else_one_line(flash):
    flash(None)
    assert chosen(ARCHITECTURES["deberta-v2"]) == (Execution("graph", True), [])
    # Its kernels would be compiled for every shape of an eager step's batch.
    assert chosen(ARCHITECTURES["deberta-v2"], wanted="eager") == (Execution("eager", False), [])
    flash("it is not installed")
    said = ["plain attention instead of disentangled-flash: it is not installed"]
    assert chosen(ARCHITECTURES["deberta-v2"]) == (Execution("graph", False), said)


@pytest.mark.parametrize("wanted", ["auto", "graph"])
def test_one_line_where_an_architecture_cannot_be_captured(wanted):
    found, said = chosen(AlbertConfig(**SIZES, embedding_size=16), CUDA, wanted)
    assert found == Execution("eager", False)
    assert len(said) == 1
    assert said[0].startswith("steps run one by one, since they can't be captured")
    assert "a value goes to the host" in said[0]
