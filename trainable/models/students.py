"""Students: the teacher's own architecture with fewer layers, and where its weights come from."""

import copy
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification, PreTrainedConfig, PreTrainedModel

from trainable.common.errors import UserError
from trainable.config.initialisations import COPIED_LAYERS, EMBEDDINGS, RANDOM
from trainable.config.layer_sets import check_depths, mirrored_layer
from trainable.config.names import NO_LAYERS
from trainable.config.training_inputs import check_same_tokens
from trainable.config.trial_config import TrialConfig
from trainable.models.relations import check_relations

NEURONS = "intermediate_size"  # of most configurations, those of a feed-forward layer
BY_LAYER = ("layer_types", "attention_window")  # as of ModernBERT, Longformer: how layers attend
GATED = ".mlp.Wi."  # ModernBERT's weights into them, of twice as many rows: those of gates, too


def encoder_layers(model: PreTrainedModel, flag: str = "--teacher") -> tuple[str, nn.ModuleList]:
    """The name and the list of an encoder's layers; UserError, which names `flag`, if there is
    none, or each part of a layer has a list of its own, as FlauBERT's."""
    depth = model.config.num_hidden_layers
    lists = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) == depth
    ]
    places = [name.rpartition(".")[0] for name, _ in lists]
    if not lists or places.count(places[0]) > 1:
        raise UserError(
            f"{flag}: {type(model).__name__} does not keep its {depth} layers in one list; "
            "valid: encoders like DeBERTa, BERT, RoBERTa, ELECTRA, MPNet, ModernBERT"
        )
    return lists[0]


def settings_by_layer(config: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Those settings of a model that have a value for each of its layers."""
    return {name: config[name] for name in BY_LAYER if isinstance(config.get(name), list)}


def student_config(teacher_config: PreTrainedConfig, config: TrialConfig) -> PreTrainedConfig:
    """The teacher's configuration at the student's depth, width and share of feed-forward neurons.

    A narrower student keeps the size of a head and the ratio of the feed-forward layer. UserError
    for a depth, width or relation heads that do not fit the teacher.
    """
    check_depths(config.student_layers, teacher_config.num_hidden_layers)
    student = copy.deepcopy(teacher_config)
    student.num_hidden_layers = config.student_layers
    origin = COPIED_LAYERS.get(config.initialisation, mirrored_layer)
    for name, values in settings_by_layer(vars(teacher_config)).items():
        depths = config.student_layers, len(values)
        chosen = [values[origin(n, *depths) - 1] for n in range(1, depths[0] + 1)]
        setattr(student, name, chosen)
    width = config.student_width
    if width is not None and width != teacher_config.hidden_size:
        head = teacher_config.hidden_size // teacher_config.num_attention_heads
        if not hasattr(teacher_config, NEURONS):  # DistilBERT's have another name
            raise UserError(f"student_width: not for a {teacher_config.model_type}; leave it out")
        if width % head:
            raise UserError(f"student_width: {width} is not a multiple of the head size {head}")
        student.hidden_size = width
        student.num_attention_heads = width // head
        student.intermediate_size = (
            teacher_config.intermediate_size * width // teacher_config.hidden_size
        )
        if getattr(student, "pooler_hidden_size", None):  # DeBERTa's head has its own width
            student.pooler_hidden_size = width
    if (share := config.feedforward_share) != 1.0:
        if getattr(teacher_config, NEURONS, 0) in (0, teacher_config.hidden_size):
            raise UserError(
                f"feedforward_share: {share}, but the feed-forward layers of this "
                f"{teacher_config.model_type} can't be narrowed; give 1"
            )
        student.intermediate_size = round(share * student.intermediate_size) or 1
    if config.relation_weight:
        check_relations(config.relation_heads, teacher_config, student)
    return student


def new_model(config: PreTrainedConfig) -> PreTrainedModel:
    """A classifier with random weights in fp32, drawn from torch's global generator."""
    model = AutoModelForSequenceClassification.from_config(config, dtype=torch.float32)
    assert isinstance(model, PreTrainedModel)
    return model


def copied_tensors(
    teacher: PreTrainedModel, student: PreTrainedModel, initialisation: str
) -> dict[str, Tensor]:
    """The tensors that a student copies from the teacher, by their names in the student.

    `random` copies nothing, `teacher_embeddings` the embeddings, the others the chosen layers and
    all outside the list of layers (embeddings, pooler, classifier, shared position tables). Of
    wider feed-forward layers as many neurons are copied as the student has.
    """
    if initialisation == RANDOM:
        return {}
    source = teacher.state_dict()
    if initialisation == EMBEDDINGS:
        base = teacher.base_model_prefix
        prefixes = (f"{base}.embeddings.", f"{base}.embeddings_project.")  # the second is ELECTRA's
        return {name: tensor for name, tensor in source.items() if name.startswith(prefixes)}
    depth, teacher_depth = student.config.num_hidden_layers, teacher.config.num_hidden_layers
    prefix = encoder_layers(teacher)[0] + "."
    chosen = {name: tensor for name, tensor in source.items() if not name.startswith(prefix)}
    for layer in range(1, depth + 1):
        origin = COPIED_LAYERS[initialisation](layer, depth, teacher_depth)
        from_, to = f"{prefix}{origin - 1}.", f"{prefix}{layer - 1}."
        of_layer = {name: tensor for name, tensor in source.items() if name.startswith(from_)}
        of_layer = _narrowed(of_layer, teacher.config, student.config)
        chosen |= {to + name.removeprefix(from_): tensor for name, tensor in of_layer.items()}
    if teacher.config.model_type == "modernbert":  # whose first layer alone has no such norm
        _fold_norm(chosen, f"{prefix}0.attn")
    return chosen


def _fold_norm(chosen: dict[str, Tensor], attention: str) -> None:
    """Takes the norm before a copied attention away; its scale goes into the weights after it."""
    chosen.pop(f"{attention}_norm.bias", None)
    if (scale := chosen.pop(f"{attention}_norm.weight", None)) is not None:
        chosen[f"{attention}.Wqkv.weight"] = chosen[f"{attention}.Wqkv.weight"] * scale


def _narrowed(
    layer: dict[str, Tensor], teacher: PreTrainedConfig, student: PreTrainedConfig
) -> dict[str, Tensor]:
    """A layer's tensors with the student's number of feed-forward neurons, in order: those with the
    largest product of the norms of incoming and outgoing weights, and of the gate's."""
    wide, size = (getattr(config, NEURONS, 0) for config in (teacher, student))
    if size == wide:
        return layer
    device = next(iter(layer.values())).device  # the teacher's; the student may be made on another
    importance, neurons = torch.ones(wide, device=device), {}
    for name, tensor in layer.items():
        if "att" not in name and (wide in tensor.shape or GATED in name):
            along = tensor.shape.index(wide) if wide in tensor.shape else 0
            neurons[name] = along, torch.unflatten(tensor, along, (-1, wide))
    for along, tensor in neurons.values():
        if tensor.ndim == 3:
            importance *= tensor.norm(dim=0 if along else 2).prod(dim=0)
    kept = importance.topk(size).indices.sort().values
    return layer | {
        name: tensor.index_select(along + 1, kept).flatten(along, along + 1)
        for name, (along, tensor) in neurons.items()
    }


class Pretrained(NamedTuple):
    """A compact encoder: its configuration, with the labels of the data, and the weights it has."""

    config: PreTrainedConfig
    tensors: dict[str, Tensor]


def build_student(
    teacher: PreTrainedModel, config: TrialConfig, pretrained: Pretrained | None = None
) -> PreTrainedModel:
    """A student of `teacher`, or from `pretrained` if given, random weights drawn from
    `config.seed`, to which it sets torch's generator."""
    torch.manual_seed(config.seed)
    if pretrained is not None:
        student, chosen = new_model(copy.deepcopy(pretrained.config)), pretrained.tensors
    else:
        student = new_model(student_config(teacher.config, config))
        chosen = copied_tensors(teacher, student, config.initialisation)
    missing, unexpected = student.load_state_dict(chosen, strict=False)
    wrong = [*unexpected, *(missing if config.initialisation in COPIED_LAYERS else [])]
    if wrong:
        raise RuntimeError(f"teacher and student don't match: {wrong}")
    return student


def check_pretrained(
    config: TrialConfig, teacher: PreTrainedConfig, student: PreTrainedConfig, teachers_tokens: bool
) -> None:
    """UserError for a trial of `--student` that its layers, or its tokens, do not allow."""
    check_same_tokens(config, teachers_tokens=teachers_tokens)
    if config.relation_weight:
        check_relations(config.relation_heads, teacher, student)
    layers = teacher.num_hidden_layers
    if config.aligned_layers != NO_LAYERS and layers % config.student_layers:
        raise UserError(
            f"--student: its {config.student_layers} layers do not divide the teacher's {layers}, "
            f"so none can be aligned; give --set aligned_layers={NO_LAYERS}"
        )
