"""A trial's checkpoint: a folder with its student, or the state to go on from, or both.

The student is what an evaluation after this step scores: the weights, or their averages if the
trial has any. It is a Hugging Face model with its full vocabulary and its tokenizer, so
`from_pretrained` loads the folder. A finished trial's has no state; in a sweep, one that is to go
on has no student. A manifest has the digest of each file.
"""

import copy
import random
import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel

from trainable.common.files import verified_values, write_manifest
from trainable.config.training_inputs import TrainingInputs
from trainable.config.trial_config import TrialConfig
from trainable.data.vocabulary import full_embedding_of, load_vocabulary, padding_id, trim_embedding
from trainable.engine.metrics import without_predictions
from trainable.engine.training_state import (
    CheckpointError,
    FinishedError,
    read_state,
    restore_training,
    safetensors_as_os_errors,
    training_tensors,
    write_state,
)
from trainable.models.loading import load_classifier, load_config, load_pretrained, shape_of
from trainable.models.students import build_student, new_model
from trainable.teacher.teacher import load_teacher
from trainable.trial.training_loop import Evaluation, Trial
from trainable.trial.training_setup import SetupCache

SAVE_SHARE = 0.02  # of a trial's time, at most, that checkpoints take before its end
FIRST_SAVE_BYTES = 200e6  # a second, as long as no checkpoint has been timed
RETRAINED = 3.0  # checkpoints: of two trials that wait, both written, one is read and goes on
FORMAT = 10
STATE = "training_state.safetensors"
STUDENT, AVERAGES, PROJECTIONS, MEANS = "student.", "averages.", "projections.", "means."
GENERIC_LABEL = "LABEL_"  # how the library names a label that nobody named


class SaveTimer:
    """Says when a checkpoint is due, so that saving takes at most a share of the time."""

    def __init__(self, share: float, size: int, unsaved_seconds: float = 0.0) -> None:
        self._share, self._cost = share, size / FIRST_SAVE_BYTES
        self._saved = time.monotonic() - unsaved_seconds

    @property
    def unsaved_seconds(self) -> float:
        """Since the last one, or the trial's start."""
        return time.monotonic() - self._saved

    @property
    def due(self) -> bool:
        """Whether the last one's cost is at most that share of the time since."""
        return self._share * self.unsaved_seconds >= self._cost or self._share >= 1

    @property
    def pays(self) -> bool:
        """Whether it costs less than to train again, for that time, a trial that waits."""
        return self.unsaved_seconds > RETRAINED * self._cost

    def saved(self, seconds: float) -> None:
        """Call after writing a checkpoint."""
        self._saved, self._cost = time.monotonic(), seconds


@dataclass(frozen=True)
class State:
    """What a trial goes on from: plain values, and tensors by name."""

    header: dict[str, Any]
    tensors: dict[str, Tensor]

    @property
    def bytes(self) -> int:
        """Of the tensors."""
        return sum(tensor.nbytes for tensor in self.tensors.values())


def state_bytes(trial: Trial) -> int:
    """Of the tensors of a trial's state."""
    return State({}, _tensors(trial)).bytes


def copied_state(trial: Trial) -> State:
    """A trial's, in this machine's memory, whatever the trial does next."""
    tensors = {name: tensor.to("cpu", copy=True) for name, tensor in _tensors(trial).items()}
    return State(_header(trial), tensors)


def write_checkpoint(trial: Trial, folder: Path, *, student: bool = True) -> None:
    """Writes a trial into an empty folder, with `student` as a model, too, though it is to go on;
    OSError where the disk does not take it."""
    if student or trial.finished:
        with trial.setup.averaged():
            _write_student(trial.student, trial.setup.full_embedding, trial.inputs, folder)
    if not trial.finished:
        write_state(folder / STATE, _header(trial), _tensors(trial))
    write_manifest(folder, {**_identity(trial.config, trial.inputs), "step": trial.step})


def load_checkpoint(
    folder: Path,
    config: TrialConfig,
    inputs: TrainingInputs,
    device: torch.device,
    setups: SetupCache | None = None,
    *,
    exact: bool = True,
) -> Trial:
    """The trial as it was saved, random generators included.

    With `exact`, a checkpoint of another configuration is refused; without, a trial goes on from
    any whose weights fit, as population-based training needs it. Raises CheckpointError if there is
    none, or it is damaged or of another trial.
    """
    check_checkpoint(folder, config, inputs, exact=exact)
    if not (folder / STATE).is_file():
        raise FinishedError("of a finished trial")
    header, tensors = read_state(folder / STATE)
    trial = Trial.start(config, inputs, device, setups)
    if not exact:  # the rows that are not in use, which this trial has drawn anew
        in_use = load_vocabulary(Path(trial.inputs.tokens))
        trial.setup.full_embedding = trim_embedding(load_classifier(folder), in_use)
    restore(trial, State(header, tensors))
    return trial


def restore(trial: Trial, state: State) -> None:
    """Has a trial that has just started go on from a state, random generators included.

    CheckpointError if that is of another model.
    """
    header, tensors, device = state.header, state.tensors, trial.device
    parameters = _parameters(trial)
    if {name for name in tensors if name.startswith((STUDENT, PROJECTIONS))} != parameters.keys():
        raise CheckpointError("of another model")
    restore_training(parameters, trial.setup.step.optimiser, device, tensors)
    if trial.setup.step.averages is not None:
        for name, average in zip(parameters, trial.setup.step.averages.averages, strict=False):
            average.copy_(tensors.get(AVERAGES + name, tensors[name]))
    means = trial.setup.step.means
    sums = {name: value.to(device) for name, value in tensors.items() if name.startswith(MEANS)}
    means.add({name.removeprefix(MEANS): value for name, value in sums.items()})
    trial.step = header["step"]
    means.steps = header["mean_steps"]
    trial.trained_seconds = header["trained_seconds"]
    trial.history = [Evaluation(**values) for values in header["history"]]
    version, internal, gauss = header["python_random"]
    random.setstate((version, tuple(internal), gauss))
    name, keys, *rest = header["numpy_random"]
    np.random.set_state((name, np.array(keys, dtype=np.uint32), *rest))


def check_checkpoint(
    folder: Path, config: TrialConfig, inputs: TrainingInputs, *, exact: bool = True
) -> dict[str, Any]:
    """A checkpoint's manifest; CheckpointError if it is damaged or of another trial."""
    values = verified_values(folder)
    if values is None:
        raise CheckpointError("missing or damaged")
    for key, wanted in _identity(config, inputs).items():
        if values.get(key) != wanted and (exact or key != "config"):
            raise CheckpointError(f"of another {key.removesuffix('_digest')}")
    return values


def checkpoint_bytes(config: TrialConfig, inputs: TrainingInputs) -> tuple[int, int]:
    """`bytes_of_shape` of a trial on these inputs."""
    rows = len(load_vocabulary(Path(inputs.of(config).tokens)))
    width = load_config(inputs.teacher.folder).hidden_size
    return bytes_of_shape(config, shape_of(config, inputs), width, rows)


def bytes_of_shape(
    config: TrialConfig, shape: PreTrainedConfig, width: int, rows: int
) -> tuple[int, int]:
    """Bytes of a trial's largest checkpoint, and of its last, which is the student alone.

    A state is the weights of the student with the `rows` of its embedding in use, two Adam moments
    and perhaps averages of these, and the projections to the teacher's `width` with their moments.
    The student has its full vocabulary.
    """
    trimmed = copy.deepcopy(shape)
    trimmed.vocab_size, trimmed.pad_token_id = rows, padding_id(shape.pad_token_id or 0)
    projections = 4 * config.student_layers * (config.student_width or 0) * width
    state = (3 + (config.ema_decay > 0.0)) * _weights_bytes(trimmed) + 3 * projections
    return max(state, _weights_bytes(shape)), _weights_bytes(shape)


def label_names(of_data: list[str], teacher: PreTrainedConfig) -> list[str]:
    """The data's names; the teacher's if the data has only numbers and the teacher has names, and
    for a regression, which has none."""
    if not of_data:
        return list(teacher.id2label.values())
    of_teacher = [str(teacher.id2label[index]) for index in range(len(of_data))]
    named = not any(name.startswith(GENERIC_LABEL) for name in of_teacher)
    return of_teacher if named and all(name.isdecimal() for name in of_data) else of_data


def write_student(
    checkpoint: Path, config: TrialConfig, inputs: TrainingInputs, folder: Path
) -> None:
    """The student of a checkpoint that has only a state, as a Hugging Face folder."""
    teacher, own = load_teacher(Path(inputs.teacher.folder)), inputs.pretrained_of(config)
    student = build_student(teacher, config, load_pretrained(Path(own.folder)) if own else None)
    full_embedding = trim_embedding(student, load_vocabulary(Path(inputs.of(config).tokens)))
    tensors = read_state(checkpoint / STATE)[1]
    for prefix in (STUDENT, AVERAGES + STUDENT):
        weights = {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
        student.load_state_dict(weights, strict=False)
    _write_student(student, full_embedding, inputs.of(config), folder)


def _write_student(
    student: PreTrainedModel, full_embedding: Tensor, inputs: TrainingInputs, folder: Path
) -> None:
    in_use = load_vocabulary(Path(inputs.tokens))
    name, embedding = full_embedding_of(student, in_use, full_embedding)
    with safetensors_as_os_errors(folder):
        student.save_pretrained(folder, state_dict={**student.state_dict(), name: embedding})
    config = copy.deepcopy(student.config)
    config.vocab_size, config.architectures = len(embedding), [type(student).__name__]
    teacher = load_config(Path(inputs.teacher.folder))
    config.id2label = dict(enumerate(label_names(inputs.label_names, teacher)))
    config.label2id = {label: index for index, label in config.id2label.items()}
    # Which a teacher that was given may lack, or have of several labels: then a sigmoid.
    config.problem_type = "regression" if inputs.regression else "single_label_classification"
    config.save_pretrained(folder)
    shutil.copytree(Path(inputs.tokens) / "tokenizer", folder, dirs_exist_ok=True)


def _header(trial: Trial) -> dict[str, Any]:
    """What is kept beside the tensors; past evaluations' predictions are in the sweep's record."""
    history = [asdict(evaluation) for evaluation in trial.history]
    name, keys, *rest = np.random.get_state(legacy=True)
    return {
        "step": trial.step,
        "mean_steps": trial.setup.step.means.steps,
        "trained_seconds": trial.trained_seconds,
        "history": [*map(without_predictions, history[:-1]), *history[-1:]],
        "python_random": random.getstate(),
        "numpy_random": [name, np.asarray(keys).tolist(), *rest],
    }


def _identity(config: TrialConfig, inputs: TrainingInputs) -> dict[str, Any]:
    """What a checkpoint must share with the trial that goes on from it."""
    pretrained = inputs.pretrained_of(config)
    return {
        "format": FORMAT,
        "config": asdict(config),
        "data_digest": inputs.data_digest,
        "teacher_digest": inputs.teacher.digest,
        "student_digest": pretrained.digest if pretrained else None,
    }


def _weights_bytes(shape: PreTrainedConfig) -> int:
    with torch.device("meta"):
        return sum(p.numel() * p.element_size() for p in new_model(shape).parameters())


def _parameters(trial: Trial) -> dict[str, Tensor]:
    """Trained tensors by name, in the same order for equal configurations."""
    named = {STUDENT + name: tensor for name, tensor in trial.student.named_parameters()}
    projections = trial.setup.distillation.projections.named_parameters()
    return named | {PROJECTIONS + name: tensor for name, tensor in projections}


def _tensors(trial: Trial) -> dict[str, Tensor]:
    """The state's."""
    step, parameters = trial.setup.step, _parameters(trial)
    tensors = training_tensors(parameters, step.optimiser, trial.device)
    averages = step.averages.averages if step.averages else []
    tensors |= {AVERAGES + name: a for name, a in zip(parameters, averages, strict=False)}
    return tensors | {MEANS + name: value for name, value in step.means.sums.items()}
