"""The ways of training that the bench compares, slowest first.

A rung is a function from a workload to a `Prepared` one, listed in RUNGS under its name.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import torch
from torch import Tensor

from search.bench_inputs import Workload
from search.live_teacher import LiveTeacherLoop
from trainable.batches import epoch_batches
from trainable.distillation import Distillation
from trainable.engine import LossMeans, TrainingStep, make_optimiser
from trainable.environment import Environment
from trainable.names import NO_LAYERS
from trainable.student import build_student
from trainable.teacher_outputs import LOGITS, TeacherOutputs, open_outputs, write_outputs
from trainable.tokens import TokenisedSplit, padded_batch
from trainable.vocabulary import dense_split, trim_embedding


class CannotRunHere(Exception):  # noqa: N818
    """A rung that this machine or this model has no use for; the message says why."""


@dataclass(frozen=True)
class Prepared:
    """A rung that is ready to be timed.

    `batches` are the sentences' rows of each step of an epoch; `step(i)` trains on the i-th of them
    and returns its loss, still on the device.
    """

    batches: list[np.ndarray]
    step: Callable[[int], Tensor]


def random_batches(sentences: int, batch_size: int, seed: int) -> list[np.ndarray]:
    """A shuffled epoch cut into batches, whatever the lengths."""
    order = np.random.default_rng(seed).permutation(sentences)
    return [order[start : start + batch_size] for start in range(0, sentences, batch_size)]


def live(workload: Workload) -> Prepared:
    """The reference: random batches, full embedding, the teacher run beside the student."""
    config, split = workload.config, workload.split
    student = build_student(workload.teacher, config)
    teacher = copy.deepcopy(workload.teacher)
    loop = LiveTeacherLoop(teacher, student, config, workload.pad_id, workload.device)
    ids = torch.from_numpy(split.token_ids.astype(np.int64))
    sentences = torch.tensor_split(ids, split.offsets[1:-1].tolist())
    labels = torch.from_numpy(split.labels)
    batches = random_batches(len(split), config.batch_size, config.seed)

    def step(index: int) -> Tensor:
        rows = batches[index]
        return loop.step([sentences[row] for row in rows], labels[rows])

    return Prepared(batches, step)


def cached(workload: Workload) -> Prepared:
    """The same batches with the teacher's outputs prepared, in the project's eager step."""
    config, split = workload.config, workload.split
    batches = random_batches(len(split), config.batch_size, config.seed)
    return _eager(workload, split, batches, trim=False)


def lengths(workload: Workload) -> Prepared:
    """And batches of similar length, and the embedding cut to the tokens in use."""
    config, split = workload.config, dense_split(workload.split, workload.in_use)
    batches = epoch_batches(split.lengths, config.batch_size, config.seed, epoch=0)
    return _eager(workload, split, batches, trim=True)


def _eager(
    workload: Workload, split: TokenisedSplit, batches: list[np.ndarray], *, trim: bool
) -> Prepared:
    """What `Trial.advance` does at each step, at a fixed alpha and learning rate."""
    config, device = workload.config, workload.device
    assert config.alpha is not None, "the bench has no alpha schedule"
    alpha, means = config.alpha, LossMeans()
    student = build_student(workload.teacher, config)
    if trim:
        trim_embedding(student, workload.in_use)
    student.to(device).train()
    outputs = teacher_outputs(workload, split)
    distillation = Distillation.build(config, workload.teacher.config, outputs, device)
    take_step = TrainingStep(
        student,
        make_optimiser([student, distillation.projections], config.weight_decay),
        distillation.losses,
        config.gradient_clip,
    )

    def step(index: int) -> Tensor:
        distillation.alpha.fill_(alpha)
        batch = padded_batch(split, batches[index], workload.pad_id, device)
        losses = take_step(batch, config.learning_rate)
        means.add(losses)
        return losses["loss"]

    return Prepared(batches, step)


def unheard(line: str) -> None:
    """Says nothing: the set-up seconds tell it all."""


def teacher_outputs(workload: Workload, split: TokenisedSplit) -> TeacherOutputs:
    """Runs the teacher once over the workload's sentences; `split` is what a student trains on."""
    config, device = workload.config, workload.device
    pool = None if config.aligned_layers == NO_LAYERS else config.hidden_pool
    folder = Path(mkdtemp(dir=workload.folder))
    folders = {kind: folder / kind for kind in (LOGITS, pool) if kind is not None}
    environment = Environment(folder, device, config.precision, say=unheard)
    write_outputs(workload.teacher, workload.split, workload.pad_id, folders, environment)
    return open_outputs(folders[LOGITS], folders[pool] if pool else None, pool, split)


RUNGS: dict[str, Callable[[Workload], Prepared]] = {
    "live": live,
    "cached": cached,
    "lengths": lengths,
}
