"""Tokenised splits, with the real tokenizer of the small encoder."""

import numpy as np
import pytest

from tests.conftest import tokens_of
from trainable.data.tokens import load_split, save_split, tokenise, trained_on

CLS, SEP, HELLO, WORLD = 101, 102, 7592, 2088  # of BERT's uncased vocabulary


def test_token_ids_with_special_tokens(bert):
    split = tokenise(bert, ["hello world", "", "World"], [1, 0, 1], max_length=16)
    assert split.token_ids.tolist() == [CLS, HELLO, WORLD, SEP, CLS, SEP, CLS, WORLD, SEP]
    assert split.offsets.tolist() == [0, 4, 6, 9]
    assert split.lengths.tolist() == [4, 2, 3]
    assert split.labels.tolist() == [1, 0, 1]


@pytest.mark.parametrize("max_length", [3, 64])
def test_examples_are_cut_and_keep_their_end(bert, max_length):
    split = tokenise(bert, ["hello " * 100, "hello"], [0, 1], max_length)
    assert split.lengths.tolist() == [max_length, 3]
    assert tokens_of(split, 0) == [CLS] + [HELLO] * (max_length - 2) + [SEP]
    assert tokens_of(split, 1) == [CLS, HELLO, SEP]


def test_pairs_are_read_as_the_tokenizer_reads_them_and_the_longer_text_is_cut(bert):
    pairs = [("hello world", "world"), ("hello " * 100, "world hello"), ("a", "b " * 60)]
    split = tokenise(bert, pairs, [0.5, 1.0, 2.0], max_length=12)
    for row, pair in enumerate(pairs):
        expected = bert(*pair, truncation="longest_first", max_length=12)
        assert tokens_of(split, row) == expected["input_ids"]
        types = split.token_types[slice(*split.offsets[row : row + 2])]
        assert types.tolist() == expected["token_type_ids"]
    assert split.token_types[split.offsets[1] : split.offsets[2]].tolist() == [0] * 9 + [1] * 3
    assert (split.labels.dtype, split.labels.tolist()) == (np.float32, [0.5, 1.0, 2.0])
    joined = trained_on({"train": split, "transfer": split})
    assert joined.token_types.tolist() == 2 * split.token_types.tolist()
    assert tokenise(bert, ["a b"], [0], max_length=12).token_types is None


def test_a_split_comes_back_as_it_was_saved(split, tmp_path):
    save_split(split, tmp_path, "train")
    loaded = load_split(tmp_path, "train")
    for part in ("token_ids", "offsets", "labels", "token_types"):
        one, other = getattr(loaded, part), getattr(split, part)
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
