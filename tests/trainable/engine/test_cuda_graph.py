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


@pytest.mark.parametrize(
    ("device", "wanted", "obstacle", "execution"),
    [
        (CPU, "auto", None, ("eager", False)),
        (CPU, "eager", None, ("eager", False)),
        (CUDA, "auto", None, ("graph", True)),
        (CUDA, "auto", "it is not installed", ("graph", False)),
        (CUDA, "eager", None, ("eager", False)),  # kernels are compiled for every shape
    ],
)
def test_deberta(monkeypatch, device, wanted, obstacle, execution):
    monkeypatch.setattr(cuda_graph, "flash_obstacle", lambda *_: obstacle)
    lines = [f"plain attention instead of disentangled-flash: {obstacle}"] if obstacle else []
    assert chosen(ARCHITECTURES["deberta-v2"], device, wanted) == (Execution(*execution), lines)


def test_capturing_on_a_cpu_is_refused():
    with pytest.raises(UserError, match=r"^--executor graph: .*CUDA GPU"):
        chosen(ARCHITECTURES["bert"], CPU, "graph")


@pytest.mark.parametrize("wanted", ["auto", "graph"])
@pytest.mark.parametrize("architecture", sorted(set(ARCHITECTURES) - {"deberta-v2"}))
def test_a_gpu_captures(architecture, wanted):
    assert chosen(ARCHITECTURES[architecture], CUDA, wanted) == (Execution("graph", False), [])
