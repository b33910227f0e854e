"""SHA-256 digests of what a cache depends on: values, tensors, tokenizers."""

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:  # torch takes seconds to load
    from torch import Tensor


def digest_values(values: Mapping[str, Any]) -> str:
    """64 hexadecimal digits of JSON values, whatever the order of the keys."""
    return sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def digest_tensors(tensors: Mapping[str, "Tensor"]) -> str:
    """Of names, types, shapes and bytes, whatever the order of the names."""
    total = sha256()
    for name in sorted(tensors):
        array = tensors[name].detach().cpu().contiguous().numpy()
        total.update(f"{name} {array.dtype} {array.shape}".encode())
        total.update(array.reshape(-1).view(np.uint8).data)
    return total.hexdigest()


def digest_strings(strings: list[str]) -> str:
    """Of a list of strings, each with its length, so that joins can't collide."""
    total = sha256()
    for text in strings:
        encoded = text.encode("utf-8", "surrogatepass")
        total.update(len(encoded).to_bytes(8, "little"))
        total.update(encoded)
    return total.hexdigest()
