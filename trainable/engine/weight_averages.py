"""Exponential moving averages (EMA) of a model's weights, after Polyak & Juditsky 1992."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


class WeightAverages:
    """An average of each weight over the training steps, which starts as the weight itself.

    Tensors stay where they are, and the decay is read from one: a captured step serves all decays.
    """

    def __init__(self, parameters: Iterable[Tensor]) -> None:
        self._weights = [parameter.detach() for parameter in parameters]  # in the same memory
        self.averages = [weight.clone() for weight in self._weights]
        longest = max(weight.shape[-1] for weight in self._weights)
        self._new_share = torch.zeros(longest, device=self._weights[0].device)  # 1 - decay

    def set_decay(self, decay: float, step: int) -> None:
        """Sets the decay of optimiser step `step` (from 0): it warms up, as with `num_updates` of
        TensorFlow's ExponentialMovingAverage, so that the first weights are soon forgotten."""
        self._new_share.fill_(1.0 - min(decay, (1 + step) / (10 + step)))

    def update(self) -> None:
        """decay x average + (1 - decay) x weight, in place."""
        pairs = list(zip(self.averages, self._weights, strict=True))
        # One kernel for all vectors, with shares of their shapes: matrices would read far more.
        vectors = [(a, w, self._new_share[: len(a)]) for a, w in pairs if a.ndim == 1]
        matrices = [(a, w, self._new_share[0]) for a, w in pairs if a.ndim > 1]
        for tensors in filter(None, (vectors, matrices)):
            torch._foreach_lerp_(*map(list, zip(*tensors, strict=True)))

    def start_anew(self) -> None:
        """Resets the averages to the weights."""
        torch._foreach_copy_(self.averages, self._weights)

    @contextmanager
    def in_place_of_weights(self) -> Iterator[None]:
        """Swaps weights and averages within the block, bit for bit."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _swap(self) -> None:
        for weight, average in zip(self._weights, self.averages, strict=True):
            values = weight.clone()
            weight.copy_(average)
            average.copy_(values)
