"""How steps are executed here: captured or each as it is, and with which attention."""

from collections.abc import Callable

import torch
from transformers import PreTrainedConfig

from trainable.errors import UserError
from trainable.flash import FLASH_MODEL, flash_obstacle
from trainable.names import EAGER, GRAPH
from trainable.training_inputs import Execution


def choose_execution(
    config: PreTrainedConfig, device: torch.device, wanted: str, say: Callable[[str], None]
) -> Execution:
    """For models of this configuration; `wanted` is auto or an executor.

    `auto` captures steps on a GPU; an architecture that does not allow it turns eager at its first
    capture (`GraphExecutor`). Attention that can't be had is said in one line. UserError where
    GRAPH is wanted without a CUDA GPU.
    """
    if device.type != "cuda":
        if wanted == GRAPH:
            raise UserError(f"--executor {GRAPH}: steps are captured on a CUDA GPU, none is here")
        return Execution()
    captured = wanted != EAGER
    return Execution(GRAPH if captured else EAGER, _has_flash(config, device, captured, say))


def _has_flash(
    config: PreTrainedConfig, device: torch.device, captured: bool, say: Callable[[str], None]
) -> bool:
    """Whether students get the fused attention; says why not where they could have it.

    Only captured steps: the kernels are compiled anew for every shape of a batch.
    """
    if config.model_type != FLASH_MODEL or not captured:
        return False
    obstacle = flash_obstacle(config, device)
    if obstacle:
        say(f"plain attention instead of disentangled-flash: {obstacle}")
    return obstacle is None
