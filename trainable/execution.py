"""How steps are executed here: captured or each as it is, and with which attention."""

from collections.abc import Callable

import torch
from transformers import PreTrainedConfig

from trainable.capture_watch import capture_problem
from trainable.errors import UserError
from trainable.flash import FLASH_MODEL, flash_obstacle
from trainable.names import EAGER, GRAPH
from trainable.training_inputs import Execution


def choose_execution(
    config: PreTrainedConfig, device: torch.device, wanted: str, say: Callable[[str], None]
) -> Execution:
    """For models of this configuration; `wanted` is auto or an executor.

    `auto` captures steps on a GPU where the architecture allows it. What can't be had there is said
    in one line. UserError where GRAPH is wanted without a CUDA GPU.
    """
    if device.type != "cuda":
        if wanted == GRAPH:
            raise UserError(f"--executor {GRAPH}: steps are captured on a CUDA GPU, none is here")
        return Execution()
    problem = None if wanted == EAGER else capture_problem(config)
    if problem:
        say(f"steps run one by one, since they can't be captured as a CUDA graph: {problem}")
    captured = wanted != EAGER and problem is None
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
