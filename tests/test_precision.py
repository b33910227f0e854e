"""The choice of arithmetic, by measurement."""

import pytest
import torch

from tests.conftest import tiny_classifier
from trainable import precision
from trainable.files import read_json, write_json


@pytest.mark.parametrize(("bf16", "chosen"), [(0.5, "bf16"), (0.95, "fp32"), (2.0, "fp32")])
def test_bf16_only_where_it_is_a_tenth_faster(monkeypatch, make_config, tmp_path, bf16, chosen):
    seconds = {"fp32": 1.0, "bf16": bf16}
    monkeypatch.setattr(precision, "_step_seconds", lambda student, p: seconds[p])
    arguments = (tiny_classifier().config, make_config(), torch.device("cpu"), tmp_path)
    assert precision.faster_precision(*arguments) == chosen
    seconds |= {"bf16": 3.0 - bf16}
    assert precision.faster_precision(*arguments) == chosen  # measured once, then kept


def test_a_measurement_is_kept_whole_or_not_at_all(monkeypatch, make_config, tmp_path):
    """A kill while it is written, or another process that reads, never meets a half one."""
    monkeypatch.setattr(precision, "_step_seconds", lambda student, p: {"fp32": 1, "bf16": 0.5}[p])
    arguments = (tiny_classifier().config, make_config(), torch.device("cpu"), tmp_path)
    with monkeypatch.context() as interrupted:
        interrupted.setattr(precision, "write_json", write_half)
        with pytest.raises(KeyboardInterrupt):
            precision.faster_precision(*arguments)
    assert list((tmp_path / "precision").iterdir()) == []
    with monkeypatch.context() as observed:
        observed.setattr(precision, "write_json", write_unseen)
        assert precision.faster_precision(*arguments) == "bf16"
    (kept,) = (tmp_path / "precision").iterdir()
    assert (kept.suffix, read_json(kept)) == (".json", {"fp32": 1, "bf16": 0.5})


def write_half(path, seconds):
    path.write_text('{"fp32": ')
    raise KeyboardInterrupt


def write_unseen(path, seconds):
    write_json(path, seconds)
    assert list(path.parent.glob("[!.]*")) == []


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
