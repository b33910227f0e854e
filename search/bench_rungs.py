"""The ways of training that the bench compares, slowest first.

A rung is a function from a workload to a `Prepared` one, listed in RUNGS under its name.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import torch
from torch import Tensor

from search.bench_inputs import Workload
from search.live_teacher import LiveTeacherLoop
from trainable.batches import epoch_batches
from trainable.capture_watch import capture_problem
from trainable.environment import Environment
from trainable.executor import EagerExecutor, Executor, make_executor
from trainable.flash import FLASH_MODEL, flash_obstacle
from trainable.layers import mirrored_layers
from trainable.names import GRAPH, NO_LAYERS
from trainable.sentences import Sentences
from trainable.students import build_student
from trainable.teacher_outputs import (
    LOGITS,
    HiddenStates,
    TeacherOutputs,
    open_outputs,
    write_outputs,
)
from trainable.tokens import TokenisedSplit
from trainable.vocabulary import dense_split, trim_embedding
from trainable.workbench import Apparatus, assemble


class CannotRunHere(Exception):  # noqa: N818
    """A rung that this machine or this model has no use for; the message says why."""


@dataclass(frozen=True)
class Prepared:
    """A rung that is ready to be timed.

    `batches` are the sentences' rows of each step of an epoch; `step(i)` trains on the i-th of
    them; `loss()` waits for the mean loss of the steps since it was last asked.
    """

    batches: list[np.ndarray]
    step: Callable[[int], None]
    loss: Callable[[], float]


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
    losses: list[Tensor] = []

    def step(index: int) -> None:
        rows = batches[index]
        losses.append(loop.step([sentences[row] for row in rows], labels[rows]))

    def loss() -> float:
        mean = float(torch.stack(losses).mean())
        losses.clear()
        return mean

    return Prepared(batches, step, loss)


def cached(workload: Workload) -> Prepared:
    """The same batches with the teacher's outputs prepared, in the project's step as it is."""
    config, split = workload.config, workload.split
    batches = random_batches(len(split), config.batch_size, config.seed)
    return _prepared(workload, _apparatus(workload, split, EagerExecutor()), batches)


def lengths(workload: Workload) -> Prepared:
    """And batches of similar length, and the embedding cut to the tokens in use."""
    return _by_length(workload, EagerExecutor())


def graph(workload: Workload) -> Prepared:
    """And each step captured once for each width, then replayed."""
    return _captured(workload)


def flash(workload: Workload) -> Prepared:
    """And DeBERTa's attention in one kernel."""
    if workload.teacher.config.model_type != FLASH_MODEL:
        raise CannotRunHere(f"{workload.teacher.config.model_type} has no such kernel")
    obstacle = flash_obstacle(workload.teacher.config, workload.device)
    if obstacle:
        raise CannotRunHere(obstacle)
    return _captured(workload, flash_attention=True)


def compiled(workload: Workload) -> Prepared:
    """The captured step with the student's forward and backward fused by torch.compile."""
    return _captured(workload, compile_student=True)


def at_batch_size(batch_size: int) -> Callable[[Workload], Prepared]:
    """The fastest way that this machine has, with so many sentences a step."""

    def rung(workload: Workload) -> Prepared:
        larger = workload.at_batch_size(batch_size)
        try:
            return flash(larger)
        except CannotRunHere:
            return graph(larger)

    return rung


def _captured(
    workload: Workload, *, flash_attention: bool = False, compile_student: bool = False
) -> Prepared:
    if workload.device.type != "cuda":
        raise CannotRunHere("steps are captured on a CUDA GPU")
    problem = capture_problem(workload.teacher.config)
    if problem:
        raise CannotRunHere(f"its steps can't be captured: {problem}")
    executor = make_executor(GRAPH, workload.device)
    prepared = _by_length(
        workload, executor, flash_attention=flash_attention, compile_student=compile_student
    )
    _capture_all(prepared, workload, executor)
    if executor.problem:
        raise CannotRunHere(f"capturing failed: {executor.problem}")
    return prepared


def _capture_all(prepared: Prepared, workload: Workload, executor: Executor) -> None:
    """Takes two steps of each width, of which the first warms up and the second is captured."""
    lengths = workload.split.lengths
    of_width = {
        executor.width(int(lengths[rows].max())): index
        for index, rows in enumerate(prepared.batches)
    }
    for index in (*of_width.values(), *of_width.values()):
        prepared.step(index)


def _by_length(
    workload: Workload,
    executor: Executor,
    *,
    flash_attention: bool = False,
    compile_student: bool = False,
) -> Prepared:
    config, split = workload.config, dense_split(workload.split, workload.in_use)
    batches = epoch_batches(split.lengths, config.batch_size, config.seed, epoch=0)
    apparatus = _apparatus(workload, split, executor, trim=True, flash_attention=flash_attention)
    if compile_student:
        student: Any = torch.compile(apparatus.student, dynamic=False)
        apparatus.training.take_step.model = student
    return _prepared(workload, apparatus, batches)


def _prepared(workload: Workload, apparatus: Apparatus, batches: list[np.ndarray]) -> Prepared:
    """What `Trial.advance` does at each step, at a fixed alpha and learning rate."""
    config, training = workload.config, apparatus.training
    alpha = config.alpha
    assert alpha is not None, "the bench has no alpha schedule"

    def step(index: int) -> None:
        apparatus.distillation.alpha.fill_(alpha)
        training.step(batches[index], config.learning_rate)

    return Prepared(batches, step, lambda: training.means.take()["loss"])


def _apparatus(
    workload: Workload,
    split: TokenisedSplit,
    executor: Executor,
    *,
    trim: bool = False,
    flash_attention: bool = False,
) -> Apparatus:
    config, device = workload.config, workload.device
    student = build_student(workload.teacher, config)
    if trim:
        trim_embedding(student, workload.in_use)
    apparatus = assemble(
        config,
        student.to(device),
        workload.teacher.config,
        teacher_outputs(workload, split),
        sentences={"train": Sentences.on_device(split, workload.pad_id, device)},
        executor=executor,
        flash_attention=flash_attention,
    )
    apparatus.distillation.set_up(config)
    return apparatus


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
    layers = mirrored_layers(config.student_layers, workload.teacher.config.num_hidden_layers)
    hidden = None if pool is None else HiddenStates(folders[pool], pool, layers)
    return open_outputs(folders[LOGITS], hidden, split, config.batch_size, device)


RUNGS: dict[str, Callable[[Workload], Prepared]] = {
    "live": live,
    "cached": cached,
    "lengths": lengths,
    "graph": graph,
    "flash": flash,
    "compiled": compiled,
    "batch64": at_batch_size(64),
    "batch128": at_batch_size(128),
}
