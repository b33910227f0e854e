"""Forwards that a CUDA graph can record: nothing made on the host, no value read back.

The library's mask code looks at the mask's values to see whether it may leave the mask out; a mask
that is ready for the attention goes through untouched (`attention_input`). It builds relative
positions anew in every forward from tensors on the host; here they are built once and kept on the
device (`make_static`).

A model is changed by giving its encoder a subclass of its own class, so that other models stay as
they are, and copies and pickles of it work.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.models.deberta_v2.modeling_deberta_v2 import DebertaV2Encoder
from transformers.models.mpnet import modeling_mpnet

# Architectures that hand the mask to the library's mask code, which passes a 4-D one through.
# MPNet of early 5.x releases computes its own from the 2-D one, and refuses others.
MASK_PASSES_THROUGH = {"bert", "roberta", "xlm-roberta", "electra", "camembert"} | (
    {"mpnet"} if hasattr(modeling_mpnet, "create_bidirectional_mask") else set()
)
MPNET_BUCKETS = 32  # the only number of buckets that MPNet's encoder asks for


def attention_input(config: PreTrainedConfig, mask: Tensor) -> Tensor:
    """The mask [B, T], 1 for a real token, as a model with this configuration takes it unread.

    If the library passes a ready mask through: bool [B, 1, T, T] for `sdpa` attention, and for
    `eager` attention fp32 [B, 1, 1, T] that is added to the scores (fp32 is what the library uses
    under autocast too, for weights in fp32). Otherwise, DeBERTa included, the mask itself.
    """
    attention = getattr(config, "_attn_implementation", None)
    if config.model_type not in MASK_PASSES_THROUGH or attention not in ("sdpa", "eager"):
        return mask
    real = mask.bool()[:, None, None, :]
    if attention == "sdpa":
        return real.expand(-1, -1, mask.shape[1], -1)
    nothing = torch.zeros(real.shape, dtype=torch.float32, device=mask.device)
    return nothing.masked_fill(~real, torch.finfo(torch.float32).min)


class PositionTables:
    """Square tables that depend on the distance of two tokens only, by size and device.

    A table for T tokens is the corner of any larger one, so sizes are powers of two. The first
    forward of a size, an eager one, builds it; it is never replaced, since graphs read it by
    address.
    """

    def __init__(self) -> None:
        self.tables: dict[tuple[int, torch.device], Tensor] = {}

    def corner(self, length: int, device: torch.device, build: Callable[[int], Tensor]) -> Tensor:
        """The first T rows and columns, a view [..., T, T], of what `build` makes of a size."""
        size = 1 << (length - 1).bit_length()
        if (size, device) not in self.tables:
            # An evaluation may come first; training couldn't save its inference tensors.
            with torch.inference_mode(False), torch.no_grad():
                self.tables[size, device] = build(size)
        return self.tables[size, device][..., :length, :length]


class StaticDebertaEncoder(DebertaV2Encoder):  # type: ignore[misc]
    """DeBERTa-v2's encoder with relative positions that are built once."""

    position_tables: PositionTables

    def get_rel_pos(
        self, hidden_states: Tensor, query_states: Any = None, relative_pos: Any = None
    ) -> Any:
        """Bucketed distances [1, T, T] of hidden states [B, T, H], int64."""
        if not self.relative_attention or query_states is not None or relative_pos is not None:
            return super().get_rel_pos(hidden_states, query_states, relative_pos)
        device = hidden_states.device
        library = super().get_rel_pos

        def build(size: int) -> Any:
            return library(torch.empty((1, size, 1), device=device))

        return self.position_tables.corner(hidden_states.shape[1], device, build)


class StaticMPNetEncoder(modeling_mpnet.MPNetEncoder):  # type: ignore[misc]
    """MPNet's encoder with position buckets that are built once."""

    position_tables: PositionTables

    def compute_position_bias(
        self, x: Tensor, position_ids: Any = None, num_buckets: int = MPNET_BUCKETS
    ) -> Any:
        """Learnt biases [B, heads, T, T] of hidden states [B, T, H]; the lookup has a gradient."""
        if position_ids is not None or num_buckets != MPNET_BUCKETS:
            return super().compute_position_bias(x, position_ids, num_buckets)

        def build(size: int) -> Any:
            positions = torch.arange(size, device=x.device)
            return self.relative_position_bucket(
                positions[None, :] - positions[:, None], num_buckets=MPNET_BUCKETS
            )

        size, length = x.shape[:2]
        buckets = self.position_tables.corner(length, x.device, build)
        biases = self.relative_attention_bias(buckets).permute(2, 0, 1)
        return biases.expand(size, -1, length, length)


STATIC_ENCODERS: dict[type[nn.Module], type[nn.Module]] = {
    DebertaV2Encoder: StaticDebertaEncoder,
    modeling_mpnet.MPNetEncoder: StaticMPNetEncoder,
}


def make_static(model: PreTrainedModel) -> None:
    """Changes this one model so that its forward, given `attention_input`, can be recorded.

    Values, gradients, parameters and their names stay. May be called before or after `.to(device)`,
    and again. The first forward of each length must be an eager one: it builds the positions.
    """
    for module in model.modules():
        static = STATIC_ENCODERS.get(type(module))
        if static is not None:
            module.__class__ = static
            module.position_tables = PositionTables()
