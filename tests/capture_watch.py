"""What a CUDA graph couldn't record, found on a machine without a GPU.

On the `meta` device tensors have shapes and no values, so a step that runs there reads nothing
back; inside `capture_watch` it moves nothing there either.
"""

import contextlib

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

DEVICE = "meta"
aten = torch.ops.aten
MOVES = (aten._to_copy, aten.copy_)
# Where a mask picks the elements, only the device knows how many there are.
PICKS = (aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_)
MASKS = (torch.bool, torch.uint8)
DATA_DEPENDENT = (torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape)
# Meta tensors made from Python's values leave no trace among the operations.
FROM_VALUES = (torch.tensor, torch.as_tensor, torch.asarray, torch.Tensor.new_tensor)


class NotCapturableError(AssertionError):
    """An operation that capturing doesn't allow; the traceback shows where it stands."""


@contextlib.contextmanager
def capture_watch():
    """Raises NotCapturableError at the first operation on `meta` that capturing forbids.

    Forbidden: tensors that come from the host (0-dimensional ones may be operands, they become
    arguments of the kernel), values that go there, shapes that depend on values.
    """
    with OperationWatch(), FactoryWatch():
        yield


class OperationWatch(TorchDispatchMode):
    """Looks at every operation, those of the backward pass included."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        trap = trap_in(function, args, kwargs)
        if trap:
            raise NotCapturableError(f"{function}: {trap}")
        return function(*args, **kwargs)


class FactoryWatch(TorchFunctionMode):
    """Looks at tensors that are made from values."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        given = args[1:] if function is torch.Tensor.new_tensor else args[:1]
        from_values = function in FROM_VALUES and not isinstance(given[0], torch.Tensor)
        if from_values and made.device.type == DEVICE:
            raise NotCapturableError(f"{function.__name__}: values move from Python to {DEVICE}")
        return made


def trap_in(function, args, kwargs):
    """What is wrong with an operation; None where nothing is."""
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
    packet = function.overloadpacket
    if packet in MOVES:
        return trap_in_move(packet, args, kwargs)
    if not any(tensor.device.type == DEVICE for tensor in tensors):
        return None
    if any(tensor.ndim and tensor.device.type != DEVICE for tensor in tensors):
        return "an operand stands on the host"
    if packet in PICKS:
        picked_by_mask = any(index is not None and index.dtype in MASKS for index in args[1])
        return "the shape depends on a mask's values" if picked_by_mask else None
    if any(tag in function.tags for tag in DATA_DEPENDENT):
        return "a value goes to the host, or a shape depends on values"
    return None


def trap_in_move(packet, args, kwargs):
    """What is wrong with a copy: that it goes to the device from elsewhere, or back."""
    source = (args[1] if packet is aten.copy_ else args[0]).device
    target = args[0].device if packet is aten.copy_ else kwargs.get("device") or source
    ends = [source.type, torch.device(target).type]
    if ends[0] != ends[1] and DEVICE in ends:
        return f"a move from {ends[0]} to {ends[1]}"
    return None
