"""Served models timed side by side, from texts to logits."""

import time
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from trainable.data.tokens import Text
from trainable.serving.served_model import BATCH, ServedModel

SECONDS = 20.0  # for all models together, of each of the two measurements
FEWEST, MOST = 20, 300  # texts one at a time
TAIL = 95  # percentile
Name = TypeVar("Name", bound=Hashable)


@dataclass(frozen=True)
class Timing:
    """Milliseconds of one text at a time, and texts a second in batches of 32."""

    median: float
    tail: float  # 95th percentile
    per_second: float


def time_models(
    models: Mapping[Name, ServedModel], texts: Sequence[Text], *, batches: bool = True
) -> dict[Name, Timing]:
    """Each model on the same texts in turns, so that what else the machine does slows all alike;
    without `batches` one text at a time only, and `per_second` follows from that."""
    order = np.random.default_rng(0).permutation(len(texts))
    shuffled = [texts[row] for row in order]
    one = _turns(models, [[text] for text in shuffled[:MOST]])
    size = BATCH if batches else 1
    parts = [shuffled[start : start + size] for start in range(0, len(texts), size)]
    many = _turns(models, parts) if batches else one
    return {
        name: Timing(
            median=1000 * float(np.median(one[name])),
            tail=1000 * float(np.percentile(one[name], TAIL)),
            per_second=sum(map(len, parts[: len(many[name])])) / sum(many[name]),
        )
        for name in models
    }


def _turns(
    models: Mapping[Name, ServedModel], batches: Sequence[Sequence[Text]]
) -> dict[Name, list[float]]:
    """Seconds of each model for each batch, of as many batches as there is time for."""
    seconds: dict[Name, list[float]] = {name: [] for name in models}
    for model in models.values():
        model.logits(batches[0])  # warm-up
    started = time.perf_counter()
    for number, batch in enumerate(batches):
        if number >= FEWEST and time.perf_counter() - started > SECONDS:
            break
        for name, model in models.items():
            start = time.perf_counter()
            model.logits(batch)
            seconds[name].append(time.perf_counter() - start)
    return seconds
