"""The teacher's outputs on every training example, computed once and shared by all trials."""

import time
from collections.abc import Iterable, Mapping
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
from trainable.common.files import atomic_folder, verified_values, write_manifest
from trainable.config.training_inputs import Teacher
from trainable.data.batches import evaluation_batches, padded_width
from trainable.data.examples import Batch, Examples, upload
from trainable.data.tokens import TokenisedSplit
from trainable.engine.cuda_graph import make_executor
from trainable.engine.devices import Runtime
from trainable.engine.losses import unit
from trainable.engine.training_step import Feed
from trainable.models.model_outputs import pool_states, run_model
from trainable.teacher.teacher import TeacherData, load_teacher

LOGITS = "logits"  # beside the names of the hidden pools
OUTPUT_BATCH = 64
ARRAY = "values.npy"
RESIDENT_SHARE = 0.1  # of a GPU's memory, at most, is for the hidden states that a trial reads


@dataclass
class TeacherOutputs:
    """A teacher's outputs on N examples, where the batches are made: logits [N, C] fp32, and hidden
    states where a pool was asked for.

    states: unit vectors fp16, [N, L, H] for the pools `cls` and `mean`, [sum of lengths, L, H] for
    `tokens`; `layers` [S] chooses among the L.
    """

    logits: Tensor
    hidden_pool: str | None = None
    states: Tensor | None = None
    layers: Tensor | None = None

    def stage(self, rows: np.ndarray, width: int) -> None:
        """Call before a step on these rows, padded to so many tokens."""

    def batch_hidden(self, batch: Batch) -> Tensor:
        """Unit vectors of the S chosen layers: [B, S, H], or [B, T, S, H] for `tokens`.

        What stands under the mask is of no meaning.
        """
        assert self.states is not None, "this trial asked for no hidden states"
        places = batch.positions if self.hidden_pool == "tokens" else batch.rows
        return self.states[places[..., None], self.layers]


class StreamedOutputs(TeacherOutputs):
    """Hidden states that are too large for the device, memory-mapped and brought batch by batch."""

    def __init__(
        self,
        logits: Tensor,
        hidden_pool: str,
        states: np.ndarray,
        layers: np.ndarray,
        *,
        split: TokenisedSplit,
        batch_size: int,
    ) -> None:
        super().__init__(logits, hidden_pool)
        self._states, self._layers, self._split = states, layers, split
        self._tokens = hidden_pool == "tokens"
        width = padded_width(int(split.lengths.max())) if self._tokens else 1
        self._shape = (len(layers), states.shape[-1])
        size = batch_size * width * self._shape[0] * self._shape[1]
        self._target = torch.zeros(size, dtype=torch.float16, device=logits.device)
        self._copied = torch.cuda.Event() if logits.is_cuda else None  # type: ignore[no-untyped-call]

    def stage(self, rows: np.ndarray, width: int) -> None:
        """Brings the states of these examples, padded with zeros to `width` tokens."""
        chosen = self._read(rows, width)
        if self._copied is None:
            upload(chosen, self._target)
            return
        self._copied.synchronize()  # or many would wait in pinned memory
        upload(chosen, self._target)
        self._copied.record()

    def _read(self, rows: np.ndarray, width: int) -> np.ndarray:
        if not self._tokens:
            return np.asarray(self._states[rows[:, None], self._layers])
        mask = np.arange(width) < self._split.lengths[rows][:, None]  # [B, T]
        positions = self._split.offsets[rows][:, None] + np.arange(width)
        chosen = np.zeros((*mask.shape, *self._shape), dtype=np.float16)
        chosen[mask] = self._states[positions[mask][:, None], self._layers]
        return chosen

    def batch_hidden(self, batch: Batch) -> Tensor:
        """Of the rows that were staged last."""
        shape = (*batch.positions.shape[1:], *self._shape) if self._tokens else self._shape
        size, first = int(np.prod(shape)), batch.offset
        part = self._target[first * size : (first + len(batch.rows)) * size]
        return part.view(len(batch.rows), *shape)


def open_outputs(
    folders: Mapping[str, Path] | Mapping[str, str],
    hidden_pool: str | None,
    layers: tuple[int, ...],
    *,
    split: TokenisedSplit,
    batch_size: int,
    device: torch.device,
) -> TeacherOutputs:
    """Prepared outputs from their folders by kind, as near to the device as they fit.

    The hidden states are those of the teacher's `layers` (from 1), where a pool is asked for. On a
    CPU they are memory-mapped; a GPU takes them where they are at most RESIDENT_SHARE of its
    memory, else they are brought to it batch by batch.
    """
    logits = torch.from_numpy(np.load(Path(folders[LOGITS]) / ARRAY)).to(device)
    if hidden_pool is None:
        return TeacherOutputs(logits)
    # Copy-on-write, since torch wants arrays that it may write to; nothing ever does.
    states = np.load(Path(folders[hidden_pool]) / ARRAY, mmap_mode="c")
    wanted = np.array(layers) - 1
    if device.type == "cpu":
        every, chosen = torch.from_numpy(states), torch.from_numpy(wanted)
        return TeacherOutputs(logits, hidden_pool, every, chosen)
    size = states.nbytes // states.shape[1] * len(wanted)
    if size > RESIDENT_SHARE * torch.cuda.get_device_properties(device).total_memory:
        return StreamedOutputs(
            logits, hidden_pool, states, wanted, split=split, batch_size=batch_size
        )
    resident = torch.from_numpy(states[:, wanted]).to(device)
    return TeacherOutputs(logits, hidden_pool, resident, torch.arange(len(wanted), device=device))


def prepare_outputs(
    teacher: Teacher, data: TeacherData, kinds: Iterable[str], runtime: Runtime
) -> dict[str, str]:
    """The folder of each kind (LOGITS or a hidden pool) on the training split; what the cache lacks
    is computed."""
    digests = {"teacher_digest": teacher.digest, "data_digest": data.digest}
    key = {**digests, "precision": runtime.precision}
    names = {kind: f"{kind}-{digest_values({'kind': kind, **key})[:16]}" for kind in kinds}
    folders = {kind: runtime.cache / "outputs" / name for kind, name in names.items()}
    missing = {kind: folder for kind, folder in folders.items() if verified_values(folder) is None}
    if missing:
        model = load_teacher(Path(teacher.folder))
        write_outputs(model, data.splits["train"], data.pad_id, missing, runtime)
    return {kind: str(folder) for kind, folder in folders.items()}


@torch.no_grad()
def write_outputs(
    teacher: PreTrainedModel,
    split: TokenisedSplit,
    pad_id: int,
    folders: dict[str, Path],
    runtime: Runtime,
) -> None:
    """Runs the teacher once over the split and writes each kind's folder, whole or not at all.

    `folders` maps LOGITS and hidden pools to their places; what is there is replaced. Token ids are
    the tokenizer's own.
    """
    start = time.perf_counter()
    teacher.to(runtime.device).eval()
    feed = Feed(
        Examples(split, pad_id, runtime.device),
        OUTPUT_BATCH,
        make_executor(runtime.execution.executor, runtime.device),
    )
    read = partial(outputs_of, teacher, tuple(folders), runtime.precision)
    with ExitStack() as stack:
        places = {kind: stack.enter_context(atomic_folder(to)) for kind, to in folders.items()}
        arrays = {
            kind: empty_array(place / ARRAY, kind, teacher.config, split)
            for kind, place in places.items()
        }
        for rows in evaluation_batches(split.lengths, OUTPUT_BATCH):
            for kind, found in feed.run(rows, read).items():
                values = found[: len(rows)].cpu().numpy()
                if kind == "tokens":
                    _write_tokens(arrays[kind], values, rows, split)
                else:
                    arrays[kind][rows] = values
        for kind, array in arrays.items():
            array.flush()
            write_manifest(places[kind], {"kind": kind, "examples": len(split)})
    teacher.to("cpu")
    seconds = time.perf_counter() - start
    runtime.log(
        f"Teacher's outputs ({', '.join(folders)}) on {len(split):,} examples: {seconds:.0f} s"
    )


def outputs_of(
    teacher: PreTrainedModel, kinds: Iterable[str], precision: str, batch: Batch
) -> dict[str, Tensor]:
    """By kind: logits [B, C] fp32; unit vectors fp16 [B, L, H], for `tokens` [B, T, L, H]."""
    wanted = any(kind != LOGITS for kind in kinds)
    logits, states = run_model(teacher, batch, precision, states=wanted)
    return {
        kind: logits.float()
        if kind == LOGITS
        else unit(pool_states(states, batch.attention_mask, kind)).half()
        for kind in kinds
    }


def empty_array(path: Path, kind: str, config: Any, split: TokenisedSplit) -> np.memmap:
    """A file of zeros in the shape of this kind's outputs on a split; see `outputs_of`."""
    if kind == LOGITS:
        shape: tuple[int, ...] = (len(split), config.num_labels)
        return np.lib.format.open_memmap(path, "w+", np.float32, shape)
    rows = len(split.token_ids) if kind == "tokens" else len(split)
    shape = (rows, config.num_hidden_layers, config.hidden_size)
    return np.lib.format.open_memmap(path, "w+", np.float16, shape)


def _write_tokens(
    array: np.memmap, units: np.ndarray, rows: np.ndarray, split: TokenisedSplit
) -> None:
    for row, states in zip(rows, units, strict=True):
        start, end = split.offsets[row], split.offsets[row + 1]
        array[start:end] = states[: end - start]
