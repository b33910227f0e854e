"""A trial on disk: one file to go on from, and one with the best student so far."""

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import AutoConfig

from trainable.config import TrialConfig
from trainable.student import new_model, student_config
from trainable.task import Task
from trainable.training_state import (
    CheckpointError,
    read_header,
    read_tensors,
    restore_training,
    training_tensors,
    write_state,
)
from trainable.trial import Evaluation, Trial
from trainable.vocabulary import load_vocabulary
from trainable.workbench import Workbench

FORMAT = 3
STATE = "state.safetensors"
STUDENT, PROJECTIONS, MEANS = "student.", "projections.", "means."
HEADER_BYTES = 1_000_000  # more than history and random states take


@dataclass(frozen=True)
class Snapshot:
    """A trial at one moment, in host memory, apart from the trial that trains on."""

    header: dict[str, Any]
    tensors: dict[str, Tensor]
    new_best: bool  # whether its student has just been found the best so far


def take_snapshot(trial: Trial, buffers: dict[str, Tensor]) -> Snapshot:
    """Copies what `load_checkpoint` needs into `buffers`, made as needed and then reused."""
    tensors = {name: _copied(tensor, name, buffers) for name, tensor in _tensors(trial).items()}
    if trial.device.type == "cuda":
        torch.cuda.current_stream(trial.device).synchronize()
    history = trial.history
    header = {
        **_identity(trial.config, trial.task),
        "step": trial.step,
        "mean_steps": trial.means.steps,
        "trained_seconds": trial.trained_seconds,
        "history": [evaluation.to_dict() for evaluation in history],
        "python_random": random.getstate(),
        "numpy_random": _numpy_state(),
    }
    just_evaluated = bool(history) and history[-1].step == trial.step
    return Snapshot(header, tensors, just_evaluated and _best(history) is history[-1])


def write_checkpoint(snapshot: Snapshot, folder: Path) -> None:
    """Puts a snapshot on disk; at any moment of it a kill leaves a whole checkpoint behind."""
    folder.mkdir(parents=True, exist_ok=True)
    history = [Evaluation(**values) for values in snapshot.header["history"]]
    best = student_file(folder, _best(history)) if history else None
    if best is not None and snapshot.new_best:
        weights = {
            name.removeprefix(STUDENT): tensor
            for name, tensor in snapshot.tensors.items()
            if name.startswith(STUDENT)
        }
        keys = ("format", "config", "data_digest", "teacher_digest")
        header = {key: snapshot.header[key] for key in keys}
        write_state(best, {**header, "evaluation": _best(history).to_dict()}, weights)
    write_state(folder / STATE, snapshot.header, snapshot.tensors)
    for student in student_files(folder):
        if student != best:
            student.unlink()


def student_bytes(config: TrialConfig, task: Task) -> int:
    """Size of a student's weights on disk, from the teacher's shapes and the tokens in use."""
    shape = student_config(AutoConfig.from_pretrained(task.teacher.folder), config)
    shape.vocab_size = len(load_vocabulary(Path(task.tokens)))
    with torch.device("meta"):
        return sum(p.numel() * p.element_size() for p in new_model(shape).parameters())


def checkpoint_bytes(config: TrialConfig, task: Task) -> tuple[int, int]:
    """The most that a trial's state and its best student take on disk.

    A state is the student, its projections to the teacher's width, and two Adam moments of both.
    """
    student, width = student_bytes(config, task), config.student_width or 0
    teacher_width = AutoConfig.from_pretrained(task.teacher.folder).hidden_size
    projections = 4 * config.student_layers * width * teacher_width
    return 3 * (student + projections) + HEADER_BYTES, student + HEADER_BYTES


def save_checkpoint(trial: Trial, folder: Path) -> None:
    """Writes a trial's checkpoint and returns when it is on disk."""
    write_checkpoint(take_snapshot(trial, {}), folder)


def student_file(folder: Path, evaluation: Evaluation) -> Path:
    """Where the student of this evaluation is kept, while it is the trial's best."""
    return folder / f"student-{evaluation.evaluations}.safetensors"


def student_files(folder: Path) -> list[Path]:
    """The students kept in a trial's folder: one, or two for a moment."""
    return sorted(folder.glob("student-*.safetensors"))


def best_student(history: list[dict[str, Any]]) -> str | None:
    """The name of the file with the best student of a checkpoint's history; None before any."""
    evaluations = [Evaluation(**values) for values in history]
    return student_file(Path(), _best(evaluations)).name if evaluations else None


def check_identity(header: dict[str, Any], config: TrialConfig, task: Task) -> None:
    """CheckpointError where a checkpoint is of another format, configuration, data or teacher."""
    for key, value in _identity(config, task).items():
        if header.get(key) != value:
            raise CheckpointError(f"of another {key.removesuffix('_digest')}")


def load_checkpoint(
    folder: Path,
    config: TrialConfig,
    task: Task,
    device: torch.device,
    workbench: Workbench | None = None,
) -> Trial:
    """The trial as it was saved, random generators included.

    Raises CheckpointError where there is none, or one that is cut short or of another trial.
    """
    header = read_header(folder / STATE)
    check_identity(header, config, task)
    trial = Trial.start(config, task, device, workbench)
    tensors = read_tensors(folder / STATE)
    restore_training(_parameters(trial), trial.optimiser, device, tensors)
    sums = {name: value for name, value in tensors.items() if name.startswith(MEANS)}
    trial.means.add({name.removeprefix(MEANS): value.to(device) for name, value in sums.items()})
    trial.step = header["step"]
    trial.means.steps = header["mean_steps"]
    trial.trained_seconds = header["trained_seconds"]
    trial.history = [Evaluation(**values) for values in header["history"]]
    version, internal, gauss = header["python_random"]
    random.setstate((version, tuple(internal), gauss))
    name, keys, *rest = header["numpy_random"]
    np.random.set_state((name, np.array(keys, dtype=np.uint32), *rest))
    return trial


def _identity(config: TrialConfig, task: Task) -> dict[str, Any]:
    """What a checkpoint must share with the trial that goes on from it."""
    return {
        "format": FORMAT,
        "config": config.to_dict(),
        "data_digest": task.data_digest,
        "teacher_digest": task.teacher.digest,
    }


def _best(history: list[Evaluation]) -> Evaluation:
    """The first of the evaluations with the highest accuracy."""
    return max(history, key=lambda evaluation: evaluation.accuracy)


def _copied(tensor: Tensor, name: str, buffers: dict[str, Tensor]) -> Tensor:
    if name not in buffers:
        pinned = tensor.device.type == "cuda"
        buffers[name] = torch.empty_like(
            tensor, device="cpu", memory_format=torch.contiguous_format, pin_memory=pinned
        )
    return buffers[name].copy_(tensor, non_blocking=True)


def _numpy_state() -> list[Any]:
    name, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    return [name, np.asarray(keys).tolist(), position, has_gauss, cached]


def _parameters(trial: Trial) -> dict[str, Tensor]:
    """Trained tensors by name, in the same order for equal configurations."""
    named = {STUDENT + name: tensor for name, tensor in trial.student.named_parameters()}
    projections = trial.distillation.projections.named_parameters()
    return named | {PROJECTIONS + name: tensor for name, tensor in projections}


def _tensors(trial: Trial) -> dict[str, Tensor]:
    means = {MEANS + name: value for name, value in trial.means.sums.items()}
    return means | training_tensors(_parameters(trial), trial.optimiser, trial.device)
