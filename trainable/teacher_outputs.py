"""What the teacher says of every training sentence, computed once and shared by all trials."""

import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from trainable.batches import evaluation_batches, padded_width
from trainable.digest import digest_values
from trainable.environment import Environment
from trainable.executor import make_executor
from trainable.folders import seal, whole_folder
from trainable.losses import unit
from trainable.model_outputs import pool_states, run_model
from trainable.sentences import Batch, Sentences
from trainable.tokens import TokenisedSplit
from trainable.uploads import Upload

LOGITS = "logits"  # beside the names of the hidden pools
OUTPUT_BATCH = 64
ARRAY = "values.npy"
RESIDENT_SHARE = 0.1  # of a GPU's memory, at most, is for the hidden states that a trial reads
UPLOAD_ROWS = 8192  # at a time


@dataclass(frozen=True)
class HiddenStates:
    """Which hidden states of the teacher are wanted: where they are kept, pool, layers from 1."""

    folder: Path
    pool: str
    layers: tuple[int, ...]

    @property
    def indices(self) -> np.ndarray:
        """The layers [S] as they are counted in the file, from 0."""
        return np.array(self.layers) - 1


class ResidentHidden:
    """Hidden states that lie where the batches are made.

    states: unit vectors fp16, [N, L, H] for the pools `cls` and `mean`, [sum of lengths, L, H] for
    `tokens`; `layers` [S] chooses among the L.
    """

    def __init__(self, states: Tensor, layers: Tensor, hidden_pool: str) -> None:
        self._states, self._layers, self._hidden_pool = states, layers, hidden_pool

    def stage(self, rows: np.ndarray, width: int) -> None:
        """Nothing to do: all of it is there."""

    def of_batch(self, batch: Batch) -> Tensor:
        """See TeacherOutputs.batch_hidden."""
        places = batch.positions if self._hidden_pool == "tokens" else batch.rows
        chosen: Tensor = self._states[places[..., None], self._layers]
        return chosen


class StreamedHidden:
    """Hidden states that are too large for the device, memory-mapped and brought batch by batch."""

    def __init__(
        self,
        states: np.ndarray,
        wanted: HiddenStates,
        split: TokenisedSplit,
        batch_size: int,
        device: torch.device,
    ) -> None:
        self._states, self._layers, self._split = states, wanted.indices, split
        self._tokens = wanted.pool == "tokens"
        width = padded_width(int(split.lengths.max())) if self._tokens else 1
        self._shape = (len(wanted.layers), states.shape[-1])
        size = batch_size * width * self._shape[0] * self._shape[1]
        self._upload = Upload(size, torch.float16, device, slots=2)

    def stage(self, rows: np.ndarray, width: int) -> None:
        """Brings the states of these sentences, padded with zeros to `width` tokens."""
        if not self._tokens:
            self._upload.write(self._states[rows[:, None], self._layers])
            return
        mask = np.arange(width) < self._split.lengths[rows][:, None]  # [B, T]
        positions = self._split.offsets[rows][:, None] + np.arange(width)
        chosen = np.zeros((*mask.shape, *self._shape), dtype=np.float16)
        chosen[mask] = self._states[positions[mask][:, None], self._layers]
        self._upload.write(chosen)

    def of_batch(self, batch: Batch) -> Tensor:
        """See TeacherOutputs.batch_hidden; the batch is of the rows that were staged last."""
        shape = (*batch.positions.shape[1:], *self._shape) if self._tokens else self._shape
        size, first = int(np.prod(shape)), batch.offset
        part = self._upload.target[first * size : (first + len(batch.rows)) * size]
        return part.view(len(batch.rows), *shape)


@dataclass(frozen=True)
class TeacherOutputs:
    """A teacher's outputs on N sentences: logits [N, C] fp32 on the device, and hidden states.

    `hidden` is None where no pool was asked for.
    """

    logits: Tensor
    hidden: ResidentHidden | StreamedHidden | None
    hidden_pool: str | None

    def stage(self, rows: np.ndarray, width: int) -> None:
        """Call before a step on these rows, padded to so many tokens."""
        if self.hidden is not None:
            self.hidden.stage(rows, width)

    def batch_logits(self, batch: Batch) -> Tensor:
        """[B, C] on the batch's device."""
        return self.logits[batch.rows]

    def batch_hidden(self, batch: Batch) -> Tensor:
        """Unit vectors of the S chosen layers: [B, S, H], or [B, T, S, H] for `tokens`.

        What stands under the mask is of no meaning.
        """
        assert self.hidden is not None, "this trial asked for no hidden states"
        return self.hidden.of_batch(batch)


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
    logits: Path,
    hidden: HiddenStates | None,
    split: TokenisedSplit,
    batch_size: int,
    device: torch.device,
) -> TeacherOutputs:
    """Prepared outputs, as near to the device as they fit.

    On a CPU they are memory-mapped; a GPU takes them where they are at most RESIDENT_SHARE of its
    memory, else they are brought to it batch by batch.
    """
    return TeacherOutputs(
        logits=torch.from_numpy(np.load(logits / ARRAY)).to(device),
        hidden=None if hidden is None else _open_hidden(hidden, split, batch_size, device),
        hidden_pool=None if hidden is None else hidden.pool,
    )


def _open_hidden(
    hidden: HiddenStates, split: TokenisedSplit, batch_size: int, device: torch.device
) -> ResidentHidden | StreamedHidden:
    # Copy-on-write, since torch wants arrays that it may write to; nothing ever does.
    states = np.load(hidden.folder / ARRAY, mmap_mode="c")
    layers = hidden.indices
    if device.type == "cpu":
        return ResidentHidden(torch.from_numpy(states), torch.from_numpy(layers), hidden.pool)
    size = states.nbytes // states.shape[1] * len(layers)
    if size > RESIDENT_SHARE * torch.cuda.get_device_properties(device).total_memory:
        return StreamedHidden(states, hidden, split, batch_size, device)
    chosen = torch.empty((len(states), len(layers), states.shape[2]), dtype=torch.float16)
    for start in range(0, len(states), UPLOAD_ROWS):
        rows = slice(start, start + UPLOAD_ROWS)
        chosen[rows] = torch.from_numpy(states[rows][:, layers])
    every = torch.arange(len(layers), device=device)
    return ResidentHidden(chosen.to(device), every, hidden.pool)


@torch.no_grad()
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
    sentences = Sentences.on_device(split, pad_id, environment.device)
    reader = OutputReader(teacher, sentences, tuple(folders), environment)
    with ExitStack() as stack:
        places = {kind: stack.enter_context(whole_folder(to)) for kind, to in folders.items()}
        arrays = {
            kind: empty_array(place / ARRAY, kind, teacher.config, split)
            for kind, place in places.items()
        }
        for rows in evaluation_batches(split.lengths, OUTPUT_BATCH):
            for kind, values in reader.read(rows).items():
                if kind == "tokens":
                    _write_tokens(arrays[kind], values, rows, split)
                else:
                    arrays[kind][rows] = values
        for kind, array in arrays.items():
            array.flush()
            seal(places[kind], {"kind": kind, "sentences": len(split)})
    teacher.to("cpu")
    seconds = time.perf_counter() - start
    environment.say(
        f"teacher's outputs ({', '.join(folders)}) on {len(split):,} sentences: {seconds:.0f} s"
    )


class OutputReader:
    """The outputs of a teacher on batches of sentences, in host memory."""

    def __init__(
        self,
        teacher: PreTrainedModel,
        sentences: Sentences,
        kinds: tuple[str, ...],
        environment: Environment,
    ) -> None:
        self._teacher, self._sentences, self._kinds = teacher, sentences, kinds
        self._precision = environment.precision
        self._executor = make_executor(environment.execution.executor, environment.device)
        self._rows = Upload(OUTPUT_BATCH, torch.int64, environment.device)

    def read(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """By kind: logits [B, C] fp32; unit vectors fp16 [B, L, H], for `tokens` [B, T, L, H]."""
        count = self._executor.rows(len(rows), OUTPUT_BATCH)
        width = self._executor.width(self._sentences.longest(rows))
        self._rows.write(np.resize(rows, count))
        found = self._executor.run((count, width), partial(self._body, count, width))
        return {kind: values[: len(rows)].cpu().numpy() for kind, values in found.items()}

    def _body(self, count: int, width: int) -> dict[str, Tensor]:
        batch = self._sentences.batch(self._rows.target[:count], width)
        wanted = any(kind != LOGITS for kind in self._kinds)
        logits, states = run_model(self._teacher, batch, self._precision, states=wanted)
        return {
            kind: logits.float()
            if kind == LOGITS
            else unit(pool_states(states, batch.attention_mask, kind)).half()
            for kind in self._kinds
        }


def empty_array(path: Path, kind: str, config: Any, split: TokenisedSplit) -> np.memmap:
    """A file of zeros in the shape of this kind's outputs on a split; see OutputReader.read."""
    if kind == LOGITS:
        shape: tuple[int, ...] = (len(split), config.num_labels)
        return np.lib.format.open_memmap(path, "w+", np.float32, shape)
    rows = len(split.token_ids) if kind == "tokens" else len(split)
    shape = (rows, config.num_hidden_layers, config.hidden_size)
    return np.lib.format.open_memmap(path, "w+", np.float16, shape)


def _write_tokens(
    array: np.memmap, units: np.ndarray, rows: np.ndarray, split: TokenisedSplit
) -> None:
    for row, sentence in zip(rows, units, strict=True):
        start, end = split.offsets[row], split.offsets[row + 1]
        array[start:end] = sentence[: end - start]
