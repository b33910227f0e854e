"""Fused attention for DeBERTa-v2 and -v3 on a CUDA GPU, where `disentangled-flash` is installed."""

import importlib.util
from typing import Any

import torch
from transformers import PreTrainedConfig, PreTrainedModel

FLASH_MODEL = "deberta-v2"  # its third version has the same type
HEAD_SIZES = (32, 64, 128)  # that the kernels are written for
OLDEST_GPU = (8, 0)  # Ampere: the first with bf16


class TrainablePlans:
    """The package's position plans, in tensors that training can save for its backward pass.

    The first forward of a length builds its plan. Where that is an evaluation under
    `inference_mode`, the plan's tensors would be of no use to the training that follows.
    """

    def __init__(self, plans: Any) -> None:
        self.plans = plans

    def compact(self, length: int, device: torch.device) -> Any:
        """What the Triton kernels read, O(T)."""
        with torch.inference_mode(False):
            return self.plans.compact(length, device)

    def dense(self, length: int, device: torch.device) -> Any:
        """What the package's PyTorch attention reads, O(T^2)."""
        with torch.inference_mode(False):
            return self.plans.dense(length, device)


def replace_attention(backbone: PreTrainedModel, backend: str) -> bool:
    """Puts the package's encoder into a DeBERTa backbone; false where it finds no Triton.

    The parameters stay the same objects under the same names, and torch's global generator stays
    where it is: the package builds every projection anew, with weights that are thrown away.
    """
    from disentangled_flash import KernelTuningOptions, optimize_deberta_training

    plain = backbone.encoder
    attentions = [layer.attention.self for layer in plain.layer]
    # Launch sizes from the package's rules: its saved profiles fit one GPU with one version of
    # torch, and every model would read them from disk again and keep them for good.
    tuning = KernelTuningOptions(mode="heuristic")
    with torch.random.fork_rng(devices=[]):
        optimize_deberta_training(backbone, backend=backend, tuning=tuning)
    if backbone.encoder is plain:
        return False
    plans = TrainablePlans(backbone.encoder.position_plan_cache)
    for layer, attention in zip(backbone.encoder.layer, attentions, strict=True):
        replacement = layer.attention.self
        for name, child in attention.named_children():
            setattr(replacement, name, child)
        replacement.set_position_plan_cache(plans)
    return True


def has_flash_attention(model: PreTrainedModel) -> bool:
    """Whether the fused attention is in place."""
    encoder = getattr(model.base_model, "encoder", None)
    return type(encoder).__module__.partition(".")[0] == "disentangled_flash"


def flash_obstacle(config: PreTrainedConfig, device: torch.device) -> str | None:
    """Why DeBERTas of this configuration can't have the fused attention; None where they can."""
    if device.type != "cuda":
        return f"it needs a CUDA GPU and the model is on {device.type}"
    if torch.cuda.get_device_capability(device) < OLDEST_GPU:
        return f"{torch.cuda.get_device_name(device)} is older than Ampere"
    if importlib.util.find_spec("disentangled_flash") is None:
        return "disentangled-flash is not installed: pip install 'distillation-search[gpu]'"
    if not config.relative_attention:  # the package then scales the scores differently
        return "this model has no relative positions"
    size = config.hidden_size // config.num_attention_heads
    head = getattr(config, "attention_head_size", size)
    if head not in HEAD_SIZES:
        return f"heads of size {head} are not among {', '.join(map(str, HEAD_SIZES))}"
    return None


def use_flash_attention(model: PreTrainedModel) -> str | None:
    """Gives a DeBERTa-v2 or -v3 on a CUDA GPU the fused attention, in place.

    Returns None where it is there, and for other architectures; else one line that says why the
    plain attention stays. Call it on the device and before anything holds on to the encoder; the
    parameters stay the same objects. Masks stay 2-D. Dropout of attention probabilities follows
    the configuration; its seeds come from the GPU's default generator, so that a replayed graph
    draws new ones.
    """
    if model.config.model_type != FLASH_MODEL or has_flash_attention(model):
        return None
    reason = flash_obstacle(model.config, model.device)
    if reason is None and not replace_attention(model.base_model, "triton"):
        reason = "this PyTorch comes without a Triton that the kernels can use"
    return reason and f"plain attention instead of disentangled-flash: {reason}"
