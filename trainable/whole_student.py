"""A kept student made whole again: a model on the tokenizer's own vocabulary, with label names.

A student trains on the embedding rows in use. The other rows come back as they were before its
first step: the teacher's where its embeddings were copied, and a random draw from its own seed
where it began from random weights (on a GPU that draw was another one of the same kind). That is
what training the whole matrix would have left there, weight decay apart, since a row that no
sentence reads gets no gradient. The teacher's rows would mean nothing to a student of random ones.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedConfig, PreTrainedModel

from trainable.checkpoint import check_identity
from trainable.config import TrialConfig
from trainable.student import build_student
from trainable.task import Task
from trainable.teacher import load_teacher
from trainable.training_state import CheckpointError, read_header, read_tensors
from trainable.vocabulary import load_vocabulary, restore_embedding, trim_embedding

GENERIC_LABEL = "LABEL_"  # how the library names a label that nobody named


@dataclass(frozen=True)
class WholeStudent:
    """A student on the CPU in fp32, in evaluation mode."""

    model: PreTrainedModel
    evaluation: dict[str, Any]  # Evaluation.to_dict() of the one it was kept for
    rows_in_use: int  # of its word embedding

    def in_words(self) -> str:
        """`evaluation 7, accuracy 0.8525`."""
        found = self.evaluation
        return f"evaluation {found['evaluations']}, accuracy {found['accuracy']:.4f}"


def load_whole_student(file: Path, config: TrialConfig, task: Task) -> WholeStudent:
    """The student in a checkpoint's student file, with all V embedding rows.

    Raises CheckpointError where the file is missing, damaged, or of another trial.
    """
    header = read_header(file)
    check_identity(header, config, task)
    tensors = read_tensors(file)
    teacher, in_use = load_teacher(Path(task.teacher.folder)), load_vocabulary(Path(task.tokens))
    random_state = torch.get_rng_state()
    student = build_student(teacher, config)
    torch.set_rng_state(random_state)
    full = trim_embedding(student, in_use)
    _put_in(student, tensors)
    restore_embedding(student, in_use, full)
    student.config.id2label = dict(enumerate(label_names(task.label_names, teacher.config)))
    student.config.label2id = {name: i for i, name in student.config.id2label.items()}
    return WholeStudent(student.eval(), header["evaluation"], len(in_use))


def _put_in(student: PreTrainedModel, tensors: dict[str, Tensor]) -> None:
    """Gives a model all its parameters; CheckpointError where they are those of another model."""
    shapes = {name: parameter.shape for name, parameter in student.named_parameters()}
    if shapes != {name: tensor.shape for name, tensor in tensors.items()}:
        raise CheckpointError("of another model")
    student.load_state_dict(tensors, strict=False)  # buffers are not trained, nor in the file


def label_names(of_data: list[str], teacher: PreTrainedConfig) -> list[str]:
    """The data's names; the teacher's where the data has only numbers and the teacher has names."""
    of_teacher = [str(teacher.id2label[index]) for index in range(len(of_data))]
    named = not any(name.startswith(GENERIC_LABEL) for name in of_teacher)
    return of_teacher if named and all(name.isdecimal() for name in of_data) else of_data


def load_kept_tokenizer(task: Task, max_length: int) -> Any:
    """The tokenizer that the sentences were tokenised with, asked for truncation to cut as then."""
    tokenizer = AutoTokenizer.from_pretrained(Path(task.tokens) / "tokenizer")
    tokenizer.model_max_length = max_length
    return tokenizer
