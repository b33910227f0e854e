"""Queries, keys and values of a classifier's last layer, whose relations a student may learn."""

import torch
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel

from trainable.common.errors import UserError

BERT_LIKE = ("self.query", "self.key", "self.value")
PROJECTIONS = {  # by type of model: where they stand in a layer's attention
    **dict.fromkeys(("bert", "roberta", "xlm-roberta", "camembert", "electra"), BERT_LIKE),
    "deberta-v2": ("self.query_proj", "self.key_proj", "self.value_proj"),
    "mpnet": ("attn.q", "attn.k", "attn.v"),
}


def check_projections(config: PreTrainedConfig) -> None:
    """UserError for an architecture whose queries, keys and values are not known."""
    if config.model_type not in PROJECTIONS:
        raise UserError(
            f"relation_weight: no queries, keys and values are known of {config.model_type}; "
            "valid: DeBERTa-v2 and -v3, BERT, RoBERTa, ELECTRA, MPNet"
        )


def check_relations(heads: int, teacher: PreTrainedConfig, student: PreTrainedConfig) -> None:
    """UserError if these two can't be compared in so many relation heads."""
    check_projections(teacher)
    check_projections(student)
    for name, width in (("teacher", teacher.hidden_size), ("student", student.hidden_size)):
        if width % heads:
            raise UserError(
                f"relation_heads: {heads} does not divide the {name}'s width {width}; "
                "give a number that divides both"
            )


def queries_keys_values(model: PreTrainedModel, states: Tensor, precision: str) -> Tensor:
    """[B, T, 3, H] of the states [B, T, H] that went into the model's last layer, by its own
    projections, since a fused attention shows none."""
    attention = model.base_model.encoder.layer[-1].attention
    projections = map(attention.get_submodule, PROJECTIONS[model.config.model_type])
    with torch.autocast(states.device.type, torch.bfloat16, enabled=precision == "bf16"):
        return torch.stack([projection(states) for projection in projections], dim=2)
