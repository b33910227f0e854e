"""Digests: equal for equal contents, different for anything that differs."""

from hashlib import sha256

import pytest
import torch

from trainable.common.digest import digest_strings, digest_tensors, digest_values
from trainable.common.files import digest_file

VALUES = {"a": 1, "b": {"x": [1, 2], "y": "é"}}
WEIGHTS, BIASES = torch.arange(6.0).reshape(2, 3), torch.tensor([1, 2])
TENSORS = {"w": WEIGHTS, "b": BIASES}


def distinct(digests):
    """How many of them differ; each is one of SHA-256."""
    assert all(len(d) == 64 and set(d) <= set("0123456789abcdef") for d in digests)
    return len(set(digests))


def test_values():
    others = [
        VALUES,
        {},
        {**VALUES, "a": 2},
        {**VALUES, "a": "1"},
        {**VALUES, "c": None},
        {"a": 1, "b": {"x": [2, 1], "y": "é"}},
        {"a": 1, "b": {"x": [1, 2], "y": "e"}},
    ]
    assert distinct([digest_values(other) for other in others]) == len(others)
    assert digest_values(VALUES) == digest_values({"b": {"y": "é", "x": [1, 2]}, "a": 1})


def test_tensors():
    one_bit = WEIGHTS.clone()
    one_bit[1, 2] = torch.nextafter(one_bit[1, 2], torch.tensor(100.0))
    others = [
        TENSORS,
        {},
        {"w": WEIGHTS},
        {**TENSORS, "w": one_bit},
        {**TENSORS, "b": torch.tensor([2, 1])},
        {**TENSORS, "b": BIASES.int()},
        {**TENSORS, "w": WEIGHTS.reshape(3, 2)},
        {"v": WEIGHTS, "b": BIASES},
        {"w": BIASES, "b": WEIGHTS},
    ]
    assert distinct([digest_tensors(other) for other in others]) == len(others)


def test_the_order_of_names_and_how_a_tensor_lies_do_not_matter():
    transposed = torch.nn.Parameter(WEIGHTS.t().contiguous().t())
    assert not transposed.is_contiguous()
    assert digest_tensors({"b": BIASES, "w": transposed}) == digest_tensors(TENSORS)


def test_strings():
    others = [[], ["ab", "c"], ["ab", "c", ""], ["a", "bc"], ["abc"], ["c", "ab"], ["ab", "C"]]
    others += [["\ud83d"], ["\ud83e"]]  # which UTF-8 cannot hold
    assert distinct([digest_strings(other) for other in others]) == len(others)


@pytest.mark.parametrize("size", [0, 5, (1 << 22) + 3])
def test_a_files_digest_is_that_of_its_bytes(tmp_path, size):
    content = bytes(range(251)) * (size // 251 + 1)
    path = tmp_path / "file.bin"
    path.write_bytes(content[:size])
    assert digest_file(path) == sha256(content[:size]).hexdigest()
