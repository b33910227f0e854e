"""Tokens in use: which rows are kept, and that ids stay what models count on."""

import numpy as np
import pytest

from tests.conftest import tiny_classifier
from trainable.data.tokens import TokenisedSplit
from trainable.data.vocabulary import dense_split, tokens_in_use, trim_embedding


def dense(ids, in_use):
    split = TokenisedSplit(np.array(ids), np.array([0, len(ids)]), np.array([0]))
    return dense_split(split, np.array(in_use)).token_ids.tolist()


def test_occurring_special_and_up_to_the_padding_token():
    found = tokens_in_use([np.array([9, 4]), np.array([4, 30])], special_ids=[2, 50], pad_id=1)
    assert found.tolist() == [0, 1, 2, 4, 9, 30, 50]
    assert dense([30, 4, 4, 1], found) == [5, 3, 3, 1]  # the padding id stays


@pytest.mark.parametrize("stranger", [1, 21])
def test_token_outside_the_vocabulary(stranger):
    with pytest.raises(ValueError, match="outside the vocabulary"):
        dense([stranger], [0, 3, 8, 20])


@pytest.mark.parametrize(("pad_id", "trimmed"), [(0, 0), (3, 3), (150, None)])
def test_no_other_token_is_taken_for_padding(pad_id, trimmed):
    """Its row gets no gradient; the ids that stay are the first ones."""
    model = tiny_classifier(vocab_size=300, pad_token_id=pad_id)
    trim_embedding(model, np.array([0, 1, 2, 3, *range(100, 290)]))
    assert model.get_input_embeddings().padding_idx == trimmed
