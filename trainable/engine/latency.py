"""What models cost to run: timed side by side, as their users would run them."""

import time
from collections.abc import Mapping
from itertools import cycle
from pathlib import Path

import numpy as np
import torch
from transformers import PreTrainedModel

from trainable.config.training_inputs import TrainingInputs
from trainable.data.batches import batches_by_length
from trainable.data.examples import Examples
from trainable.data.tokens import load_split
from trainable.engine.devices import synchronise
from trainable.models.model_outputs import model_inputs

TIMED_EXAMPLES = {"cpu": 8, "cuda": 64}  # a batch; a long document takes a CPU about a second
TIMED_SECONDS = 4.0  # for all models together


def validation_examples(inputs: TrainingInputs, device: torch.device | None = None) -> Examples:
    """Those that each evaluation uses, under the tokenizer's ids, on the trials' device."""
    split = load_split(Path(inputs.tokens), "evaluation")
    return Examples(split, inputs.pad_id, device or torch.device(inputs.device))


@torch.inference_mode()
def examples_per_second(
    models: Mapping[str, PreTrainedModel], examples: Mapping[str, Examples]
) -> dict[str, float]:
    """Each model's speed on the same batches of similar length, in turns, fp32.

    Each has the examples in its own tokens, on one device, where the models stay.
    """
    any_examples = next(iter(examples.values()))
    device = any_examples.device
    batches = batches_by_length(any_examples.lengths, TIMED_EXAMPLES[device.type])
    np.random.default_rng(0).shuffle(batches)
    seconds, count = dict.fromkeys(models, 0.0), 0
    for name, model in models.items():
        _forward_seconds(model.to(device).eval(), examples[name], batches[0])  # warm-up
    for rows in cycle(batches):
        for name, model in models.items():
            seconds[name] += _forward_seconds(model, examples[name], rows)
        count += len(rows)
        if sum(seconds.values()) > TIMED_SECONDS:
            break
    return {name: count / seconds[name] for name in models}


def _forward_seconds(model: PreTrainedModel, examples: Examples, rows: np.ndarray) -> float:
    on_device = torch.as_tensor(rows, device=examples.device)
    batch = examples.batch(on_device, examples.longest(rows))
    synchronise(model.device)
    start = time.perf_counter()
    model(**model_inputs(model.config, batch))
    synchronise(model.device)
    return time.perf_counter() - start
