"""The teacher: loaded, fine-tuned where it is not yet, kept in the cache by digest."""

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedModel

from trainable.config import TeacherSettings
from trainable.digest import digest_tensors, digest_values
from trainable.engine import Evaluator, accuracy
from trainable.environment import Environment
from trainable.errors import UserError, first_line
from trainable.executor import Executor, make_executor
from trainable.fine_tuning import fine_tune
from trainable.folders import seal, sealed_values, whole_folder
from trainable.hub import require_teacher
from trainable.metrics import pack_bits
from trainable.sentences import Sentences
from trainable.static_forward import make_static
from trainable.tokens import TokenisedSplit
from trainable.training_inputs import Teacher
from trainable.training_state import safetensors_as_os_errors
from trainable.vocabulary import dense_split, restore_embedding, trim_embedding


def load_base(source: str, label_names: list[str], seed: int) -> tuple[PreTrainedModel, bool]:
    """The model of a hub id or folder in fp32, and whether it is a fine-tuned classifier.

    A new classification head is drawn from `seed`. Raises UserError where the model can't be had,
    or is fine-tuned for other labels.
    """
    try:
        found = AutoConfig.from_pretrained(source)
        fitted = any("ForSequenceClassification" in a for a in found.architectures or [])
        head: dict[str, Any] = {}
        if fitted:
            _check_labels(source, list(found.id2label.values()), label_names)
        else:
            head["num_labels"] = len(label_names)
            head["id2label"] = dict(enumerate(label_names))
            head["label2id"] = {name: index for index, name in enumerate(label_names)}
        torch.manual_seed(seed)
        model = AutoModelForSequenceClassification.from_pretrained(
            source, dtype=torch.float32, **head
        )
    except UserError:
        raise
    except Exception as error:  # damaged files raise whatever the library that reads them does
        raise _unusable(source, error) from error
    assert isinstance(model, PreTrainedModel)
    return model, fitted


def teacher_layers(source: str) -> int:
    """How many the model of a hub id or folder has; UserError where it can't be had."""
    require_teacher(source)
    try:
        return int(AutoConfig.from_pretrained(source).num_hidden_layers)
    except Exception as error:
        raise _unusable(source, error) from error


def _unusable(source: str, error: Exception) -> UserError:
    return UserError(f"--teacher {source}: no usable model; {first_line(error)}")


def _check_labels(source: str, its: list[str], ours: list[str]) -> None:
    """Refuses a head for another number of labels, or for the same names in another order."""
    if len(its) != len(ours):
        raise UserError(
            f"--teacher {source}: its head has {len(its)} labels, the dataset {len(ours)}; "
            "give a teacher for these labels or an encoder without a head"
        )
    its, ours = [name.casefold() for name in its], [name.casefold() for name in ours]
    if its != ours and sorted(its) == sorted(ours):
        raise UserError(
            f"--teacher {source}: its labels are {', '.join(its)}, the dataset's "
            f"{', '.join(ours)}; number the dataset's labels in the teacher's order"
        )


def digest_model(model: PreTrainedModel) -> str:
    """Of a model's weights and configuration, less what says only where it came from."""
    ignored = {"_name_or_path", "transformers_version", "architectures", "dtype", "torch_dtype"}
    config = {k: v for k, v in model.config.to_dict().items() if k not in ignored}
    return digest_values({"config": config, "weights": digest_tensors(model.state_dict())})


@dataclass(frozen=True)
class TeacherData:
    """What a teacher is fine-tuned and scored on; token ids are the tokenizer's own."""

    train: TokenisedSplit
    evaluation: TokenisedSplit
    in_use: np.ndarray
    pad_id: int
    digest: str
    whole: TokenisedSplit | None = None  # the whole evaluation split, where there is a larger one


def teacher_place(
    model: PreTrainedModel,
    fitted: bool,
    data: TeacherData,
    settings: TeacherSettings,
    environment: Environment,
) -> tuple[str, Path]:
    """The digest of all that decides a teacher, and where in the cache it is kept."""
    key = digest_values(
        {
            "base": digest_model(model),
            "data": data.digest,
            "settings": None if fitted else asdict(settings),
            "precision": environment.precision,
        }
    )
    return key, environment.cache / "teachers" / key[:16]


def prepare_teacher(
    model: PreTrainedModel,
    fitted: bool,
    data: TeacherData,
    settings: TeacherSettings,
    environment: Environment,
) -> Teacher:
    """The fine-tuned teacher, from the cache where the same one was made before."""
    key, folder = teacher_place(model, fitted, data, settings, environment)
    kept = sealed_values(folder)
    if kept is not None:
        return Teacher(folder=str(folder), **kept)
    start, state = time.perf_counter(), folder.with_suffix(".state")
    make_static(model)
    model.to(environment.device)
    full_embedding = trim_embedding(model, data.in_use)
    executor = make_executor(environment.execution.executor, environment.device)
    if not fitted:
        train = dense_split(data.train, data.in_use)
        fine_tune(
            *(model, train, data.pad_id, settings),
            environment=environment,
            executor=executor,
            state=state,
            key=key,
        )
    scores = _score(model, data, environment, executor)
    restore_embedding(model, data.in_use, full_embedding)
    model.to("cpu")
    values: dict[str, Any] = {
        "digest": digest_model(model),
        "fine_tuned_here": not fitted,
        **scores,
        "seconds": round(time.perf_counter() - start, 1),
    }
    with whole_folder(folder) as temporary, safetensors_as_os_errors(folder):
        model.save_pretrained(temporary)
        seal(temporary, values)
    state.unlink(missing_ok=True)
    return Teacher(folder=str(folder), **values)


def _score(
    model: PreTrainedModel, data: TeacherData, environment: Environment, executor: Executor
) -> dict[str, Any]:
    """A teacher's accuracy and answers, as the fields of Teacher; on a whole split, too."""

    def correct(split: TokenisedSplit) -> np.ndarray:
        dense = dense_split(split, data.in_use)
        sentences = Sentences(dense, data.pad_id, environment.device)
        return Evaluator(model, sentences, environment.precision, executor).correct()

    bits = correct(data.evaluation)
    _warn_of_guessing(bits, data.evaluation.labels, environment)
    scores: dict[str, Any] = {"accuracy": accuracy(bits), "correct": pack_bits(bits)}
    if data.whole is not None:
        bits = correct(data.whole)
        scores |= {"whole_accuracy": accuracy(bits), "whole_correct": pack_bits(bits)}
    return scores


def _warn_of_guessing(correct: np.ndarray, labels: np.ndarray, environment: Environment) -> None:
    majority = float(np.bincount(labels).max() / len(labels))
    if accuracy(correct) <= majority:
        environment.say(
            f"warning: the teacher's accuracy of {accuracy(correct):.4f} is no better than always "
            f"giving the most frequent label ({majority:.4f})"
        )


def load_teacher(folder: Path) -> PreTrainedModel:
    """A prepared teacher in fp32, in evaluation mode, on the CPU."""
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32)
    assert isinstance(model, PreTrainedModel)
    make_static(model)
    return model.eval()
