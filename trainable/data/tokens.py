"""Tokenised examples without padding, in host memory and on disk."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

Text = str | tuple[str, str]  # two texts are a pair
# The usual names of their columns; a pair wins over a single text.
TEXT_COLUMNS = (
    *(("sentence1", "sentence2"), ("premise", "hypothesis"), ("question", "sentence")),
    *(("question1", "question2"), ("text", "text_pair"), ("sentence",), ("text",), ("review",)),
)


def parts_of(text: Text) -> tuple[str, ...]:
    """The one or two texts of an example."""
    return (text,) if isinstance(text, str) else text


def named_columns(given: str, names: Collection[str]) -> tuple[str, ...]:
    """What `A` or `A,B` stands for; a column whose own name has a comma is one."""
    return (given,) if given in names else (*re.split(r"\s*,\s*", given),)


@dataclass(frozen=True)
class TokenisedSplit:
    """N labelled examples as one run of token ids.

    token_ids [sum of lengths] int32; offsets [N + 1] int64, example i being
    token_ids[offsets[i]:offsets[i + 1]]; labels [N] int64, float32 for a regression. token_types
    [sum of lengths] int8 say which of a pair's texts a token is of, 0 or 1; None for single texts,
    and for a tokenizer that does not say.
    """

    token_ids: np.ndarray
    offsets: np.ndarray
    labels: np.ndarray
    token_types: np.ndarray | None = None

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
    types = [s.token_types for s in (train, transfer) if s.token_types is not None]
    return TokenisedSplit(
        token_ids=np.concatenate([train.token_ids, transfer.token_ids]),
        offsets=np.concatenate([train.offsets, train.offsets[-1] + transfer.offsets[1:]]),
        labels=np.concatenate([train.labels, transfer.labels]),
        token_types=np.concatenate(types) if types else None,
    )


def tokenise(
    tokenizer: Any, texts: list[Text], labels: list[int] | list[float], max_length: int
) -> TokenisedSplit:
    """Token ids with the model's special tokens, cut to `max_length` tokens; of a pair the longer
    text is cut."""
    columns = [list(column) for column in zip(*map(parts_of, texts), strict=True)]
    encoded = tokenizer(
        *columns, truncation=True, max_length=max_length, padding=False, return_attention_mask=False
    )
    ids, types = encoded["input_ids"], encoded.get("token_type_ids") if len(columns) == 2 else None
    kind = np.float32 if labels and isinstance(labels[0], float) else np.int64
    return TokenisedSplit(
        np.fromiter(chain.from_iterable(ids), np.int32),
        np.cumsum([0, *map(len, ids)], dtype=np.int64),
        np.asarray(labels, dtype=kind),
        None if types is None else np.fromiter(chain.from_iterable(types), np.int8),
    )


def save_split(split: TokenisedSplit, folder: Path, name: str) -> None:
    """Writes its arrays, `NAME_token_ids.npy` and so on, into an existing folder."""
    for part in fields(split):
        if (array := getattr(split, part.name)) is not None:
            np.save(folder / f"{name}_{part.name}.npy", array)


def load_split(folder: Path, name: str) -> TokenisedSplit:
    """The split that `save_split` wrote."""
    names = [part.name for part in fields(TokenisedSplit)]
    files = {part: folder / f"{name}_{part}.npy" for part in names}
    return TokenisedSplit(**{part: np.load(file) for part, file in files.items() if file.exists()})
