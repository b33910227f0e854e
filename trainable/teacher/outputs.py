"""The teacher's outputs on every training example, computed once and shared by all trials."""

import math
import os
import shutil
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from trainable.common.digest import digest_values
from trainable.common.errors import UserError
from trainable.common.files import (
    MANIFEST,
    atomic_folder,
    nearest_existing,
    read_checked_json,
    verified_values,
    write_manifest,
)
from trainable.config.names import RELATIONS
from trainable.config.training_inputs import Kinds, Teacher
from trainable.data.batches import batches_by_length, padded_width
from trainable.data.examples import Batch, Examples, upload
from trainable.data.tokens import TokenisedSplit, trained_on
from trainable.engine.cuda_graph import make_executor
from trainable.engine.devices import Runtime
from trainable.engine.losses import unit
from trainable.engine.training_step import Feed
from trainable.models.flash_attention import fuse_attention
from trainable.models.model_outputs import pool_states, run_model
from trainable.models.relations import queries_keys_values
from trainable.teacher.teacher import TeacherData, load_teacher

LOGITS = "logits"  # beside the names of the hidden pools, and RELATIONS
OF_TOKENS = ("tokens", RELATIONS)  # kinds with a row for each token, not for each example
OUTPUT_BATCH = 64
ARRAY = "values.npy"
RESIDENT_SHARE = 0.1  # of a GPU's memory, at most, is for the hidden states that a trial reads
INSTEAD = {"tokens": "--set hidden_pool=cls", RELATIONS: "--set relation_weight=0"}


@dataclass
class TeacherOutputs:
    """A teacher's outputs on N examples, on the device: logits [N, C] fp32, and states of a kind (a
    hidden pool or RELATIONS) if one was asked for.

    states: unit vectors fp16, [N, L, H] for the pools `cls` and `mean`, [sum of lengths, L, H] for
    `tokens`; `layers` [S] chooses among the L that are kept. For RELATIONS the queries, keys and
    values of the last layer as they are, fp16 [sum of lengths, 3, H], all chosen.
    """

    logits: Tensor
    kind: str | None = None
    states: Tensor | None = None
    layers: Tensor | None = None

    def stage(self, rows: np.ndarray, width: int) -> None:
        """Call before a step on these rows, padded to `width` tokens."""

    def batch_hidden(self, batch: Batch) -> Tensor:
        """The S chosen ones: [B, S, H], or [B, T, S, H] for `tokens` and RELATIONS, undefined under
        the mask."""
        assert self.states is not None, "this trial asked for no hidden states"
        rows = batch.positions if self.kind in OF_TOKENS else batch.rows
        return self.states[rows[..., None], self.layers]


class StreamedOutputs(TeacherOutputs):
    """Hidden states too large for the device, memory-mapped and copied batch by batch."""

    def __init__(
        self,
        logits: Tensor,
        kind: str,
        states: np.ndarray,
        layers: np.ndarray,
        *,
        split: TokenisedSplit,
        batch_size: int,
    ) -> None:
        super().__init__(logits, kind)
        self._states, self._split = states, split
        self._layers = slice(None) if len(layers) == states.shape[1] else layers
        self._tokens = kind in OF_TOKENS
        width = padded_width(int(split.lengths.max())) if self._tokens else 1
        self._shape = (len(layers), states.shape[-1])
        size = batch_size * width * self._shape[0] * self._shape[1]
        self._target = torch.zeros(size, dtype=torch.float16, device=logits.device)
        self._copied = torch.cuda.Event() if logits.is_cuda else None  # type: ignore[no-untyped-call]

    def stage(self, rows: np.ndarray, width: int) -> None:
        """Copies the states of these examples, padded with zeros to `width` tokens."""
        chosen = self._read(rows, width)
        if self._copied is not None:
            self._copied.synchronize()  # or many would wait in pinned memory
        upload(chosen, self._target)
        if self._copied is not None:
            self._copied.record()

    def _read(self, rows: np.ndarray, width: int) -> np.ndarray:
        if not self._tokens:
            return np.asarray(self._states[rows][:, self._layers])
        chosen = np.zeros((len(rows), width, *self._shape), dtype=np.float16)
        for states, row in zip(chosen, rows, strict=True):
            start, end = self._split.offsets[row : row + 2]
            states[: end - start] = self._states[start:end, self._layers]
        return chosen

    def batch_hidden(self, batch: Batch) -> Tensor:
        """Of the rows that were staged last."""
        shape = (*batch.positions.shape[1:], *self._shape) if self._tokens else self._shape
        size, first = int(np.prod(shape)), batch.offset
        part = self._target[first * size : (first + len(batch.rows)) * size]
        return part.view(len(batch.rows), *shape)


def open_outputs(
    folders: Mapping[str, Path] | Mapping[str, str],
    kind: str | None,
    layers: tuple[int, ...],
    *,
    split: TokenisedSplit,
    batch_size: int,
    device: torch.device,
) -> TeacherOutputs:
    """Prepared outputs from their folders by kind: logits, and a hidden pool of the teacher's
    `layers` (from 1) or RELATIONS.

    On a CPU these states are memory-mapped; a GPU holds them if they are at most RESIDENT_SHARE of
    its memory, else they are streamed.
    """
    logits = torch.from_numpy(np.load(Path(folders[LOGITS]) / ARRAY)).to(device)
    if kind is None:
        return TeacherOutputs(logits)
    # Copy-on-write, since torch wants arrays that it may write to; nothing ever does.
    states = np.load(Path(folders[kind]) / ARRAY, mmap_mode="c")
    kept = kept_layers(Path(folders[kind])) or [*range(1, states.shape[1] + 1)]
    wanted = np.arange(3) if kind == RELATIONS else np.array([kept.index(n) for n in layers])
    if device.type == "cpu":
        return TeacherOutputs(logits, kind, torch.from_numpy(states), torch.from_numpy(wanted))
    size = states.nbytes // states.shape[1] * len(wanted)
    if size > RESIDENT_SHARE * torch.cuda.get_device_properties(device).total_memory:
        return StreamedOutputs(logits, kind, states, wanted, split=split, batch_size=batch_size)
    resident = torch.from_numpy(states[:, wanted]).to(device)
    return TeacherOutputs(logits, kind, resident, torch.arange(len(wanted), device=device))


def kept_layers(folder: Path) -> list[int]:
    """The teacher's layers, from 1, whose states a folder of outputs has; empty if it has all."""
    return list((read_checked_json(folder / MANIFEST) or {}).get("values", {}).get("layers", ()))


def prepare_outputs(
    teacher: Teacher, data: TeacherData, kinds: Kinds, runtime: Runtime
) -> dict[str, str]:
    """The folder of each kind; computes what the cache lacks. UserError if the disk has no room for
    that."""
    folders = {}
    for kind, layers in kinds.items():
        digests = {"teacher_digest": teacher.digest, "data_digest": data.digest}
        about = {"kind": kind, "layers": layers, "precision": runtime.precision, **digests}
        folders[kind] = runtime.cache / "outputs" / f"{kind}-{digest_values(about)[:16]}"
    missing = {kind: folder for kind, folder in folders.items() if verified_values(folder) is None}
    if missing:
        model, split = load_teacher(Path(teacher.folder)), trained_on(data.splits)
        check_room({kind: kinds[kind] for kind in missing}, model.config, split, runtime.cache)
        write_outputs(model, split, data.pad_id, missing, runtime, layers=kinds)
    return {kind: str(folder) for kind, folder in folders.items()}


def check_room(kinds: Kinds, config: Any, split: TokenisedSplit, cache: Path) -> None:
    """UserError if a teacher's outputs of these kinds on a split don't fit on the cache's disk."""
    size = outputs_bytes(kinds, config, split)
    free = shutil.disk_usage(nearest_existing(cache)).free
    if size > free:
        ways = [*(way for kind, way in INSTEAD.items() if kind in kinds), "another --cache"]
        raise UserError(
            f"--cache {cache}: {free / 1e9:.2f} GB are free, and the teacher's outputs "
            f"({', '.join(kinds)}) take {size / 1e9:.2f} GB; give {' or '.join(ways)}"
        )


def _new_array(path: Path, dtype: Any, shape: tuple[int, ...]) -> Any:
    """A memory map of a new file that has all of its bytes on the disk: writing to one that has
    not, and that a full disk can't give, would end the process. OSError where they can't be had."""
    array = np.lib.format.open_memmap(path, "w+", dtype, shape)
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return array


@torch.no_grad()
def write_outputs(
    teacher: PreTrainedModel,
    split: TokenisedSplit,
    pad_id: int,
    folders: dict[str, Path],
    runtime: Runtime,
    *,
    layers: Kinds | None = None,
) -> None:
    """Runs the teacher once over the split, in the tokenizer's own ids, and replaces each kind's
    folder; all layers are kept of those without `layers`."""
    start, kinds = time.perf_counter(), {kind: (layers or {}).get(kind, ()) for kind in folders}
    teacher.to(runtime.device).eval()
    if runtime.execution.flash_attention:
        fuse_attention(teacher, runtime.device)
    executor = make_executor(runtime.execution.executor, runtime.device)
    feed = Feed(Examples(split, pad_id, runtime.device), OUTPUT_BATCH, executor)
    read = partial(outputs_of, teacher, kinds, runtime.precision)
    with ExitStack() as stack:
        written = {kind: stack.enter_context(atomic_folder(to)) for kind, to in folders.items()}
        arrays = {
            kind: _new_array(folder / ARRAY, *layout(kind, kinds[kind], teacher.config, split))
            for kind, folder in written.items()
        }
        for rows in reversed(batches_by_length(split.lengths, OUTPUT_BATCH)):
            for kind, outputs in feed.run(rows, read).items():
                values = outputs[: len(rows)].cpu().numpy()
                if kind in OF_TOKENS:
                    for row, states in zip(rows, values, strict=True):
                        first, end = split.offsets[row : row + 2]
                        arrays[kind][first:end] = states[: end - first]
                else:
                    arrays[kind][rows] = values
        for kind, array in arrays.items():
            array.flush()
            values = {"kind": kind, "examples": len(split), "layers": kinds[kind]}
            write_manifest(written[kind], values, sampled=True)
    teacher.to("cpu")
    seconds = time.perf_counter() - start
    runtime.log(
        f"Teacher's outputs ({', '.join(folders)}) on {len(split):,} examples: {seconds:.0f} s"
        f"{executor.reduced and f', {executor.reduced}'}"
    )


def outputs_of(
    teacher: PreTrainedModel, kinds: Kinds, precision: str, parts: list[Batch]
) -> dict[str, Tensor]:
    """By kind, of the parts of a batch of B examples: logits [B, C] fp32; unit vectors fp16 [B, L,
    H], for `tokens` [B, T, L, H]; for RELATIONS queries, keys and values fp16 [B, T, 3, H]."""
    outputs: dict[str, list[Tensor]] = {kind: [] for kind in kinds}
    for part in parts:
        logits, states = run_model(teacher, part, precision, states=kinds.keys() != {LOGITS})
        for kind, layers in kinds.items():
            if kind == LOGITS:
                found = logits.float()
            elif kind == RELATIONS:
                found = queries_keys_values(teacher, states[-2], precision).half()
            else:
                kept = tuple(states[layer] for layer in layers) or states[1:]
                found = unit(pool_states(kept, part.attention_mask, kind)).half()
            outputs[kind].append(found)
    return {kind: torch.cat(each) for kind, each in outputs.items()}


def layout(
    kind: str, layers: tuple[int, ...], config: Any, split: TokenisedSplit
) -> tuple[np.dtype[Any], tuple[int, ...]]:
    """The type and shape of a kind's array for a split; see `outputs_of`."""
    if kind == LOGITS:
        return np.dtype(np.float32), (len(split), config.num_labels)
    rows = len(split.token_ids) if kind in OF_TOKENS else len(split)
    count = 3 if kind == RELATIONS else len(layers) or config.num_hidden_layers
    return np.dtype(np.float16), (rows, count, config.hidden_size)


def outputs_bytes(kinds: Kinds, config: Any, split: TokenisedSplit) -> int:
    """What these outputs take on disk."""
    layouts = [layout(kind, layers, config, split) for kind, layers in kinds.items()]
    return sum(dtype.itemsize * math.prod(shape) for dtype, shape in layouts)
