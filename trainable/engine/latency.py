"""What models cost to run: timed side by side, as their users would run them."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import cycle
from pathlib import Path

import numpy as np
import torch
from transformers import PreTrainedModel

from trainable.config.training_inputs import TrainingInputs
from trainable.config.trial_config import TrialConfig
from trainable.data.batches import evaluation_batches
from trainable.data.examples import Batch, Examples
from trainable.data.tokens import TokenisedSplit, load_split
from trainable.engine.devices import synchronise
from trainable.models.loading import load_config
from trainable.models.students import new_model, student_config

MILLISECONDS = 1000.0
TIMED_EXAMPLES = {"cpu": 8, "cuda": 64}  # a batch; a long document takes a CPU about a second
TIMED_SECONDS = 4.0  # for all models together
ORDER_SEED = 0


def latencies(
    inputs: TrainingInputs, depths: Iterable[int], width: int | None = None
) -> dict[str, float]:
    """Milliseconds that a student takes for one example, by depth, on the device of the trials.

    Plain transformers in fp32, one validation example at a time, students in turns: what the user
    of an exported one gets. Weights are random, which the time does not depend on. `width` is the
    students', the teacher's where it is None.
    """
    teacher = load_config(inputs.teacher.folder)
    base = TrialConfig(initialisation="random", alpha=1.0, student_width=width)
    random_state = torch.get_rng_state()
    models = {
        str(n): new_model(student_config(teacher, replace(base, student_layers=n)))
        for n in sorted(depths)
    }
    torch.set_rng_state(random_state)
    split = load_split(Path(inputs.tokens), "evaluation")
    device = torch.device(inputs.device)
    speed = examples_per_second(models, split, inputs.pad_id, device, batch_size=1)
    return {depth: MILLISECONDS / found for depth, found in speed.items()}


def describe(found: Mapping[str, float]) -> str:
    """`One example takes 2.1 ms with 2 layers, 3.0 ms with 3 layers.`"""
    parts = [f"{milliseconds:.3g} ms with {depth} layers" for depth, milliseconds in found.items()]
    return f"One example takes {', '.join(parts)}."


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
    examples = Examples(split, pad_id, device)
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


def _batch(examples: Examples, rows: np.ndarray) -> Batch:
    return examples.batch(torch.as_tensor(rows, device=examples.device), examples.longest(rows))


def _forward_seconds(model: PreTrainedModel, batch: Batch) -> float:
    synchronise(model.device)
    start = time.perf_counter()
    model(input_ids=batch.input_ids, attention_mask=batch.attention_mask)
    synchronise(model.device)
    return time.perf_counter() - start
