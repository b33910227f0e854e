"""What trials share, for a look at what they cost: as it is in the cache, else in its likeness.

Where the teacher is not fine-tuned yet, its base stands for it; outputs that are not there yet are
zeros in files without content. Both take the time and memory that the real ones do.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from transformers import AutoConfig

from trainable.environment import Environment
from trainable.folders import sealed_values
from trainable.prepare import Preparation, prepare_tokens, tokens_folder
from trainable.task import Task
from trainable.teacher import Teacher, teacher_place
from trainable.teacher_outputs import ARRAY, LOGITS, OutputsKey, empty_array
from trainable.tokens import TokenisedSplit, load_split


@dataclass(frozen=True)
class StandIn:
    """A task that trials can be started on, and what a sweep would have to make for it."""

    task: Task
    teacher_missing: bool
    outputs_missing: tuple[str, ...]  # LOGITS and hidden pools
    bytes_missing: int  # on disk, of both


def stand_in_task(preparation: Preparation, pools: set[str], environment: Environment) -> StandIn:
    """The task that `prepare_task` would give, made without training; writes into the cache.

    Give it a cache of its own.
    """
    inputs, cache = preparation.inputs, environment.cache
    data = prepare_tokens(preparation, cache)
    _, place = teacher_place(
        preparation.base, preparation.fitted, data, inputs.teacher_settings, environment
    )
    kept = sealed_values(place)
    teacher = _likeness(preparation, place) if kept is None else Teacher(str(place), **kept)
    key = OutputsKey(teacher.digest, data.digest, environment.precision)
    folders = {kind: key.folder(cache, kind) for kind in (LOGITS, *sorted(pools))}
    missing = tuple(kind for kind, folder in folders.items() if sealed_values(folder) is None)
    config, train = preparation.base.config, data.train
    sizes = [_write_likeness(folders[kind], kind, config, train) for kind in missing]
    if kept is None:
        sizes.append(sum(p.numel() * p.element_size() for p in preparation.base.parameters()))
    task = Task(
        tokens=str(tokens_folder(cache, data.digest)),
        pad_id=data.pad_id,
        label_names=inputs.dataset.label_names,
        teacher=teacher,
        outputs={kind: str(folder) for kind, folder in folders.items()},
        data_digest=data.digest,
        device=environment.device.type,
        execution=environment.execution,
        sentences={name: len(split) for name, split in inputs.dataset.splits.items()},
    )
    return StandIn(task, kept is None, missing, sum(sizes))


def with_likenesses(task: Task, kinds: Sequence[str], folder: Path) -> StandIn:
    """The task with outputs of these kinds in this folder, as its own teacher would make them."""
    teacher = AutoConfig.from_pretrained(task.teacher.folder)
    train = load_split(Path(task.tokens), "train")
    places = {kind: folder / kind for kind in kinds}
    size = sum(_write_likeness(place, kind, teacher, train) for kind, place in places.items())
    outputs = {**task.outputs, **{kind: str(place) for kind, place in places.items()}}
    return StandIn(replace(task, outputs=outputs), False, tuple(kinds), size)


def _likeness(preparation: Preparation, place: Path) -> Teacher:
    """The base as it is, in the teacher's place."""
    preparation.base.save_pretrained(place)
    return Teacher(
        folder=str(place),
        digest="stand-in",
        fine_tuned_here=not preparation.fitted,
        accuracy=0.0,
        correct="",
        seconds=0.0,
    )


def _write_likeness(folder: Path, kind: str, teacher: Any, train: TokenisedSplit) -> int:
    """An array of the real one's shape that takes no room on disk; returns the real one's bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    array: np.memmap = empty_array(folder / ARRAY, kind, teacher, train)
    return array.nbytes
