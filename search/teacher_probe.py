"""Seconds that the teacher's fine-tuning and outputs will take, from a few of its steps."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from search.trial_probe import in_a_process
from trainable.batches import steps_per_epoch
from trainable.config import TeacherSettings
from trainable.environment import Environment
from trainable.executor import make_executor
from trainable.fine_tuning import TeacherState, fine_tune
from trainable.quiet import quiet_libraries
from trainable.stand_in import StandIn
from trainable.task import Task
from trainable.teacher import load_teacher
from trainable.teacher_outputs import LOGITS, OUTPUT_BATCH, write_outputs
from trainable.tokens import TokenisedSplit, load_split
from trainable.vocabulary import dense_split, load_vocabulary, trim_embedding

WARM_UP_BATCHES, LEAST_BATCHES, MOST_BATCHES = 2, 4, 64
TIMED_SECONDS = 3.0


def teacher_seconds(
    found: StandIn, settings: TeacherSettings, precision: str, scratch: Path
) -> tuple[float, float]:
    """Of fine-tuning and scoring the teacher, and of its outputs; 0 for what is in the cache.

    ProbeError where it can't be measured.
    """
    if not found.teacher_missing and not found.outputs_missing:
        return 0.0, 0.0
    task = found.task
    tunes = found.teacher_missing and task.teacher.fine_tuned_here
    kinds = found.outputs_missing or (LOGITS,)
    wanted = _Wanted(task, settings, precision, kinds, tunes, scratch)
    step, forward = in_a_process(_probe, wanted)
    scored = task.sentences["evaluation"] + task.sentences.get("whole", 0)
    tuning = settings.epochs * steps_per_epoch(task.sentences["train"], settings.batch_size) * step
    outputs = forward * task.sentences["train"] if found.outputs_missing else 0.0
    return tuning + (forward * scored if found.teacher_missing else 0.0), outputs


@dataclass(frozen=True)
class _Wanted:
    """What is to be measured; `tunes` says whether steps of fine-tuning are."""

    task: Task
    settings: TeacherSettings
    precision: str
    kinds: tuple[str, ...]
    tunes: bool
    scratch: Path

    @property
    def environment(self) -> Environment:
        """Where nothing is said."""
        device = torch.device(self.task.device)
        return Environment(self.scratch, device, self.precision, _say_nothing, self.task.execution)


def _say_nothing(line: str) -> None:
    """A probe is no news."""


def _probe(wanted: _Wanted) -> tuple[float, float]:
    """Seconds of a step, 0 where none is to be taken, and of a sentence forward; its process."""
    quiet_libraries()
    train = load_split(Path(wanted.task.tokens), "train")
    forward = _slope(_outputs(wanted, train), OUTPUT_BATCH)
    step = _slope(_tuning(wanted, train), 1) if wanted.tunes else 0.0
    return step, forward


def _slope(work: Callable[[int], float], unit: int) -> float:
    """Seconds for each unit more, given the seconds of so many batches of `unit`."""
    warm = work(WARM_UP_BATCHES)
    few = work(WARM_UP_BATCHES)
    more = int(
        np.clip(TIMED_SECONDS * WARM_UP_BATCHES / min(warm, few), LEAST_BATCHES, MOST_BATCHES)
    )
    many = work(WARM_UP_BATCHES + more)
    return max(many - few, 0.0) / more / unit


def _sample(split: TokenisedSplit, count: int) -> TokenisedSplit:
    """So many sentences of the split, drawn at random, again and again where there are fewer."""
    rows = np.random.default_rng(0).permutation(np.resize(np.arange(len(split)), max(count, 1)))
    lengths = split.lengths[rows]
    ids = [split.token_ids[split.offsets[row] : split.offsets[row + 1]] for row in rows]
    return TokenisedSplit(
        np.concatenate(ids), np.concatenate([[0], np.cumsum(lengths)]), split.labels[rows]
    )


def _tuning(wanted: _Wanted, train: TokenisedSplit) -> Callable[[int], float]:
    """Seconds of fine-tuning on so many batches."""
    task, settings, environment = wanted.task, wanted.settings, wanted.environment
    in_use = load_vocabulary(Path(task.tokens))
    model = load_teacher(Path(task.teacher.folder)).to(environment.device)
    trim_embedding(model, in_use)
    dense = dense_split(train, in_use)
    executor = make_executor(environment.execution.executor, environment.device)
    state = TeacherState(environment.cache / "probe.state", "probe")

    def work(batches: int) -> float:
        sample = _sample(dense, batches * settings.batch_size)
        once = replace(settings, epochs=1)
        begin = time.perf_counter()
        fine_tune(
            *(model, sample, task.pad_id, once),
            environment=environment,
            executor=executor,
            state=state,
        )
        return time.perf_counter() - begin

    return work


def _outputs(wanted: _Wanted, train: TokenisedSplit) -> Callable[[int], float]:
    """Seconds of the outputs on so many batches."""
    model = load_teacher(Path(wanted.task.teacher.folder))
    folders = {kind: wanted.scratch / f"probe-{kind}" for kind in wanted.kinds}

    def work(batches: int) -> float:
        sample = _sample(train, batches * OUTPUT_BATCH)
        begin = time.perf_counter()
        write_outputs(model, sample, wanted.task.pad_id, folders, wanted.environment)
        return time.perf_counter() - begin

    return work
