"""Models timed side by side, in turns: served ones, from texts to logits, or any other."""

import time
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from trainable.data.tokens import Text
from trainable.serving.served_model import BATCH, ServedModel

SECONDS = 20.0  # for all served models together, of each of the two measurements
FEWEST, MOST = 20, 300  # texts one at a time
TAIL = 95  # percentile
Name = TypeVar("Name", bound=Hashable)
Batch = TypeVar("Batch")


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
    calls = {name: model.logits for name, model in models.items()}
    one = in_turns(calls, [[text] for text in shuffled[:MOST]], SECONDS, FEWEST)
    size = BATCH if batches else 1
    parts = [shuffled[start : start + size] for start in range(0, len(texts), size)]
    many = in_turns(calls, parts, SECONDS, FEWEST) if batches else one
    return {
        name: Timing(
            median=1000 * float(np.median(one[name])),
            tail=1000 * float(np.percentile(one[name], TAIL)),
            per_second=sum(map(len, parts[: len(many[name])])) / sum(many[name]),
        )
        for name in models
    }


def in_turns(
    calls: Mapping[Name, Callable[[Batch], object]],
    batches: Iterable[Batch],
    seconds: float,
    fewest: int = 1,
) -> dict[Name, list[float]]:
    """What each call takes for each batch, until the batches end or, after the `fewest`, all have
    taken `seconds` together. The first batch goes through each once more, untimed, as a warm-up."""
    taken: dict[Name, list[float]] = {name: [] for name in calls}
    started = time.perf_counter()
    for number, batch in enumerate(batches):
        if number == 0:
            for call in calls.values():
                call(batch)
            started = time.perf_counter()
        elif number >= fewest and time.perf_counter() - started > seconds:
            break
        for name, call in calls.items():
            start = time.perf_counter()
            call(batch)
            taken[name].append(time.perf_counter() - start)
    return taken
