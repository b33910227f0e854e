"""The teacher: loaded, fine-tuned where it is not yet, kept in the cache by digest."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock, Timeout
from transformers import PreTrainedConfig, PreTrainedModel

from trainable.common.digest import digest_tensors, digest_values
from trainable.common.errors import UserError, as_user_error
from trainable.common.files import atomic_folder, verified_values, write_manifest
from trainable.common.hub import require_model
from trainable.config.metrics import ACCURACY, METRIC_LABELS
from trainable.config.training_inputs import Teacher
from trainable.config.trial_config import TeacherSettings
from trainable.data.examples import Examples
from trainable.data.tokens import TokenisedSplit
from trainable.data.vocabulary import dense_split, restore_embedding, trim_embedding
from trainable.engine.cuda_graph import make_executor
from trainable.engine.devices import Runtime
from trainable.engine.metrics import pack_predictions, score, unpack_predictions
from trainable.engine.training_state import safetensors_as_os_errors
from trainable.engine.training_step import Evaluator
from trainable.models.flash_attention import fuse_attention
from trainable.models.loading import check_encoder, load_checked, load_classifier, load_config
from trainable.models.model_outputs import output_layer
from trainable.models.static_forward import make_static
from trainable.teacher.fine_tuning import fine_tune

FORMAT = 3  # of how a teacher is fine-tuned, so that another version's is made again
OTHER_SCALE = 2.0  # times the labels' variance, as a mean squared error
SCORED = {"evaluation": "", "full": "full_"}  # splits, and how their scores' names begin


def load_base(
    flag: str, source: str, label_names: list[str], seed: int
) -> tuple[PreTrainedModel, bool, list[str]]:
    """The model of a hub id or folder in fp32, whether it is a fine-tuned classifier, and the names
    of weights that it did not have, which are drawn from `seed`. A classifier for the same labels
    in another order has them in this order.

    UserError, which names `flag`, if the model can't be had, or is fine-tuned for other labels.
    """
    with as_user_error(f"{flag} {source}: no usable model; "):
        config = load_config(source)
        fitted = any("ForSequenceClassification" in a for a in config.architectures or [])
        order: list[int] = []
        head: dict[str, Any] = {"num_labels": 1, "problem_type": "regression"}
        if label_names:
            numbers = {name: index for index, name in enumerate(label_names)}
            head = {"id2label": dict(enumerate(label_names)), "label2id": numbers}
        if fitted:
            its = [config.id2label[number] for number in sorted(config.id2label)]
            order = _label_order(f"{flag} {source}", its, label_names)
            head = head if order else {}
        torch.manual_seed(seed)
        model, missing = load_checked(flag, source, fitted=fitted, **head)
        for parameter in output_layer(model)[1].parameters() if order else ():
            parameter.data = parameter.data[order]
        check_encoder(model)
    return model, fitted, missing


def most_tokens(model: PreTrainedModel) -> int:
    """How long its examples may be, 0 if it does not say; RoBERTa counts positions from its padding
    token's."""
    layers = (m for name, m in model.named_modules() if name.endswith("position_embeddings"))
    padding = getattr(next(layers, None), "padding_idx", None)
    most = getattr(model.config, "max_position_embeddings", None) or 0
    return max(0, most - (0 if padding is None else padding + 1))


def config_of(flag: str, source: str) -> PreTrainedConfig:
    """The configuration of a hub id or folder; UserError, which names `flag`, if it can't be
    had."""
    require_model(flag, source)
    with as_user_error(f"{flag} {source}: no usable model; "):
        return load_config(source)


def student_settings(student: str | None, teacher: str) -> dict[str, Any]:
    """Depth and width of trials that start from `--student`, the width None if it is the teacher's;
    empty if none is given. UserError if it can't be had."""
    if student is None:
        return {}
    own, width = config_of("--student", student), config_of("--teacher", teacher).hidden_size
    own_width = None if own.hidden_size == width else own.hidden_size
    return {"student_layers": own.num_hidden_layers, "student_width": own_width}


def _label_order(given: str, its: list[str], ours: list[str]) -> list[int]:
    """Where a classifier has each of our labels, if it has the same names in another order; else
    empty. UserError for another number of labels; of a regression, which has no names, there is
    one output."""
    if len(its) != (len(ours) or 1):
        dataset = f"the dataset {len(ours)}" if ours else "and the dataset is a regression"
        raise UserError(
            f"{given}: its head has {len(its)} labels, {dataset}; "
            "give a model for these labels or an encoder without a head"
        )
    its, ours = [name.casefold() for name in its], [name.casefold() for name in ours]
    if its == ours or sorted(its) != sorted(ours):
        return []
    return [its.index(name) for name in ours]


def labels_by_place(source: str, ours: list[str]) -> str:
    """Which label of a classifier is taken for which of ours, if it has other names; else empty."""
    its = [name for _, name in sorted(load_config(source).id2label.items())]
    names = [[name.casefold().removeprefix("label_") for name in own] for own in (its, ours)]
    if not ours or sorted(names[0]) == sorted(names[1]):
        return ""
    pairs = ", ".join(f"{its} as {own}" for its, own in zip(its, ours, strict=True))
    return f"--teacher {source}: other label names than yours, so taken by place: {pairs}."


def digest_model(model: PreTrainedModel) -> str:
    """Of a model's weights and configuration, but for what says only where it came from."""
    ignored = {"_name_or_path", "transformers_version", "architectures", "dtype", "torch_dtype"}
    config = {k: v for k, v in model.config.to_dict().items() if k not in ignored}
    return digest_values({"config": config, "weights": digest_tensors(model.state_dict())})


@dataclass(frozen=True)
class TeacherData:
    """What a teacher is fine-tuned and scored on, by split; token ids are the tokenizer's own."""

    folder: Path
    splits: dict[str, TokenisedSplit]  # `train`, `evaluation`, and `full` where there is one
    in_use: np.ndarray
    pad_id: int
    digest: str

    def on_device(self, name: str, device: torch.device) -> Examples:
        """A split under the ids of the tokens in use."""
        return Examples(dense_split(self.splits[name], self.in_use), self.pad_id, device)


def prepare_teacher(
    model: PreTrainedModel,
    settings: TeacherSettings | None,
    data: TeacherData,
    runtime: Runtime,
    metric: str = ACCURACY,
    *,
    before: Callable[[], None] = lambda: None,
) -> Teacher:
    """The teacher, from the cache if it was made before; fine-tuned as `settings` say, if they are
    given, until it gets worse by the metric. `before` is called first if it is yet to be made."""
    key = digest_values(
        {
            "format": FORMAT,
            "base": digest_model(model),
            "data": data.digest,
            "settings": settings and asdict(settings),
            "precision": runtime.precision,
            "metric": metric,
        }
    )
    folder = runtime.cache / "teachers" / key[:16]
    if (values := verified_values(folder)) is not None:
        return Teacher(folder=str(folder), **values)
    before()
    with _locked(folder, runtime.log):
        if (values := verified_values(folder)) is None:
            state = folder.with_suffix(".state")
            values = _make_teacher(model, settings, data, runtime, state=state, metric=metric)
            with atomic_folder(folder) as temporary, safetensors_as_os_errors(folder):
                model.save_pretrained(temporary)
                write_manifest(temporary, values)
            state.unlink(missing_ok=True)
    return Teacher(folder=str(folder), **values)


@contextmanager
def _locked(folder: Path, log: Callable[[str], None]) -> Iterator[None]:
    """Keeps other processes from making the same teacher, which would replace one in use."""
    lock = FileLock(f"{folder}.lock")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        log("Another run is making the same teacher; waiting for it ...")
        lock.acquire()
    except (OSError, NotImplementedError):
        pass  # a file system without locks
    try:
        yield
    finally:
        lock.release()


def _make_teacher(
    model: PreTrainedModel,
    settings: TeacherSettings | None,
    data: TeacherData,
    runtime: Runtime,
    *,
    state: Path,
    metric: str,
) -> dict[str, Any]:
    """Fine-tunes and scores the model in place; the fields of its Teacher."""
    start, device = time.perf_counter(), runtime.device
    make_static(model.to(device))
    if runtime.execution.flash_attention:
        fuse_attention(model, device)
    full_embedding = trim_embedding(model, data.in_use)
    executor = make_executor(runtime.execution.executor, device)
    if settings is not None:
        train = data.on_device("train", device)
        how: dict[str, Any] = {"executor": executor, "state": state, "metric": metric}
        fine_tune(model, train, settings, runtime=runtime, **how)
    scores: dict[str, Any] = {}
    for name, prefix in SCORED.items():
        if name in data.splits:
            examples = data.on_device(name, device)
            evaluator = Evaluator(model, examples, runtime.precision, executor)
            predictions = evaluator.predictions()
            classes = 0 if predictions.dtype.kind == "f" else model.config.num_labels
            scores[f"{prefix}score"] = score(metric, predictions, evaluator.labels)
            scores[f"{prefix}predictions"] = pack_predictions(predictions, classes)
    restore_embedding(model, data.in_use, full_embedding)
    return {
        "digest": digest_model(model.to("cpu")),
        "fine_tuned_here": settings is not None,
        **scores,
        "seconds": round(time.perf_counter() - start, 1),
    }


def refuse_weak_teacher(teacher: Teacher, labels: np.ndarray, metric: str = ACCURACY) -> None:
    """UserError if its score is no better on the validation labels [N] than that of the most
    frequent one; of a regression, no better than that of a constant, 0, or on another scale."""
    values, counts = np.unique(labels, return_counts=True)
    constant = score(metric, np.full_like(labels, values[np.argmax(counts)]), labels)
    if teacher.score <= constant:
        what = "the most frequent label" if labels.dtype.kind != "f" else "the same number"
        named = labels.dtype.kind != "f" and not teacher.fine_tuned_here
        order = "its labels may be in another order than yours; " if named else ""
        raise UserError(
            f"--teacher: {METRIC_LABELS[metric]} {teacher.score:.4f} is no better than always "
            f"predicting {what} ({constant:.4f}); {order}give a better teacher or more training "
            "data, or --allow-weak-teacher"
        )
    if labels.dtype.kind == "f" and not teacher.fine_tuned_here:
        outputs = unpack_predictions(teacher.predictions, len(labels), 0)
        if np.mean((outputs - labels) ** 2) > OTHER_SCALE * labels.var():
            raise UserError(
                f"--teacher: its outputs, {outputs.min():.3g} to {outputs.max():.3g}, are on "
                f"another scale than the labels, {labels.min():.3g} to {labels.max():.3g}; give "
                "labels on its scale, or a model without a head, or --allow-weak-teacher"
            )


def load_teacher(folder: Path) -> PreTrainedModel:
    """A prepared teacher in fp32, in evaluation mode, on the CPU."""
    model = load_classifier(folder)
    make_static(model)
    return model.eval()
