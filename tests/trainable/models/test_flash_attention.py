import copy

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from tests.conftest import ARCHITECTURES, tiny_classifier
from trainable.models import flash_attention
from trainable.models.flash_attention import flash_obstacle, replace_attention
from trainable.models.model_outputs import autocast
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
gpu = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU")]


def deberta(dropout=0.0, **changes):
    """A DeBERTa with heads of 32, small enough for a CPU."""
    sizes = {"hidden_size": 64, "pooler_hidden_size": 64, "num_attention_heads": 2}
    dropouts = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": dropout}
    return tiny_classifier("deberta-v2", **sizes, **dropouts, **changes)


def with_flash(model, backend="torch"):
    """A copy with the package's attention; on a CPU in its PyTorch form."""
    pytest.importorskip("disentangled_flash")
    twin = copy.deepcopy(model)
    assert replace_attention(twin.base_model, backend)
    return twin


def is_flash(model):
    return type(model.base_model.encoder).__module__.startswith("disentangled_flash")


def values_and_gradients(model, precision="fp32"):
    """Logits and each layer's states of the padded batch, and all gradients by name."""
    model.zero_grad()
    ids = IDS.to(model.device)
    with autocast(ids.device, precision):
        outputs = model(ids, (ids > 0).long(), output_hidden_states=True)
    values = [outputs.logits, *outputs.hidden_states]
    sum(value.float().pow(2).mean() for value in values).backward()
    gradients = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    return [value.detach() for value in values], gradients


def test_none_on_a_cpu():
    reason = flash_obstacle(ARCHITECTURES["deberta-v2"], torch.device("cpu"))
    assert reason == "it needs a CUDA GPU and the model is on cpu"


@pytest.mark.parametrize(
    ("capability", "installed", "changes", "reason"),
    [
        ((7, 5), True, {}, "A card is older than Ampere"),
        ((8, 6), False, {}, "disentangled-flash is not installed"),
        ((8, 6), True, {"relative_attention": False}, "this model has no relative positions"),
        ((8, 6), True, {"num_attention_heads": 8}, "heads of size 8 are not among 32, 64, 128"),
        ((8, 6), True, {}, None),
    ],
)
def test_obstacles_on_a_gpu(monkeypatch, capability, installed, changes, reason):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "A card")
    monkeypatch.setattr("importlib.util.find_spec", lambda _: "there" if installed else None)
    monkeypatch.setattr(flash_attention, "_compiler_obstacle", lambda: None)
    sizes = {"hidden_size": 64, "pooler_hidden_size": 64, "num_attention_heads": 2}
    model = tiny_classifier("deberta-v2", **{**sizes, **changes})
    found = flash_obstacle(model.config, torch.device("cuda"))
    assert found is None if reason is None else found.startswith(reason)


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
    assert is_flash(model)
    assert torch.equal(torch.get_rng_state(), before)
    assert list(model.state_dict()) == names
    assert all(a is b for a, b in zip(model.parameters(), parameters, strict=True))


def test_saved_model_is_the_librarys(tmp_path):
    flash = with_flash(deberta())
    flash.save_pretrained(tmp_path)
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    assert not is_flash(loaded)
    torch.testing.assert_close(
        loaded(IDS, (IDS > 0).long()).logits, flash(IDS, (IDS > 0).long()).logits
    )


def test_launch_sizes_follow_from_what_is_multiplied(monkeypatch):
    """bf16 under autocast, whatever the layers hand on; a failed launch has one other to try."""
    package = pytest.importorskip("disentangled_flash")
    flash, seen = with_flash(deberta()), []
    options = package.KernelTuningOptions(
        use_user_profiles=False,
        use_bundled_profiles=False,
        candidates=[package.KernelConfig(16, 16, 4)],
    )
    attention = flash.base_model.encoder.layer[0].attention.self
    attention.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].dtype))
    values_and_gradients(flash)
    values_and_gradients(flash, "bf16")
    assert seen == [torch.float32, torch.bfloat16]
    assert flash.base_model.encoder.tuning == options


@pytest.mark.parametrize(
    ("missing", "reason"),
    [("compiler", "Triton needs a C compiler"), ("headers", "Triton needs Python's headers")],
)
def test_what_triton_compiles_with_must_be_there(monkeypatch, tmp_path, missing, reason):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (8, 6))
    monkeypatch.setattr("importlib.util.find_spec", lambda _: "there")
    monkeypatch.delenv("CC", raising=False)
    there = None if missing == "compiler" else "/usr/bin/gcc"
    monkeypatch.setattr("shutil.which", lambda _: there)
    monkeypatch.setattr("sysconfig.get_path", lambda *_: str(tmp_path))
    assert flash_obstacle(deberta().config, torch.device("cuda")).startswith(reason)
    (tmp_path / "Python.h").touch()
    monkeypatch.setenv("CC", "cc")
    assert flash_obstacle(deberta().config, torch.device("cuda")) is None


class TestOnGpu:
    pytestmark = gpu

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
        assert is_flash(flash)
        (values, _), (flash_values, _) = map(values_and_gradients, (plain, flash))
        for value, flash_value in zip(values, flash_values, strict=True):
            torch.testing.assert_close(flash_value, value, rtol=1e-3, atol=1e-3)

    def test_replayed_graph_draws_new_dropout(self):
        """Each replay drops other probabilities, and the same as eager from the same seed."""
        flash = with_flash(deberta(dropout=0.5).cuda().train(), "triton")
        ids = IDS.cuda()
        mask = (ids > 0).long()
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                flash(ids, mask)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            logits = flash(ids, mask).logits
        replayed = []
        torch.cuda.manual_seed(7)
        for _ in range(2):
            graph.replay()
            replayed.append(logits.clone())
        torch.cuda.manual_seed(7)
        eager = [flash(ids, mask).logits.detach() for _ in range(2)]
        assert (replayed[0] - replayed[1]).abs().max() > 1e-3
        for once, again in zip(replayed, eager, strict=True):
            torch.testing.assert_close(once, again, rtol=1e-4, atol=1e-5)
