"""Tokenised examples without padding, in host memory and on disk."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class TokenisedSplit:
    """N labelled examples as one run of token ids.

    token_ids [sum of lengths] int32; offsets [N + 1] int64, example i being
    token_ids[offsets[i]:offsets[i + 1]]; labels [N] int64.
    """

    token_ids: np.ndarray
    offsets: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each example, [N]."""
        return np.diff(self.offsets)


def trained_on(splits: Mapping[str, TokenisedSplit]) -> TokenisedSplit:
    """What students train on: the split `train`, and behind it `transfer` if there is one."""
    train, transfer = splits["train"], splits.get("transfer")
    if transfer is None:
        return train
    return TokenisedSplit(
        token_ids=np.concatenate([train.token_ids, transfer.token_ids]),
        offsets=np.concatenate([train.offsets, train.offsets[-1] + transfer.offsets[1:]]),
        labels=np.concatenate([train.labels, transfer.labels]),
    )


def tokenise(
    tokenizer: Any, texts: list[str], labels: list[int], max_length: int
) -> TokenisedSplit:
    """Token ids with the model's special tokens, cut to `max_length` tokens."""
    encoded = tokenizer(
        texts, truncation=True, max_length=max_length, padding=False, return_attention_mask=False
    )["input_ids"]
    offsets = np.cumsum([0, *map(len, encoded)], dtype=np.int64)
    token_ids = np.fromiter((i for ids in encoded for i in ids), np.int32, count=offsets[-1])
    return TokenisedSplit(token_ids, offsets, np.asarray(labels, dtype=np.int64))


def save_split(split: TokenisedSplit, folder: Path, name: str) -> None:
    """Writes three arrays, `NAME_token_ids.npy` and so on, into an existing folder."""
    for part in fields(split):
        np.save(folder / f"{name}_{part.name}.npy", getattr(split, part.name))


def load_split(folder: Path, name: str) -> TokenisedSplit:
    """The split that `save_split` wrote."""
    parts = (part.name for part in fields(TokenisedSplit))
    return TokenisedSplit(*(np.load(folder / f"{name}_{part}.npy") for part in parts))
