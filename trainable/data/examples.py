"""Examples that stay on the device, and padded batches of them, made there.

A batch is gathered by row numbers with operations of fixed shapes that look at no value, so that it
can be part of a captured step.
"""

from copy import copy
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from trainable.data.tokens import TokenisedSplit


def upload(array: np.ndarray, target: Tensor) -> None:
    """Writes an array, flat, to the front of a tensor that stays where it is, without waiting.

    To a GPU it travels from pinned memory, which torch frees only when the copy is made.
    """
    values = torch.from_numpy(np.ascontiguousarray(array)).view(-1)
    values = values.pin_memory() if target.is_cuda else values
    target[: len(values)].copy_(values, non_blocking=True)


@dataclass(frozen=True)
class Batch:
    """B examples padded on the right to T tokens, all on one device.

    rows [B] int64: the examples' positions in the split; input_ids and attention_mask [B, T] int64;
    labels [B] int64, fp32 for a regression; positions [B, T] int64: each token's index among the
    split's token ids, 0 for padding; token_types [B, T] int64: 1 for a token of a pair's second
    text, None where the split has no types. Losses are means with `weights` [B] and `token_weights`
    [B, T], fp32, which add up to 1 over a step and are 0 for examples that only fill it up. A part
    of a step's batch begins at its example `offset`.
    """

    rows: Tensor
    input_ids: Tensor
    attention_mask: Tensor
    labels: Tensor
    positions: Tensor
    weights: Tensor
    token_weights: Tensor
    offset: int = 0
    token_types: Tensor | None = None

    def parts(self, most: int | None) -> list["Batch"]:
        """The batch cut into pieces of at most `most` examples; losses of these add up to its."""
        count = len(self.rows)
        if most is None or count <= most:
            return [self]
        return [self._part(slice(start, start + most)) for start in range(0, count, most)]

    def _part(self, rows: slice) -> "Batch":
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        tensors = {n: v[rows] for n, v in values.items() if n != "offset" and v is not None}
        return Batch(offset=rows.start, **tensors)


class Examples:
    """A split on a device: token_ids [sum of lengths], starts and token_counts [N], int64, labels
    [N] and token_types as the split has them; `lengths` [N] are the token counts again, in host
    memory, where batches are planned."""

    def __init__(self, split: TokenisedSplit, pad_id: int, device: torch.device) -> None:
        arrays = (split.token_ids, split.offsets[:-1], split.lengths)
        self.token_ids, self.starts, self.token_counts = (
            torch.tensor(array, dtype=torch.int64, device=device) for array in arrays
        )
        self.labels, types = torch.tensor(split.labels, device=device), split.token_types
        self.token_types = None if types is None else torch.tensor(types, device=device)
        self.lengths, self.pad_id, self.device = split.lengths, pad_id, device

    def __len__(self) -> int:
        return len(self.lengths)

    def pick(self, rows: np.ndarray) -> "Examples":
        """The examples in these rows, in this order; the token ids are shared."""
        picked, on_device = copy(self), torch.from_numpy(rows).to(self.device)
        picked.starts, picked.token_counts = self.starts[on_device], self.token_counts[on_device]
        picked.labels, picked.lengths = self.labels[on_device], self.lengths[rows]
        return picked

    def longest(self, rows: np.ndarray) -> int:
        """Tokens of the longest of these examples."""
        return int(self.lengths[rows].max())

    def batch(self, rows: Tensor, width: int, count: Tensor | int | None = None) -> Batch:
        """The examples `rows` [B] (int64, on the device) padded to `width` tokens, which must hold
        the longest. Only the first `count` (all if None) have weight."""
        columns = torch.arange(width, device=self.device)
        mask = columns < self.token_counts[rows, None]
        positions = (self.starts[rows, None] + columns) * mask
        count = len(rows) if count is None else count
        counts = (torch.arange(len(rows), device=self.device) < count).float()
        token_counts, types = mask * counts[:, None], self.token_types
        return Batch(
            rows=rows,
            input_ids=self.token_ids[positions].masked_fill(~mask, self.pad_id),
            attention_mask=mask.long(),
            labels=self.labels[rows],
            positions=positions,
            weights=counts / count,
            token_weights=token_counts / token_counts.sum(),
            token_types=None if types is None else types[positions].long() * mask,
        )
