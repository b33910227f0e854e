"""What a CUDA graph couldn't record, found without a GPU and before any is touched.

On the `meta` device tensors have shapes and no values, so a step that runs there reads nothing
back; inside `capture_watch` it moves nothing there either. A capture that fails on the GPU itself
can leave its generators and streams unusable.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import PreTrainedConfig, PreTrainedModel

from trainable.common.errors import first_line
from trainable.models.static_forward import attention_input, make_static
from trainable.models.students import new_model

DEVICE = "meta"
aten = torch.ops.aten
MOVES = (aten._to_copy, aten.copy_)
# Where a mask picks the elements, only the device knows how many there are.
PICKS = (aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_)
MASKS = (torch.bool, torch.uint8)
DATA_DEPENDENT = (torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape)
# Meta tensors made from Python's values leave no trace among the operations.
FROM_VALUES = (torch.tensor, torch.as_tensor, torch.asarray, torch.Tensor.new_tensor)
SENTENCES, TOKENS = 2, 8  # of the step that is tried


class NotCapturableError(RuntimeError):
    """An operation that capturing doesn't allow; the traceback shows where it stands."""


def capture_problem(config: PreTrainedConfig) -> str | None:
    """Why a step of models of this configuration can't be captured; None where it seems it can.

    Runs a forward and a backward pass of such a model without values, in milliseconds.
    """
    with torch.device(DEVICE):
        model = new_model(config).train()
    make_static(model)
    with contextlib.suppress(RuntimeError):  # the watch says better what is wrong
        _step(model)  # makes what lives on, as the first step before a capture does
    try:
        with capture_watch():
            _step(model)
    except RuntimeError as error:  # NotImplementedError is one, too
        return first_line(error)
    return None


def _step(model: PreTrainedModel) -> None:
    ids = torch.ones((SENTENCES, TOKENS), dtype=torch.int64, device=DEVICE)
    outputs = model(input_ids=ids, attention_mask=attention_input(model.config, ids.clone()))
    torch.autograd.grad(outputs.logits.sum(), list(model.parameters()), allow_unused=True)


@contextlib.contextmanager
def capture_watch() -> Iterator[None]:
    """Raises NotCapturableError at the first operation on `meta` that capturing forbids.

    Forbidden: tensors that come from the host (0-dimensional ones may be operands, they become
    arguments of the kernel), values that go there, shapes that depend on values.
    """
    with OperationWatch(), FactoryWatch():  # type: ignore[no-untyped-call]
        yield


class OperationWatch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Looks at every operation, those of the backward pass included."""

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Runs the operation where nothing is wrong with it."""
        kwargs = kwargs or {}
        trap = trap_in(func, args, kwargs)
        if trap:
            raise NotCapturableError(f"{func}: {trap}")
        return func(*args, **kwargs)


class FactoryWatch(TorchFunctionMode):
    """Looks at tensors that are made from values."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Runs the function, and looks where what it made from values stands."""
        made = func(*args, **(kwargs or {}))
        given = args[1:] if func is torch.Tensor.new_tensor else args[:1]
        if func in FROM_VALUES and not isinstance(given[0], Tensor) and made.device.type == DEVICE:
            raise NotCapturableError(f"{func.__name__}: values move from Python to {DEVICE}")
        return made


def trap_in(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str | None:
    """What is wrong with an operation; None where nothing is."""
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    packet = func.overloadpacket
    if packet in MOVES:
        return trap_in_move(packet, args, kwargs)
    if not any(tensor.device.type == DEVICE for tensor in tensors):
        return None
    if any(tensor.ndim and tensor.device.type != DEVICE for tensor in tensors):
        return "an operand stands on the host"
    if packet in PICKS:
        picked_by_mask = any(index is not None and index.dtype in MASKS for index in args[1])
        return "the shape depends on a mask's values" if picked_by_mask else None
    if any(tag in func.tags for tag in DATA_DEPENDENT):
        return "a value goes to the host, or a shape depends on values"
    return None


def trap_in_move(packet: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str | None:
    """What is wrong with a copy: that it goes to the device from elsewhere, or back."""
    source = (args[1] if packet is aten.copy_ else args[0]).device
    target = args[0].device if packet is aten.copy_ else kwargs.get("device") or source
    ends = [source.type, torch.device(target).type]
    if ends[0] != ends[1] and DEVICE in ends:
        return f"a move from {ends[0]} to {ends[1]}"
    return None
