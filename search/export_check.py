"""An exported folder used as anyone would use it: scored by plain `transformers`, and timed."""

import time
from collections.abc import Mapping
from dataclasses import fields, replace
from itertools import cycle
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel

from search.request import Request
from trainable.batches import evaluation_batches
from trainable.data import LabelledTexts
from trainable.environment import synchronise
from trainable.errors import UserError
from trainable.inputs import load_inputs
from trainable.sentences import Batch, Sentences
from trainable.tokens import TokenisedSplit, load_split, tokenise
from trainable.training_inputs import TrainingInputs

BATCH = 64  # examples scored at a time
TIMED_EXAMPLES = {"cpu": 8, "cuda": 64}  # a batch; a long document takes a CPU about a second
TIMED_SECONDS = 4.0  # for all models together
ORDER_SEED = 0


@torch.no_grad()
def predictions(folder: Path, texts: list[str]) -> np.ndarray:
    """Labels that the folder's model and tokenizer give N texts, int64 [N]."""
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


def validation_texts(folder: Path, request: Request, inputs: TrainingInputs) -> LabelledTexts:
    """The validation examples, loaded again from where the sweep had them.

    UserError where they can't be loaded, or where the folder's tokenizer does not make of them what
    the students were scored on.
    """
    # The preset's own teacher may need a wheel; it is not looked at.
    texts = load_inputs(replace(request, teacher=inputs.teacher.folder)).dataset.evaluation
    length, tokenizer = request.sized_preset.max_length, AutoTokenizer.from_pretrained(folder)
    again = tokenise(tokenizer, texts.texts, texts.labels, length)
    scored = load_split(Path(inputs.tokens), "evaluation")
    parts = [part.name for part in fields(TokenisedSplit)]
    if not all(np.array_equal(getattr(again, part), getattr(scored, part)) for part in parts):
        raise UserError("the validation examples are no longer those of the sweep")
    return texts


@torch.inference_mode()
def examples_per_second(
    models: Mapping[str, PreTrainedModel],
    split: TokenisedSplit,
    pad_id: int,
    device: torch.device,
    batch_size: int | None = None,
) -> dict[str, float]:
    """Each model's speed on the same batches of similar length, in turns, fp32.

    A batch has `batch_size` examples, or as many as suit the device; they are the tokenizer's ids
    already. Leaves the models on the device.
    """
    examples = Sentences(split, pad_id, device)
    batches = evaluation_batches(split.lengths, batch_size or TIMED_EXAMPLES[device.type])
    np.random.default_rng(ORDER_SEED).shuffle(batches)
    seconds, count = dict.fromkeys(models, 0.0), 0
    for model in models.values():
        _forward_seconds(model.to(device).eval(), _batch(examples, batches[0]))  # warm-up
    for rows in cycle(batches):
        batch = _batch(examples, rows)
        for name, model in models.items():
            seconds[name] += _forward_seconds(model, batch)
        count += len(rows)
        if sum(seconds.values()) > TIMED_SECONDS:
            break
    return {name: count / seconds[name] for name in models}


def _batch(examples: Sentences, rows: np.ndarray) -> Batch:
    return examples.batch(torch.as_tensor(rows, device=examples.device), examples.longest(rows))


def _forward_seconds(model: PreTrainedModel, batch: Batch) -> float:
    synchronise(model.device)
    start = time.perf_counter()
    model(input_ids=batch.input_ids, attention_mask=batch.attention_mask)
    synchronise(model.device)
    return time.perf_counter() - start
