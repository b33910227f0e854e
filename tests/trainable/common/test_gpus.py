"""An NVIDIA GPU that torch can't use is named with the remedy, and never passed over in silence."""

import pytest
import torch

from trainable.common import gpus
from trainable.common.errors import UserError
from trainable.config.options import resolve_preset


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """One with a driver that shows a GPU, and a torch built for this CUDA, if any."""

    def make(cuda, *, usable=False, driver=True, visible=None):
        if driver:
            (tmp_path / "0000:01:00.0").mkdir()
        monkeypatch.setattr(gpus, "DRIVER", tmp_path)
        monkeypatch.setattr(torch.version, "cuda", cuda)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: usable)
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        if visible is not None:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)

    return make


@pytest.mark.parametrize(
    ("cuda", "reason"), [(None, "build for CPUs"), ("13.0", "driver is too old.* CUDA 13.0")]
)
def test_auto_stops_where_torch_cannot_use_the_gpu_that_is_there(machine, cuda, reason):
    machine(cuda)
    with pytest.raises(UserError, match=f"^--preset auto: [^\n]*{reason}[^\n]*--preset mini"):
        resolve_preset("auto")
    assert resolve_preset("mini")[0] == "mini"


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({"driver": False}, ("mini", "no CUDA GPU is visible")),
        ({"visible": ""}, ("mini", "no CUDA GPU is visible")),
        ({"visible": "-1"}, ("mini", "no CUDA GPU is visible")),
        ({"usable": True}, ("sst2", "a CUDA GPU is visible")),
    ],
)
def test_auto_is_sst2_where_a_gpu_is_to_be_used(machine, given, found):
    machine("13.0", **given)
    assert gpus.unusable_gpu() == ""
    assert resolve_preset("auto") == found
