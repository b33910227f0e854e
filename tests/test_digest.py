"""Digests: equal for equal contents, different for anything that differs."""

from hashlib import sha256

import pytest
import torch

from trainable.digest import digest_file, digest_strings, digest_tensors, digest_values

VALUES = {"a": 1, "b": {"x": [1, 2], "y": "é"}}
TENSORS = {"w": torch.arange(6.0).reshape(2, 3), "b": torch.tensor([1, 2])}


def is_sha256(digest):
    return len(digest) == 64 and set(digest) <= set("0123456789abcdef")


def test_the_order_of_the_keys_does_not_matter():
    assert digest_values(VALUES) == digest_values({"b": {"y": "é", "x": [1, 2]}, "a": 1})
    assert digest_tensors(TENSORS) == digest_tensors(dict(reversed(TENSORS.items())))


@pytest.mark.parametrize(
    "other",
    [
        {},
        {**VALUES, "a": 2},
        {**VALUES, "a": "1"},
        {**VALUES, "c": None},
        {"a": 1, "b": {"x": [2, 1], "y": "é"}},
        {"a": 1, "b": {"x": [1, 2], "y": "e"}},
    ],
)
def test_other_values_have_another_digest(other):
    assert is_sha256(digest_values(VALUES))
    assert digest_values(other) != digest_values(VALUES)


@pytest.mark.parametrize(
    "other",
    [
        {},
        {"w": TENSORS["w"]},
        {**TENSORS, "b": torch.tensor([2, 1])},
        {**TENSORS, "b": torch.tensor([1, 2], dtype=torch.int32)},
        {**TENSORS, "w": TENSORS["w"].reshape(3, 2)},
        {**TENSORS, "w": TENSORS["w"].double()},
        {"v": TENSORS["w"], "b": TENSORS["b"]},
        {"w": TENSORS["b"], "b": TENSORS["w"]},
    ],
)
def test_other_tensors_have_another_digest(other):
    assert is_sha256(digest_tensors(TENSORS))
    assert digest_tensors(other) != digest_tensors(TENSORS)


def test_equal_bytes_of_another_type_have_another_digest():
    zeros = {"x": torch.zeros(2)}
    assert digest_tensors(zeros) != digest_tensors({"x": torch.zeros(2, dtype=torch.int32)})


def test_a_single_bit_of_a_tensor_counts():
    changed = TENSORS["w"].clone()
    changed[1, 2] = torch.nextafter(changed[1, 2], torch.tensor(100.0))
    assert digest_tensors({**TENSORS, "w": changed}) != digest_tensors(TENSORS)


def test_only_the_contents_of_a_tensor_count():
    transposed = TENSORS["w"].t().contiguous().t()
    assert not transposed.is_contiguous()
    parameter = torch.nn.Parameter(transposed)
    assert digest_tensors({**TENSORS, "w": parameter}) == digest_tensors(TENSORS)


@pytest.mark.parametrize("tensor", [torch.tensor(1.0), torch.zeros(0, 3), torch.tensor([True])])
def test_scalars_empty_tensors_and_booleans_have_digests(tensor):
    plus_one = tensor.float() + 1
    assert is_sha256(digest_tensors({"x": tensor}))
    assert digest_tensors({"x": tensor}) == digest_tensors({"x": tensor.clone()})
    assert digest_tensors({"x": tensor}) != digest_tensors({"x": plus_one.unsqueeze(0)})


@pytest.mark.parametrize(
    "other", [[], ["ab", "c", ""], ["a", "bc"], ["abc"], ["c", "ab"], ["", "ab", "c"], ["ab", "C"]]
)
def test_other_strings_have_another_digest(other):
    assert digest_strings(other) != digest_strings(["ab", "c"])


def test_strings_that_utf8_cannot_hold_have_digests():
    assert is_sha256(digest_strings(["\ud83d"]))
    assert digest_strings(["\ud83d"]) != digest_strings(["\ud83e"])


@pytest.mark.parametrize("size", [0, 5, (1 << 22) + 3])
def test_a_files_digest_is_that_of_its_bytes(tmp_path, size):
    content = bytes(range(251)) * (size // 251 + 1)
    path = tmp_path / "file.bin"
    path.write_bytes(content[:size])
    assert digest_file(path) == sha256(content[:size]).hexdigest()
