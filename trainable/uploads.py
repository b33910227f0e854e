"""Small arrays written to the device before each step, without waiting for it."""

import numpy as np
import torch
from torch import Tensor

SLOTS = 8  # uploads under way; the host waits only where it is so many ahead


class Upload:
    """A tensor on a device that the host writes again and again.

    `target` keeps its place. On a GPU an array travels from pinned memory, which is written anew
    only when the copy from it has been made.
    """

    def __init__(self, size: int, dtype: torch.dtype, device: torch.device, slots: int = SLOTS):
        self.target = torch.zeros(size, dtype=dtype, device=device)
        self._slots: list[Tensor] = []
        self._copied: list[torch.cuda.Event] = []
        if device.type == "cuda":
            self._slots = [torch.zeros(size, dtype=dtype, pin_memory=True) for _ in range(slots)]
            for _ in range(slots):
                self._copied.append(torch.cuda.Event())  # type: ignore[no-untyped-call]
        self._next = 0

    def write(self, array: np.ndarray) -> Tensor:
        """Fills the front of the target with an array, flat; returns that part of it."""
        values = torch.from_numpy(np.ascontiguousarray(array)).view(-1)
        part = self.target[: len(values)]
        if not self._slots:
            return part.copy_(values)
        self._copied[self._next].synchronize()
        slot = self._slots[self._next][: len(values)]
        slot.copy_(values)
        part.copy_(slot, non_blocking=True)
        self._copied[self._next].record()
        self._next = (self._next + 1) % len(self._slots)
        return part
