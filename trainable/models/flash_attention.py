"""Fused attention for DeBERTa-v2 and -v3 on a CUDA GPU, where `disentangled-flash` is installed."""

import importlib.util
import os
import shutil
import sysconfig
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

FLASH_MODEL = "deberta-v2"  # its third version has the same type
HEAD_SIZES = (32, 64, 128)  # that the kernels are written for
OLDEST_GPU = (8, 0)  # Ampere: the first with bf16


def fuse_attention(model: PreTrainedModel, device: torch.device) -> str:
    """Gives a DeBERTa on this device the fused attention, or says why it can't have it."""
    if model.config.model_type != FLASH_MODEL:
        return ""  # such as of a --student: the library's own is fused
    obstacle = flash_obstacle(model.config, device)
    if not obstacle and not replace_attention(model.base_model, "triton"):
        obstacle = "disentangled-flash finds no Triton"
    return f"plain attention: {obstacle}" if obstacle else ""


def replace_attention(backbone: PreTrainedModel, backend: str) -> bool:
    """Puts the package's encoder into a DeBERTa backbone; false if it finds no Triton.

    Call it on the device and before anything holds on to the encoder. Parameters stay the same
    objects under the same names, and torch's generator where it is, though the package draws
    weights that are thrown away. Masks stay 2-D. Dropout of attention probabilities follows the
    configuration; its seeds come from the GPU's generator, so that a replayed graph draws new ones.
    """
    from disentangled_flash import KernelConfig, KernelTuningOptions, optimize_deberta_training

    plain = backbone.encoder
    attentions = [layer.attention.self for layer in plain.layer]
    # Launch sizes from the package's rules: its profiles fit one GPU and version of torch, and each
    # model would read them again. A launch that fails is repeated with the smallest: timing others
    # would take minutes if memory ran out.
    tuning = KernelTuningOptions(
        use_user_profiles=False, use_bundled_profiles=False, candidates=(KernelConfig(16, 16, 4),)
    )
    with torch.random.fork_rng(devices=[]):
        optimize_deberta_training(backbone, backend=backend, tuning=tuning)
    if backbone.encoder is plain:
        return False
    for layer, attention in zip(backbone.encoder.layer, attentions, strict=True):
        for name, child in attention.named_children():
            setattr(layer.attention.self, name, child)
        layer.attention.self.register_forward_pre_hook(_cast)
    return True


def _cast(_: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """Hidden states in autocast's type, by which the package chooses its launch sizes."""
    kind, dtype = inputs[0].device.type, inputs[0].dtype
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else dtype
    return (inputs[0].to(dtype), *inputs[1:])


def flash_obstacle(config: PreTrainedConfig, device: torch.device) -> str | None:
    """Why DeBERTas of this configuration can't have the fused attention; None if they can."""
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
    return _compiler_obstacle()


def _compiler_obstacle() -> str | None:
    """Why Triton could not compile the C file that it makes at first use; None if it can."""
    if not (os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")):
        return "Triton needs a C compiler: install gcc, or name one in the variable CC"
    if not Path(sysconfig.get_path("include", "posix_prefix"), "Python.h").is_file():
        return "Triton needs Python's headers: install python3-dev, or a Python that has them"
    return None
