"""What the teacher says of every training sentence, computed once and shared by all trials."""

import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from trainable.batches import evaluation_batches
from trainable.digest import digest_values
from trainable.environment import Environment
from trainable.folders import seal, whole_folder
from trainable.losses import unit
from trainable.model_outputs import pool_states, run_model
from trainable.tokens import Batch, TokenisedSplit, padded_batch

LOGITS = "logits"  # beside the names of the hidden pools
OUTPUT_BATCH = 64
ARRAY = "values.npy"


@dataclass(frozen=True)
class TeacherOutputs:
    """Memory-mapped outputs on N sentences: logits [N, C] fp32, hidden states as unit vectors fp16.

    Hidden states are [N, L, H] for the pools `cls` and `mean`, and [sum of lengths, L, H] for
    `tokens`, L the teacher's layers without the embeddings; None where no pool was asked for.
    """

    logits: np.ndarray
    hidden: np.ndarray | None
    hidden_pool: str | None
    split: TokenisedSplit

    def batch_logits(self, batch: Batch) -> Tensor:
        """[B, C] on the batch's device."""
        return torch.from_numpy(self.logits[batch.rows]).to(batch.labels.device)

    def batch_hidden(self, batch: Batch, teacher_layers: np.ndarray) -> Tensor:
        """Unit vectors of the S given layers (from 1): [B, S, H], or [B, T, S, H] for `tokens`."""
        assert self.hidden is not None, "this trial asked for no hidden states"
        layers = teacher_layers - 1
        if self.hidden_pool != "tokens":
            chosen = self.hidden[batch.rows[:, None], layers]
        else:
            width = batch.attention_mask.shape[1]
            mask = np.arange(width) < self.split.lengths[batch.rows][:, None]  # [B, T]
            positions = self.split.offsets[batch.rows][:, None] + np.arange(width)
            shape = (*mask.shape, len(layers), self.hidden.shape[-1])
            chosen = np.zeros(shape, dtype=self.hidden.dtype)
            chosen[mask] = self.hidden[positions[mask][:, None], layers]
        return torch.from_numpy(chosen).to(batch.labels.device)


@dataclass(frozen=True)
class OutputsKey:
    """What a teacher's outputs depend on."""

    teacher_digest: str
    data_digest: str
    precision: str

    def folder(self, cache: Path, kind: str) -> Path:
        """Where one kind of output (LOGITS or a hidden pool) is kept."""
        key = digest_values({"kind": kind, **asdict(self)})
        return cache / "outputs" / f"{kind}-{key[:16]}"


def open_outputs(
    logits: Path, hidden: Path | None, hidden_pool: str | None, split: TokenisedSplit
) -> TeacherOutputs:
    """Maps prepared outputs into memory; nothing is read until a batch asks for it."""
    return TeacherOutputs(
        logits=np.load(logits / ARRAY, mmap_mode="r"),
        hidden=None if hidden is None else np.load(hidden / ARRAY, mmap_mode="r"),
        hidden_pool=hidden_pool,
        split=split,
    )


@torch.inference_mode()
def write_outputs(
    teacher: PreTrainedModel,
    split: TokenisedSplit,
    pad_id: int,
    folders: dict[str, Path],
    environment: Environment,
) -> None:
    """Runs the teacher once over the split and writes each kind's folder, whole or not at all.

    `folders` maps LOGITS and hidden pools to their places; what is there is replaced. Token ids are
    the tokenizer's own.
    """
    start = time.perf_counter()
    teacher.to(environment.device).eval()
    states_wanted = any(kind != LOGITS for kind in folders)
    with ExitStack() as stack:
        places = {kind: stack.enter_context(whole_folder(to)) for kind, to in folders.items()}
        arrays = {
            kind: _empty_array(place / ARRAY, kind, teacher.config, split)
            for kind, place in places.items()
        }
        for rows in evaluation_batches(split.lengths, OUTPUT_BATCH):
            batch = padded_batch(split, rows, pad_id, environment.device)
            logits, states = run_model(teacher, batch, environment.precision, states=states_wanted)
            for kind, array in arrays.items():
                if kind == LOGITS:
                    array[rows] = logits.float().cpu().numpy()
                else:
                    units = unit(pool_states(states, batch.attention_mask, kind))
                    _write_units(array, kind, units.half().cpu().numpy(), rows, split)
        for kind, array in arrays.items():
            array.flush()
            seal(places[kind], {"kind": kind, "sentences": len(split)})
    teacher.to("cpu")
    seconds = time.perf_counter() - start
    environment.say(
        f"teacher's outputs ({', '.join(folders)}) on {len(split):,} sentences: {seconds:.0f} s"
    )


def _empty_array(path: Path, kind: str, config: Any, split: TokenisedSplit) -> np.memmap:
    if kind == LOGITS:
        shape: tuple[int, ...] = (len(split), config.num_labels)
        return np.lib.format.open_memmap(path, "w+", np.float32, shape)
    rows = len(split.token_ids) if kind == "tokens" else len(split)
    shape = (rows, config.num_hidden_layers, config.hidden_size)
    return np.lib.format.open_memmap(path, "w+", np.float16, shape)


def _write_units(
    array: np.memmap, kind: str, units: np.ndarray, rows: np.ndarray, split: TokenisedSplit
) -> None:
    if kind != "tokens":
        array[rows] = units
        return
    for row, sentence in zip(rows, units, strict=True):
        start, end = split.offsets[row], split.offsets[row + 1]
        array[start:end] = sentence[: end - start]
