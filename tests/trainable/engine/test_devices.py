"""The arithmetic that suits a device."""

import pytest
import torch

from trainable.engine.devices import CPU_WITH_BF16, faster_precision


@pytest.mark.parametrize(("native", "chosen"), [(True, "bf16"), (False, "fp32")])
def test_a_gpu_has_bf16_where_it_need_not_emulate_it(monkeypatch, native, chosen):
    def supported(including_emulation=True):
        return native or including_emulation

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    assert faster_precision(torch.device("cuda")) == chosen


@pytest.mark.parametrize("having", [(), *((name,) for name in CPU_WITH_BF16)])
def test_a_cpu_has_bf16_where_it_multiplies_such_matrices(monkeypatch, cpu, having):
    for name in CPU_WITH_BF16:
        monkeypatch.setattr(torch.cpu, name, lambda name=name: name in having, raising=False)
    assert faster_precision(cpu) == ("bf16" if having else "fp32")


def test_a_torch_that_cannot_tell_has_fp32(monkeypatch, cpu):
    for name in CPU_WITH_BF16:
        monkeypatch.delattr(torch.cpu, name, raising=False)
    assert faster_precision(cpu) == "fp32"
