"""Digests: equal for equal contents, different for anything that differs."""

import re
from hashlib import sha256

import pytest
import torch

from trainable.common.digest import digest_strings, digest_tensors, digest_values
from trainable.common.files import digest_file

VALUES = {"a": 1, "b": {"x": [1, 2], "y": "é"}}
WEIGHTS, BIASES = torch.arange(6.0).reshape(2, 3), torch.tensor([1, 2])
TENSORS = {"w": WEIGHTS, "b": BIASES}


def assert_distinct(digest, values):
    """Each has a SHA-256 of its own."""
    digests = [digest(value) for value in values]
    assert all(re.fullmatch("[0-9a-f]{64}", each) for each in digests)
    assert len(set(digests)) == len(values)


def test_values():
    others = [{}, {**VALUES, "a": 2}, {**VALUES, "a": "1"}, {**VALUES, "c": None}]
    others += [{"a": 1, "b": {"x": x, "y": y}} for x, y in (([2, 1], "é"), ([1, 2], "e"))]
    assert_distinct(digest_values, [VALUES, *others])
    assert digest_values(VALUES) == digest_values({"b": {"y": "é", "x": [1, 2]}, "a": 1})


def test_tensors():
    one_bit = WEIGHTS.clone()
    one_bit[1, 2] = torch.nextafter(one_bit[1, 2], torch.tensor(100.0))
    others = [{}, {"w": WEIGHTS}, {"v": WEIGHTS, "b": BIASES}, {"w": BIASES, "b": WEIGHTS}]
    others += [{"w": WEIGHTS, "b": b} for b in (torch.tensor([2, 1]), BIASES.int())]
    others += [{"w": w, "b": BIASES} for w in (one_bit, WEIGHTS.reshape(3, 2))]
    assert_distinct(digest_tensors, [TENSORS, *others])
    transposed = torch.nn.Parameter(WEIGHTS.t().contiguous().t())
    assert not transposed.is_contiguous()
    assert digest_tensors({"b": BIASES, "w": transposed}) == digest_tensors(TENSORS)


def test_strings():
    others = [[], ["ab", "c"], ["ab", "c", ""], ["a", "bc"], ["abc"], ["c", "ab"], ["ab", "C"]]
    others += [["\ud83d"], ["\ud83e"]]  # which UTF-8 cannot hold
    assert_distinct(digest_strings, others)


@pytest.mark.parametrize("size", [0, 5, (1 << 22) + 3])
def test_a_files_digest_is_that_of_its_bytes(tmp_path, size):
    content = bytes(range(251)) * (size // 251 + 1)
    path = tmp_path / "file.bin"
    path.write_bytes(content[:size])
    assert digest_file(path) == sha256(content[:size]).hexdigest()
