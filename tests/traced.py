"""A stand-in for CUDA graphs on a CPU: a step's tensor operations, recorded once and replayed.

What a replay leaves out is what a CUDA graph leaves out, too: all Python. A number that is not in a
tensor is the one that was there when the step was recorded.
"""

import torch
from torch.fx.experimental.proxy_tensor import make_fx

from trainable.config.names import GRAPH
from trainable.engine.cuda_graph import Executor


class TracedCapture:
    """Records a body. Recording runs it, so what it changes is put back."""

    def __init__(self):
        self.captured = 0
        self.changed = lambda: []  # the tensors that bodies write to

    def __call__(self, body):
        self.captured += 1
        tensors, random_state = list(self.changed()), torch.get_rng_state()
        before = [tensor.detach().clone() for tensor in tensors]
        recorded = make_fx(lambda: _outputs(body()))()
        with torch.no_grad():
            for tensor, old in zip(tensors, before, strict=True):
                tensor.copy_(old)
        torch.set_rng_state(random_state)
        return recorded


def _outputs(found):
    return () if found is None else found


def state_of(step):
    """All that a training step writes to."""
    yield from step.parameters
    yield from (v for s in step.optimiser.state.values() for v in s.values())
    yield from step.means.sums.values()
    yield from step.averages.averages if step.averages else ()


class Executors:
    """Makes a setup cache's executors, and remembers them."""

    def __init__(self):
        self.captures = []

    def __call__(self, name, device):
        if name != GRAPH:
            return Executor(padded=True)
        self.captures.append(TracedCapture())
        return Executor(self.captures[-1])
