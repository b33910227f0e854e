"""A classifier's logits and pooled hidden states, the same way for teacher and student."""

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel

from trainable.common.errors import UserError
from trainable.data.examples import Batch
from trainable.models.static_forward import attention_input


def output_layer(model: PreTrainedModel) -> tuple[str, nn.Linear]:
    """A classifier's layer of logits, and its name; UserError for a model that has none."""
    inside = f"{model.base_model_prefix}."
    layers = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear)
        and module.out_features == model.config.num_labels
        and not name.startswith(inside)
    ]
    if not layers:
        raise UserError(f"{type(model).__name__} has no linear layer of its labels")
    return layers[-1]


def has_token_types(config: PreTrainedConfig) -> bool:
    """Whether a model tells the two texts of a pair apart by types of tokens."""
    return bool(getattr(config, "type_vocab_size", 0) > 1)


def model_inputs(config: PreTrainedConfig, batch: Batch) -> dict[str, Tensor]:
    """A batch as the library's models take it; token types only where a model has some."""
    inputs = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}
    if batch.token_types is not None and has_token_types(config):
        inputs["token_type_ids"] = batch.token_types
    return inputs


def run_model(
    model: nn.Module, batch: Batch, precision: str, *, states: bool = False
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Logits [B, C] and, if asked for, the states [B, T, H] that go into the first layer and those
    that come out of each."""
    inputs = model_inputs(model.config, batch)
    inputs["attention_mask"] = attention_input(model.config, batch.attention_mask)
    with torch.autocast(batch.input_ids.device.type, torch.bfloat16, enabled=precision == "bf16"):
        outputs = model(**inputs, output_hidden_states=states)
    return outputs.logits, outputs.hidden_states if states else ()


def pool_states(states: tuple[Tensor, ...], mask: Tensor, hidden_pool: str) -> Tensor:
    """L tensors [B, T, H] as one; mask [B, T] is 1 for a real token.

    [B, L, H] for the pools `cls` (the first token) and `mean` (over real tokens), else [B, T, L,
    H].
    """
    if hidden_pool == "cls":
        return torch.stack([layer[:, 0] for layer in states], dim=1)
    if hidden_pool == "mean":
        share = (mask / mask.sum(dim=1, keepdim=True)).float()
        means = [torch.einsum("bth,bt->bh", layer.float(), share) for layer in states]
        return torch.stack(means, dim=1)
    return torch.stack(states, dim=2)
