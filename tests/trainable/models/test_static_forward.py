import copy
import pickle
from unittest.mock import Mock

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from tests.conftest import ARCHITECTURES, tiny_classifier
from trainable.models.static_forward import attention_input, make_static

MASK = torch.tensor([[1, 1, 0], [1, 1, 1]])
IDS = torch.tensor([[2, 7, 0], [2, 9, 3]])
WITH_POSITIONS = ["mpnet", "deberta-v2"]


def logits(model, ids=IDS, mask=MASK):
    with torch.no_grad():
        return model(input_ids=ids, attention_mask=attention_input(model.config, mask)).logits


def static_classifier(architecture):
    model = tiny_classifier(architecture)
    make_static(model)
    return model


def test_masks_for_what_is_not_known_stay_as_they_are():
    for model_type, attention in (("new", "sdpa"), ("bert", "flash_attention_2")):
        config = tiny_classifier("bert").config
        config.model_type, config._attn_implementation = model_type, attention
        assert attention_input(config, MASK) is MASK


@pytest.mark.parametrize("architecture", ["bert", "electra"])
def test_eager_attention_where_it_is_asked_for(architecture):
    model = tiny_classifier(architecture)
    model.set_attn_implementation("eager")
    expected = model(input_ids=IDS, attention_mask=MASK).logits
    assert torch.allclose(logits(model), expected, atol=1e-6)


@pytest.mark.parametrize("architecture", WITH_POSITIONS)
def test_positions_are_built_once(architecture, monkeypatch):
    model = static_classifier(architecture)
    first = logits(model)
    library = type(model.base_model.encoder).__mro__[1]

    fail = Mock(side_effect=AssertionError("built again"))
    if architecture == "deberta-v2":
        monkeypatch.setattr(f"{library.__module__}.build_relative_position", fail)
    else:
        monkeypatch.setattr(library, "relative_position_bucket", fail)
    make_static(model)  # a second time
    assert torch.equal(logits(model), first)
    with pytest.raises(AssertionError, match="built again"):
        logits(tiny_classifier(architecture))  # no other model is changed


@pytest.mark.parametrize("architecture", WITH_POSITIONS)
def test_training_after_an_evaluation_in_inference_mode(architecture):
    model = static_classifier(architecture)
    with torch.inference_mode():
        logits(model)
    model(input_ids=IDS, attention_mask=attention_input(model.config, MASK)).logits.sum().backward()
    assert next(model.parameters()).grad.abs().max() > 0


@pytest.mark.parametrize("architecture", ["bert", *WITH_POSITIONS])
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_stand_on_their_own(architecture, copied):
    model = static_classifier(architecture)
    expected, twin = logits(model), copied(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert torch.equal(logits(twin), expected)
    assert type(twin.base_model.encoder) is type(model.base_model.encoder)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_saved_model_is_the_librarys(architecture, tmp_path):
    model = tiny_classifier(architecture)
    before = [*model.state_dict()], [*map(id, model.parameters())]
    make_static(model)
    expected = logits(model)
    assert ([*model.state_dict()], [*map(id, model.parameters())]) == before
    model.save_pretrained(tmp_path)
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    encoder = getattr(loaded.base_model, "encoder", loaded.base_model)
    assert type(encoder).__module__.startswith("transformers.")
    assert model.config.architectures == [type(loaded).__name__]
    assert torch.equal(logits(loaded), expected)
