"""Models and tokenizers of a folder or the hub, read as data: no code of theirs is ever run.

All weights are read here, in fp32.
"""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.utils import SAFE_WEIGHTS_NAME

from trainable.common.errors import UserError
from trainable.common.files import atomic_file
from trainable.config.training_inputs import TrainingInputs
from trainable.config.trial_config import TrialConfig
from trainable.models.students import Pretrained, encoder_layers, student_config

MOST_LAYERS = 200  # to build millions takes minutes; encoders have up to 48
LEAST_VOCABULARY = 0.5  # of the model's, that its tokenizer must know


def load_config(source: Any) -> PreTrainedConfig:
    """The configuration of a model; ValueError for one with too many layers."""
    config = AutoConfig.from_pretrained(source, trust_remote_code=False)
    if (layers := config.num_hidden_layers) > MOST_LAYERS:
        raise ValueError(f"its configuration has {layers:,} layers, more than {MOST_LAYERS:,}")
    return config


def load_tokenizer(source: Any) -> Any:
    """The tokenizer that comes with a model."""
    return AutoTokenizer.from_pretrained(source, trust_remote_code=False)


def load_classifier(source: Any, **head: Any) -> PreTrainedModel:
    """A sequence classifier; a head that is not in the weights is drawn from torch's generator."""
    return _load(source, head)[0]


def load_weights(folder: Path) -> dict[str, Tensor]:
    """The weights of a model's folder, by name."""
    weights: dict[str, Tensor] = load_file(folder / SAFE_WEIGHTS_NAME)
    return weights


def save_weights(weights: dict[str, Tensor], folder: Path) -> None:
    """Puts them in the place of a folder's, which other users may read as they may the rest."""
    with atomic_file(folder / SAFE_WEIGHTS_NAME) as path:  # loaded weights view the old one
        path.write_bytes(save(weights, metadata={"format": "pt"}))


def load_pretrained(folder: Path) -> Pretrained:
    """What `save_pretrained` wrote."""
    return Pretrained(load_config(folder), load_weights(folder))


def save_pretrained(model: PreTrainedModel, missing: Collection[str], folder: Path) -> None:
    """Writes a model without the weights that it did not have, which each trial draws itself."""
    tensors = {
        name: tensor.contiguous().clone()
        for name, tensor in model.state_dict().items()
        if name not in missing
    }
    save_weights(tensors, folder)
    model.config.save_pretrained(folder)


def shape_of(config: TrialConfig, inputs: TrainingInputs) -> PreTrainedConfig:
    """The configuration of a trial's student, labels included."""
    if own := inputs.pretrained_of(config):
        return load_config(own.folder)
    return student_config(load_config(inputs.teacher.folder), config)


def load_checked(
    flag: str, source: Any, *, fitted: bool, **head: Any
) -> tuple[PreTrainedModel, list[str]]:
    """A classifier from outside, and the names of the weights that it did not have.

    UserError if weights are missing (of a `fitted` classifier any, else any but the head's and the
    pooler's), are not finite, or are of more layers than the configuration has.
    """
    model, info = _load(source, head)
    layers, base = encoder_layers(model, flag)[0], f"{model.base_model_prefix}."
    missing = sorted(
        name
        for name in info["missing_keys"]
        if fitted or (name.startswith(base) and ".pooler." not in name)
    )
    surplus = [n for n in info["unexpected_keys"] if f"{layers.removeprefix(base)}." in n]
    broken = [name for name, tensor in model.state_dict().items() if not tensor.isfinite().all()]
    depth = model.config.num_hidden_layers
    problems = {
        f"{len(missing)} of its weights are missing, such as": missing,
        f"its weights have more layers than the {depth} of its configuration, such as": surplus,
        "NaN or infinite weights in": broken,
    }
    for problem, names in problems.items():
        if names:
            raise UserError(f"{flag} {source}: {problem} {min(names)}; give an intact model")
    return model, sorted(info["missing_keys"])


def check_encoder(model: PreTrainedModel) -> None:
    """ValueError for a decoder: its first token, which `cls` looks at, sees none of the others."""
    with torch.no_grad():
        pairs = () if model.config.is_encoder_decoder else torch.tensor([[[0, 0]], [[0, 1]]])
        first = [model.eval().base_model(pair)[0][0, 0] for pair in pairs]
    if not first or torch.equal(*first):
        raise ValueError("it is a decoder; give an encoder, whose tokens see those after them, too")


def check_tokenizer(flag: str, source: Any, tokenizer: Any, model: PreTrainedModel) -> None:
    """UserError unless the tokenizer has a padding token and is that of the model."""
    if tokenizer.pad_token_id is None:
        raise UserError(f"{flag} {source}: its tokenizer has no padding token")
    known, rows = len(tokenizer), model.get_input_embeddings().num_embeddings
    if not LEAST_VOCABULARY * rows <= known <= rows:
        raise UserError(
            f"{flag} {source}: its tokenizer has {known:,} tokens, its model {rows:,}; put the "
            "model's tokenizer files into the folder"
        )


def _load(source: Any, head: dict[str, Any]) -> tuple[PreTrainedModel, dict[str, Any]]:
    model, info = AutoModelForSequenceClassification.from_pretrained(
        source, dtype=torch.float32, trust_remote_code=False, output_loading_info=True, **head
    )
    assert isinstance(model, PreTrainedModel)
    return model, info
