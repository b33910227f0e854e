"""Word embeddings cut to the tokens in use, and back.

Most rows of a large vocabulary never occur in a data set, yet the optimiser reads and writes all of
them at every step. A student is trained on the rows in use under new, dense token ids; the full
matrix comes back when it is saved.
"""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from trainable.data.tokens import TokenisedSplit

MOST_FIXED = 100  # ids that may stay, used or not


def padding_id(pad_id: int) -> int:
    """The id that batches are padded with: the tokenizer's, from which models may count positions,
    or 0 for one among its last, as ModernBERT's, which none counts from: it is masked."""
    return pad_id if pad_id <= MOST_FIXED else 0


def tokens_in_use(
    occurring: Iterable[np.ndarray], special_ids: Iterable[int], pad_id: int
) -> np.ndarray:
    """Ids that occur, special tokens, and all ids up to the padding token's, sorted, int64.

    The padding token's id stays as it is: RoBERTa and MPNet count positions from it.
    """
    low = np.arange(pad_id + 1)
    special = np.fromiter(special_ids, np.int64)
    return np.unique(np.concatenate([low, special, *(np.unique(ids) for ids in occurring)]))


def save_vocabulary(in_use: np.ndarray, folder: Path) -> None:
    """Writes the ids in use into an existing folder."""
    np.save(folder / "in_use.npy", in_use)


def load_vocabulary(folder: Path) -> np.ndarray:
    """The ids that `save_vocabulary` wrote."""
    return np.asarray(np.load(folder / "in_use.npy"))


def dense_split(split: TokenisedSplit, in_use: np.ndarray) -> TokenisedSplit:
    """The split with token ids as positions in `in_use`; ValueError for an id that is not in it."""
    positions = np.searchsorted(in_use, split.token_ids)
    if np.max(positions, initial=0) >= len(in_use) or np.any(in_use[positions] != split.token_ids):
        raise ValueError("a token id is outside the vocabulary in use")
    return replace(split, token_ids=positions.astype(np.int32))


def trim_embedding(model: PreTrainedModel, in_use: np.ndarray) -> Tensor:
    """Cuts the word embedding [V, E] to the rows `in_use`; returns the full matrix as it was."""
    full: Tensor = model.get_input_embeddings().weight.detach()
    _replace_embedding(model, full[torch.from_numpy(in_use)].clone())
    return full


def restore_embedding(model: PreTrainedModel, in_use: np.ndarray, full: Tensor) -> None:
    """Gives the model all V rows: trained ones where in use, those of `full` elsewhere."""
    _replace_embedding(model, full_embedding_of(model, in_use, full)[1])


def full_embedding_of(
    model: PreTrainedModel, in_use: np.ndarray, full: Tensor
) -> tuple[str, Tensor]:
    """The name of a trimmed model's word embedding, and all V rows of it: the model's own
    [len(in_use), E] where in use, the others those of `full`.

    Training the full matrix would leave these as they were, weight decay apart: a row that no
    example reads gets no gradient.
    """
    weight = model.get_input_embeddings().weight
    name = next(name for name, parameter in model.named_parameters() if parameter is weight)
    restored = full.clone()
    restored[torch.from_numpy(in_use)] = weight.detach().to(full)
    return name, restored


def _replace_embedding(model: PreTrainedModel, weight: Tensor) -> None:
    old = model.get_input_embeddings()
    assert isinstance(old, nn.Embedding), "every encoder here has a plain word embedding"
    row = old.padding_idx  # which is another token's in a trimmed one, if it is not among the first
    first = row is not None and row <= MOST_FIXED and row < len(weight)
    new = nn.Embedding.from_pretrained(  # type: ignore[no-untyped-call]
        weight, freeze=False, padding_idx=row if first else None
    )
    model.set_input_embeddings(new)
    model.config.vocab_size = len(weight)
