"""An exported folder used as anyone would use it: scored by plain `transformers`, and timed."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import torch
from trainable.task import Task
from trainable.whole_student import load_kept_tokenizer
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel

from search.request import Request
from trainable.batches import evaluation_batches
from trainable.data import LabelledTexts
from trainable.environment import synchronise
from trainable.errors import UserError
from trainable.inputs import load_inputs
from trainable.metrics import unpack_bits
from trainable.tokens import TokenisedSplit, load_split, tokenise

BATCH = 64  # sentences scored at a time
TIMED_SENTENCES = {"cpu": 8, "cuda": 64}  # a batch; long documents take a CPU a second each
TIMED_SECONDS = 4.0  # for all models together
ORDER_SEED = 0


@dataclass(frozen=True)
class Check:
    """What plain transformers made of the folder, on the CPU in fp32; accuracy is a share."""

    accuracy: float
    sentences: int
    differing: int  # sentences that were right in the trial's evaluation and wrong now, or reverse


def check_folder(folder: Path, texts: LabelledTexts, evaluation: Mapping[str, Any]) -> Check:
    """Classifies raw sentences and compares with the bits that the trial's evaluation kept."""
    correct = answers(folder, texts.texts) == np.asarray(texts.labels)
    recorded = unpack_bits(evaluation["correct"], len(texts))
    return Check(float(correct.mean()), len(texts), int((correct != recorded).sum()))


@torch.no_grad()
def answers(folder: Path, texts: list[str]) -> np.ndarray:
    """Labels that the folder's model and tokenizer give N raw sentences, int64 [N]."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
    found = np.empty(len(texts), dtype=np.int64)
    for rows in evaluation_batches(np.array([len(text) for text in texts]), BATCH):
        batch = tokenizer(
            [texts[row] for row in rows],
            truncation=True,  # at the length that the tokenizer was saved with
            padding=True,
            return_tensors="pt",
        )
        found[rows] = model(**batch).logits.argmax(dim=-1).numpy()
    return found


def evaluation_texts(request: Request, task: Task) -> LabelledTexts:
    """The sweep's evaluation sentences, loaded again from where it had them.

    Raises UserError where they can't be loaded or are not the ones that its students were scored
    on.
    """
    texts = load_inputs(
        request.sized_preset,
        teacher=task.teacher.folder,  # not looked at; the preset's may need a wheel
        dataset=request.dataset,
        cache=Path(request.cache),
    ).dataset.evaluation
    max_length = request.sized_preset.max_length
    again = tokenise(load_kept_tokenizer(task, max_length), texts.texts, texts.labels, max_length)
    kept = load_split(Path(task.tokens), "evaluation")
    if not _same(again, kept):
        raise UserError("the evaluation sentences are no longer those of the sweep")
    return texts


def _same(one: TokenisedSplit, other: TokenisedSplit) -> bool:
    return all(
        np.array_equal(getattr(one, part), getattr(other, part))
        for part in ("token_ids", "offsets", "labels")
    )


@torch.inference_mode()
def sentences_per_second(
    models: Mapping[str, PreTrainedModel],
    split: TokenisedSplit,
    pad_id: int,
    device: torch.device,
    at_once: int | None = None,
) -> dict[str, float]:
    """Each model's speed on the same batches of similar length, in turns, fp32.

    A batch has `at_once` sentences, or as many as suit the device; they are the tokenizer's ids
    already. Leaves the models on the device.
    """
    generator = np.random.default_rng(ORDER_SEED)
    batches = evaluation_batches(split.lengths, at_once or TIMED_SENTENCES[device.type])
    batches = [batches[index] for index in generator.permutation(len(batches))]
    seconds, count = dict.fromkeys(models, 0.0), 0
    for model in models.values():
        _forward_seconds(model.to(device).eval(), _padded(split, batches[0], pad_id, device))
    for rows in cycle(batches):
        batch = _padded(split, rows, pad_id, device)
        for name, model in models.items():
            seconds[name] += _forward_seconds(model, batch)
        count += len(rows)
        if sum(seconds.values()) > TIMED_SECONDS:
            break
    return {name: count / seconds[name] for name in models}


def _forward_seconds(model: PreTrainedModel, batch: dict[str, torch.Tensor]) -> float:
    synchronise(model.device)
    start = time.perf_counter()
    model(**batch)
    synchronise(model.device)
    return time.perf_counter() - start


def _padded(
    split: TokenisedSplit, rows: np.ndarray, pad_id: int, device: torch.device
) -> dict[str, torch.Tensor]:
    """These sentences as a model takes them, padded to the longest."""
    lengths = split.lengths[rows]
    places = np.arange(lengths.max())
    mask = places < lengths[:, None]
    ids = split.token_ids[(split.offsets[rows, None] + places) * mask]
    return {
        "input_ids": torch.from_numpy(np.where(mask, ids, pad_id)).long().to(device),
        "attention_mask": torch.from_numpy(mask).long().to(device),
    }
