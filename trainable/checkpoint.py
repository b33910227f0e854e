"""A trial on disk: safetensors and JSON, nothing that needs unpickling."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from trainable.config import TrialConfig
from trainable.folders import read_json, write_json
from trainable.task import Task
from trainable.trial import Evaluation, Trial

FORMAT = 1
STATE, TENSORS = "trial.json", "trial.safetensors"
ADAM_STATE = ("step", "exp_avg", "exp_avg_sq")


class CheckpointError(Exception):
    """A checkpoint of something else; the message says which and why."""


def save_checkpoint(trial: Trial, folder: Path) -> None:
    """Writes all that `load_checkpoint` needs into an existing folder.

    The JSON file comes last. Ray copies the folder into the run and only then counts it as the
    trial's checkpoint, so nothing here waits for the disk.
    """
    save_file(_tensors(trial), folder / TENSORS)
    write_json(
        folder / STATE,
        {
            "format": FORMAT,
            "config": trial.config.to_dict(),
            "data_digest": trial.task.data_digest,
            "teacher_digest": trial.task.teacher.digest,
            "step": trial.step,
            "history": [evaluation.to_dict() for evaluation in trial.history],
            "python_random": random.getstate(),
            "numpy_random": _numpy_state(),
        },
    )


def load_checkpoint(folder: Path, config: TrialConfig, task: Task, device: torch.device) -> Trial:
    """The trial as it was saved, random generators included.

    Raises CheckpointError for a checkpoint of another configuration, task or format.
    """
    state = read_json(folder / STATE)
    expected = {
        "format": FORMAT,
        "config": config.to_dict(),
        "data_digest": task.data_digest,
        "teacher_digest": task.teacher.digest,
    }
    for key, value in expected.items():
        if state.get(key) != value:
            raise CheckpointError(f"{folder}: its {key} is not this trial's")
    trial = Trial.start(config, task, device)
    _restore_tensors(trial, load_file(folder / TENSORS))
    trial.step = state["step"]
    trial.history = [Evaluation(**values) for values in state["history"]]
    version, internal, gauss = state["python_random"]
    random.setstate((version, tuple(internal), gauss))
    name, keys, *rest = state["numpy_random"]
    np.random.set_state((name, np.array(keys, dtype=np.uint32), *rest))
    return trial


def _numpy_state() -> list[Any]:
    name, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    return [name, np.asarray(keys).tolist(), position, has_gauss, cached]


def _parameters(trial: Trial) -> dict[str, Tensor]:
    """Trained tensors by name, in the same order for equal configurations."""
    named = {f"student.{name}": tensor for name, tensor in trial.student.named_parameters()}
    projections = trial.distillation.projections.named_parameters()
    return named | {f"projections.{name}": tensor for name, tensor in projections}


def _tensors(trial: Trial) -> dict[str, Tensor]:
    tensors = {"random.cpu": torch.get_rng_state()}
    if trial.device.type == "cuda":
        tensors["random.cuda"] = torch.cuda.get_rng_state(trial.device)
    for name, parameter in _parameters(trial).items():
        tensors[name] = parameter.detach()
        for key, value in trial.optimiser.state[parameter].items():
            tensors[f"optimiser.{key}.{name}"] = value
    return {name: tensor.contiguous() for name, tensor in tensors.items()}


def _restore_tensors(trial: Trial, tensors: dict[str, Tensor]) -> None:
    for name, parameter in _parameters(trial).items():
        with torch.no_grad():
            parameter.copy_(tensors[name])
        saved = {key: tensors.get(f"optimiser.{key}.{name}") for key in ADAM_STATE}
        if saved["step"] is not None:  # a parameter that had no gradient has no state
            trial.optimiser.state[parameter] = {
                key: value.to(parameter.device) for key, value in saved.items() if value is not None
            }
    torch.set_rng_state(tensors["random.cpu"])
    if "random.cuda" in tensors:
        torch.cuda.set_rng_state(tensors["random.cuda"], trial.device)
