"""Accuracy, the score of a trial, and the correct/wrong bits in a form JSON can hold."""

from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

BITS = ("correct", "full_correct")  # of an evaluation as a dict
BEST_OF = 5  # the score is the mean of this many highest evaluations


def best5_accuracy(accuracies: Sequence[float]) -> float:
    """Mean of the five highest evaluations so far, or of all of fewer; ValueError if there is
    none."""
    if not accuracies:
        raise ValueError("no evaluation yet")
    highest = sorted(accuracies, reverse=True)[:BEST_OF]
    return sum(highest) / len(highest)


def best5_indices(accuracies: Sequence[float]) -> list[int]:
    """Positions of the evaluations that best5_accuracy averages; of equal ones, the earlier."""
    order = sorted(range(len(accuracies)), key=lambda index: (-accuracies[index], index))
    return sorted(order[:BEST_OF])


def is_one_label(correct: np.ndarray, labels: np.ndarray) -> bool:
    """Whether exactly the examples of one label are right [N], as if all were given that label."""
    return bool(correct.any()) and np.array_equal(correct, labels == labels[correct][0])


def pack_bits(correct: np.ndarray) -> str:
    """Base64 of the bits of a boolean array [N], eight examples a byte."""
    return b64encode(np.packbits(correct).tobytes()).decode("ascii")


def unpack_bits(packed: str, count: int) -> np.ndarray:
    """The boolean array [count] that `pack_bits` packed."""
    bits = np.frombuffer(b64decode(packed), dtype=np.uint8)
    return np.unpackbits(bits, count=count).astype(bool)


def without_bits(evaluation: Mapping[str, Any]) -> dict[str, Any]:
    """An evaluation whose bits are kept elsewhere."""
    return {**evaluation, "correct": "", "full_correct": None}
