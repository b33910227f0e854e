"""Weights, optimiser and random generators in one safetensors file, without any pickle; what is not
a tensor stands as JSON in the file's header."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from trainable.common.errors import first_line
from trainable.common.files import atomic_file

HEADER = "trial"  # the key of our JSON among a file's metadata
RANDOM = "random.cpu"


class CheckpointError(Exception):
    """A checkpoint that can't be resumed from; the message says why, in a few words."""


class FinishedError(CheckpointError):
    """A checkpoint of a trial that has taken its last step."""


def training_tensors(
    parameters: dict[str, Tensor], optimiser: torch.optim.Optimizer, device: torch.device
) -> dict[str, Tensor]:
    """Parameters by name, the optimiser's state of each, and torch's random states; no copies."""
    tensors = {**_written_tensors(parameters, optimiser), RANDOM: torch.get_rng_state()}
    if device.type == "cuda":
        tensors["random.cuda"] = torch.cuda.get_rng_state(device)
    return tensors


def restore_training(
    parameters: dict[str, Tensor],
    optimiser: torch.optim.Optimizer,
    device: torch.device,
    tensors: dict[str, Tensor],
) -> None:
    """Puts back what `training_tensors` gave; CheckpointError if it is of another model."""
    targets = _written_tensors(parameters, optimiser)
    shapes = {name: target.shape for name, target in targets.items()}
    if {n: tensors[n].shape for n in shapes if n in tensors} != shapes or RANDOM not in tensors:
        raise CheckpointError("of another model")
    for name, target in targets.items():
        target.copy_(tensors[name])
    torch.set_rng_state(tensors[RANDOM])
    if "random.cuda" in tensors:
        torch.cuda.set_rng_state(tensors["random.cuda"], device)


def clear_optimiser(optimiser: torch.optim.Optimizer) -> None:
    """Resets its state to that before the first step, in place."""
    for state in optimiser.state.values():
        for value in state.values():
            value.zero_()


def _written_tensors(
    parameters: dict[str, Tensor], optimiser: torch.optim.Optimizer
) -> dict[str, Tensor]:
    """What a step writes to, by name."""
    tensors = {name: parameter.detach() for name, parameter in parameters.items()}
    for name, parameter in parameters.items():
        for key, value in optimiser.state[parameter].items():
            tensors[f"optimiser.{key}.{name}"] = value
    return tensors


def write_state(path: Path, header: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    """Writes the file completely or not at all; OSError if the disk does not take it."""
    with atomic_file(path) as temporary, safetensors_as_os_errors(path):
        save_file(tensors, temporary, metadata={HEADER: json.dumps(header)})


@contextmanager
def safetensors_as_os_errors(path: Path) -> Iterator[None]:
    """Turns the library's own error, which is no OSError whatever went wrong, into one."""
    try:
        yield
    except SafetensorError as error:
        raise OSError(f"{path}: {first_line(error)}") from error


def read_state(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """A file's header and tensors; CheckpointError if it is missing or cut short, OSError if
    unreadable."""
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})[HEADER])
            return header, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise CheckpointError("missing") from None
    except (SafetensorError, KeyError, ValueError, TypeError):
        raise CheckpointError("cut short or not a checkpoint") from None
