import copy
from types import SimpleNamespace

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from tests.conftest import tiny_classifier
from trainable.models.flash_attention import flash_obstacle, replace_attention
from trainable.models.static_forward import make_static

IDS = torch.tensor([[2, 7, 9, 50, 120, 3, 0], [2, 9, 9, 3, 0, 0, 0], [2, 9, 8, 7, 6, 5, 3]])
VARIANTS = {
    "v3": {},
    "v2 with a convolution": {"conv_kernel_size": 3},
    "own projections": {"share_att_key": False},
    "no buckets": {"position_buckets": -1},
    "one direction": {"pos_att_type": ["c2p"]},
    "absolute positions and segments": {"position_biased_input": True, "type_vocab_size": 2},
}
SIZES = {"hidden_size": 64, "pooler_hidden_size": 64, "num_attention_heads": 2}  # heads of 32


def deberta(**changes):
    """A DeBERTa without dropout, small enough for a CPU."""
    dropouts = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    return tiny_classifier("deberta-v2", **{**SIZES, **dropouts, **changes})


def with_flash(model, backend="torch"):
    """A copy with the package's attention; on a CPU in its PyTorch form."""
    pytest.importorskip("disentangled_flash")
    twin = copy.deepcopy(model)
    assert replace_attention(twin.base_model, backend)
    return twin


def values_and_gradients(model, precision="fp32"):
    """Logits and each layer's states of the padded batch, and all gradients by name."""
    model.zero_grad()
    ids = IDS.to(model.device)
    with torch.autocast(ids.device.type, torch.bfloat16, enabled=precision == "bf16"):
        outputs = model(ids, (ids > 0).long(), output_hidden_states=True)
    values = [outputs.logits, *outputs.hidden_states]
    sum(value.float().pow(2).mean() for value in values).backward()
    gradients = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    return [value.detach() for value in values], gradients


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"device": "cpu"}, "it needs a CUDA GPU and the model is on cpu"),
        ({"capability": (7, 5)}, "A card is older than Ampere"),
        ({"package": None}, "disentangled-flash is not installed"),
        ({"changes": {"relative_attention": False}}, "this model has no relative positions"),
        ({"changes": {"num_attention_heads": 8}}, "heads of size 8 are not among 32, 64, 128"),
        ({"compiler": None}, "Triton needs a C compiler"),
        ({"headers": False}, "Triton needs Python's headers"),
        ({"compiler": None, "cc": "cc"}, ""),
        ({}, ""),
    ],
)
def test_obstacles(monkeypatch, tmp_path, given, reason):
    usual = {"device": "cuda", "capability": (8, 6), "package": "there", "changes": {}}
    usual |= {"compiler": "/usr/bin/gcc", "cc": "", "headers": True}
    at = SimpleNamespace(**usual | given)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: at.capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "A card")
    monkeypatch.setattr("importlib.util.find_spec", lambda _: at.package)
    monkeypatch.setattr("shutil.which", lambda _: at.compiler)
    monkeypatch.setattr("sysconfig.get_path", lambda *_: str(tmp_path))
    monkeypatch.setenv("CC", at.cc)
    if at.headers:
        (tmp_path / "Python.h").touch()
    found = flash_obstacle(deberta(**at.changes).config, torch.device(at.device))
    assert found.startswith(reason) if reason else found is None


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("variant", VARIANTS)
def test_equals_plain_attention(variant, training):
    plain = deberta(**VARIANTS[variant]).train(training)
    flash = with_flash(plain)
    assert flash.training is flash.base_model.encoder.layer[0].attention.self.training is training
    make_static(plain)
    make_static(flash)  # nothing left to do there; it must not mind
    (values, gradients), (flash_values, flash_gradients) = map(values_and_gradients, (plain, flash))
    for value, flash_value in zip(values, flash_values, strict=True):
        torch.testing.assert_close(flash_value, value, rtol=1e-5, atol=3e-6)
    assert gradients.keys() == flash_gradients.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(flash_gradients[name], gradient, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("variant", ["v3", "own projections"])
def test_parameters_and_random_numbers_stay(variant):
    pytest.importorskip("disentangled_flash")
    model = deberta(**VARIANTS[variant])
    names, parameters = list(model.state_dict()), list(model.parameters())
    before = torch.get_rng_state()
    assert replace_attention(model.base_model, "torch")
    assert type(model.base_model.encoder).__module__.startswith("disentangled_flash")
    assert torch.equal(torch.get_rng_state(), before)
    assert list(model.state_dict()) == names
    assert all(a is b for a, b in zip(model.parameters(), parameters, strict=True))


def test_saved_model_is_the_librarys(tmp_path):
    flash = with_flash(deberta())
    flash.save_pretrained(tmp_path)
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    assert type(loaded.base_model.encoder).__module__.startswith("transformers.")
    found, expected = (each(IDS, (IDS > 0).long()).logits for each in (loaded, flash))
    torch.testing.assert_close(found, expected)


def test_launch_sizes_follow_from_what_is_multiplied(monkeypatch):
    """bf16 under autocast, whatever the layers hand on; a failed launch has one other to try."""
    package = pytest.importorskip("disentangled_flash")
    flash, seen = with_flash(deberta()), []
    built_in = dict.fromkeys(("use_user_profiles", "use_bundled_profiles"), False)
    options = package.KernelTuningOptions(**built_in, candidates=[package.KernelConfig(16, 16, 4)])
    attention = flash.base_model.encoder.layer[0].attention.self
    attention.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].dtype))
    values_and_gradients(flash)
    values_and_gradients(flash, "bf16")
    assert seen == [torch.float32, torch.bfloat16]
    assert flash.base_model.encoder.tuning == options


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU")
class TestOnGpu:
    @pytest.mark.parametrize("training", [False, True])
    @pytest.mark.parametrize("variant", VARIANTS)
    def test_bf16_is_as_close_to_fp32_as_plain_attention(self, variant, training):
        """Three times plain attention's own rounding at most, for values and gradients."""
        plain = deberta(**VARIANTS[variant]).cuda().train(training)
        flash = with_flash(plain, "triton")
        exact = values_and_gradients(plain)
        rounded = values_and_gradients(plain, "bf16")
        found = values_and_gradients(flash, "bf16")
        expected, allowed, got = ([*v, *g.values()] for v, g in (exact, rounded, found))
        for reference, one, other in zip(expected, allowed, got, strict=True):
            floor = 1e-3 * float(reference.norm()) + 1e-6
            rounding = float((one.float() - reference).norm())
            assert float((other.float() - reference).norm()) <= 3 * rounding + floor

    def test_fp32_equals_plain_attention(self):
        plain = deberta().cuda()
        flash = with_flash(plain, "triton")
        (values, _), (flash_values, _) = map(values_and_gradients, (plain, flash))
        for value, flash_value in zip(values, flash_values, strict=True):
            torch.testing.assert_close(flash_value, value, rtol=1e-3, atol=1e-3)
