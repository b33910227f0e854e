"""Runs a piece of work again and again on a device: as it is, or captured once and replayed.

A body is a function without arguments that works on tensors whose addresses never change: what
differs from one run to the next is written into them before.
"""

from collections.abc import Callable, Hashable
from functools import cache
from time import perf_counter
from typing import Any
from weakref import WeakSet

import torch
from transformers import PreTrainedConfig

from trainable.common.errors import UserError, count_of, first_line
from trainable.common.gpus import out_of_gpu_memory
from trainable.config.names import EAGER, GRAPH
from trainable.config.training_inputs import Execution
from trainable.data.batches import padded_width
from trainable.engine.devices import release_memory
from trainable.models.flash_attention import FLASH_MODEL, flash_obstacle

Body = Callable[[], Any]


class CaptureError(UserError):
    """A step that can't be captured. This process must not go on with the GPU: the allocator of a
    torch without the fix of pytorch#180395 stays in the capture that failed."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"--executor {GRAPH}: a step of this model can't be captured as a CUDA graph "
            f"({reason}); give --executor {EAGER}"
        )
        self.reason = reason


class Executor:
    """Runs bodies; the same numbers come out with a capture and without.

    With `capture`, the first body of a kind is run as it is, which makes what lives on, such as the
    positions of a width; the second is captured, and replayed ever after. Without, every body is
    run as it is. `padded` fills batches up as for a capture: dropout draws one number for each
    position, so only equal shapes give equal numbers.
    """

    def __init__(
        self, capture: Callable[[Body], Body] | None = None, *, padded: bool = False
    ) -> None:
        self._capture = capture
        self._padded = padded or capture is not None
        self._warm: set[Hashable] = set()
        self._replays: dict[Hashable, Body] = {}
        self.setup_seconds = 0.0  # of warm-ups, in which Triton compiles, and captures
        self.most: int | None = None  # examples that go through a model at a time, if not all
        self.times_cleared = 0  # since memory ran out
        self.make_room: Callable[[], bool] = lambda: False  # whether it gave memory back

    def width(self, longest: int) -> int:
        """Tokens to pad a batch to whose longest example has so many."""
        return padded_width(longest) if self._padded else longest

    def batch_size(self, count: int, most: int) -> int:
        """Examples to fill a batch of `count` up to, where full ones have `most`."""
        return most if self._padded else count

    @property
    def reduced(self) -> str:
        """What is done otherwise since memory ran out, and why; empty if it did not."""
        return f"{count_of(self.most, 'example')} at a time: out of memory" if self.most else ""

    def reduce(self, batch_size: int, device: torch.device) -> bool:
        """After memory ran out: makes room, or halves what goes through the model at a time.

        False if one example does not fit. Bodies are to look at `most`, and are captured anew.
        """
        most = min(self.most or batch_size, batch_size)
        if not self.make_room():
            if most == 1:
                return False
            self.most = -(-most // 2)
        self._warm.clear()
        self._replays.clear()
        self.times_cleared += 1
        try:
            release_memory(device)
        except RuntimeError as error:  # torch's allocator is still in a capture that failed
            raise CaptureError(first_line(error)) from error
        return True

    def run(self, key: Hashable, body: Body) -> Any:
        """What the body returns; `key` says which runs are alike in all shapes.

        The tensors that are returned are good until the next run. Raises CaptureError.
        """
        if key in self._replays:
            return self._replays[key]()
        if self._capture is None:
            return body()
        start = perf_counter()
        if key in self._warm:
            try:
                body = self._replays[key] = self._capture(body)
            except RuntimeError as error:
                cause: BaseException = error
                while cause.__context__ is not None:  # leaving a failed capture raises another
                    cause = cause.__context__
                if out_of_gpu_memory(cause):
                    raise cause from None
                raise CaptureError(first_line(cause)) from error
        self._warm.add(key)
        result = body()
        self.setup_seconds += perf_counter() - start
        return result


class CudaGraphCapture:
    """Captures bodies as CUDA graphs that share one pool of memory: one of them runs at a time."""

    def __init__(self, device: torch.device) -> None:
        self._graphs = WeakSet[Any]()  # the first one's pool is that of all, and dies with them
        self._stream = _capture_stream(device)

    def __call__(self, body: Body) -> Body:
        """The body's graph as a function; capturing runs nothing and draws no random number.

        RuntimeError if the body waits for the device or copies from host memory.
        """
        graph, pool = torch.cuda.CUDAGraph(), next((g.pool() for g in self._graphs), None)
        torch.cuda.empty_cache()  # what the warm-up took, so that the graph has as much
        with torch.cuda.graph(
            graph, pool=pool, stream=self._stream, capture_error_mode="thread_local"
        ):
            result = body()
        self._graphs.add(graph)

        def replay() -> Any:
            graph.replay()
            return result

        return replay


@cache
def _capture_stream(device: torch.device) -> Any:
    """One for all captures of a process: cuBLAS has a workspace of 32 MiB for each stream."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


def make_executor(name: str, device: torch.device) -> Executor:
    """The executor of that name; GRAPH needs a CUDA device."""
    if name == GRAPH:
        return Executor(CudaGraphCapture(device))
    return Executor(padded=device.type == "cuda")


def choose_execution(
    config: PreTrainedConfig, device: torch.device, wanted: str, log: Callable[[str], None]
) -> Execution:
    """For models of this configuration; `wanted` is an executor, or auto, which captures on a GPU.

    UserError if GRAPH is wanted without a CUDA GPU.
    """
    if device.type != "cuda" and wanted == GRAPH:
        raise UserError(f"--executor {GRAPH}: needs a CUDA GPU, and none is visible")
    if device.type != "cuda" or wanted == EAGER:
        return Execution()  # with plain attention: the fused one is compiled anew for every shape
    if config.model_type != FLASH_MODEL:
        return Execution(GRAPH)
    if obstacle := flash_obstacle(config, device):
        log(f"plain attention instead of disentangled-flash: {obstacle}")
    return Execution(GRAPH, flash_attention=obstacle is None)
