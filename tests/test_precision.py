"""The choice of arithmetic, by measurement."""

import pytest
import torch

from tests.conftest import tiny_classifier
from trainable import precision


@pytest.mark.parametrize(("bf16", "chosen"), [(0.5, "bf16"), (0.95, "fp32"), (2.0, "fp32")])
def test_bf16_only_where_it_is_a_tenth_faster(monkeypatch, make_config, tmp_path, bf16, chosen):
    seconds = {"fp32": 1.0, "bf16": bf16}
    monkeypatch.setattr(precision, "_step_seconds", lambda student, p: seconds[p])
    arguments = (tiny_classifier().config, make_config(), torch.device("cpu"), tmp_path)
    assert precision.faster_precision(*arguments) == chosen
    seconds |= {"bf16": 3.0 - bf16}
    assert precision.faster_precision(*arguments) == chosen  # measured once, then kept


def test_measuring_leaves_no_trace(make_config, cpu, tmp_path):
    teacher_config = tiny_classifier().config
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    threads = torch.get_num_threads()
    assert precision.faster_precision(teacher_config, make_config(), cpu, tmp_path) in (
        "fp32",
        "bf16",
    )
    assert torch.equal(torch.rand(1), expected)
    assert torch.get_num_threads() == threads
    assert teacher_config.vocab_size == 205
