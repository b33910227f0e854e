"""What models cost to run: timed side by side, as their users would run them."""

import time
from collections.abc import Mapping
from itertools import cycle
from pathlib import Path

import numpy as np
import torch
from transformers import PreTrainedModel

from trainable.config.training_inputs import TrainingInputs
from trainable.config.trial_config import TrialConfig
from trainable.data.batches import batches_by_length
from trainable.data.examples import Examples
from trainable.data.tokens import load_split
from trainable.engine.devices import synchronise
from trainable.models.loading import shape_of
from trainable.models.model_outputs import model_inputs
from trainable.models.students import new_model

TIMED_EXAMPLES = {"cpu": 8, "cuda": 64}  # a batch; a long document takes a CPU about a second
TIMED_SECONDS = 4.0  # for all models together


def latencies(inputs: TrainingInputs, shapes: Mapping[str, TrialConfig]) -> dict[str, float]:
    """Milliseconds that a student of each shape takes for one example, on the trials' device.

    Plain transformers in fp32, one validation example at a time, students in turns, as users of
    exported ones run them. Weights are random, which the time does not depend on.
    """
    random_state = torch.get_rng_state()
    models = {name: new_model(shape_of(config, inputs)) for name, config in shapes.items()}
    torch.set_rng_state(random_state)
    examples = {name: validation_examples(inputs.of(config)) for name, config in shapes.items()}
    speed = examples_per_second(models, examples, batch_size=1)
    return {name: 1000.0 / per_second for name, per_second in speed.items()}


def parameters(inputs: TrainingInputs, shapes: Mapping[str, TrialConfig]) -> dict[str, float]:
    """Millions of parameters that a student of each shape has, with its full vocabulary."""
    with torch.device("meta"):
        models = {name: new_model(shape_of(config, inputs)) for name, config in shapes.items()}
    return {name: model.num_parameters() / 1e6 for name, model in models.items()}


def describe(milliseconds: Mapping[str, float]) -> str:
    """`One example takes 2.1 ms with 2 layers, 3.0 ms with 3 layers.`"""
    parts = [
        f"{each:.3g} ms with {f'{name} layers' if name.isdecimal() else f'--student ({name})'}"
        for name, each in milliseconds.items()
    ]
    return f"One example takes {', '.join(parts)}."


def validation_examples(inputs: TrainingInputs, device: torch.device | None = None) -> Examples:
    """Those that each evaluation uses, under the tokenizer's ids, on the trials' device."""
    split = load_split(Path(inputs.tokens), "evaluation")
    return Examples(split, inputs.pad_id, device or torch.device(inputs.device))


@torch.inference_mode()
def examples_per_second(
    models: Mapping[str, PreTrainedModel],
    examples: Mapping[str, Examples],
    batch_size: int | None = None,
) -> dict[str, float]:
    """Each model's speed on the same batches of similar length, in turns, fp32.

    Each has the examples in its own tokens, on one device, where the models stay. A batch has
    `batch_size` of them, or as many as suit the device.
    """
    any_examples = next(iter(examples.values()))
    device = any_examples.device
    batches = batches_by_length(any_examples.lengths, batch_size or TIMED_EXAMPLES[device.type])
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
