import copy
import pickle

import pytest
import torch
from transformers import AutoModelForSequenceClassification
from transformers.models.deberta_v2.modeling_deberta_v2 import DebertaV2Encoder
from transformers.models.mpnet.modeling_mpnet import MPNetEncoder

from tests.conftest import ARCHITECTURES, tiny_classifier
from trainable.static_forward import (
    MASK_PASSES_THROUGH,
    PositionTables,
    attention_input,
    make_static,
)

MASK = torch.tensor([[1, 1, 0], [1, 1, 1]])
IDS = torch.tensor([[2, 7, 0], [2, 9, 3]])
WITH_POSITIONS = ["mpnet", "deberta-v2"]


def configuration(model_type, attention):
    """As much of a configuration as the mask depends on."""
    model = tiny_classifier("bert")
    model.config.model_type = model_type
    model.config._attn_implementation = attention
    return model.config


def logits(model, ids=IDS, mask=MASK):
    with torch.no_grad():
        return model(input_ids=ids, attention_mask=attention_input(model.config, mask)).logits


def static_classifier(architecture):
    model = tiny_classifier(architecture)
    make_static(model)
    return model


@pytest.mark.parametrize("model_type", ["bert", "roberta", "xlm-roberta", "electra", "camembert"])
def test_mask_for_sdpa_says_who_is_attended_to(model_type):
    found = attention_input(configuration(model_type, "sdpa"), MASK)
    assert found.dtype == torch.bool
    assert found[0].tolist() == [[[True, True, False]] * 3]
    assert found[1].tolist() == [[[True, True, True]] * 3]


@pytest.mark.parametrize("model_type", sorted(MASK_PASSES_THROUGH))
def test_mask_for_eager_attention_is_added(model_type):
    found = attention_input(configuration(model_type, "eager"), MASK)
    lowest = torch.finfo(torch.float32).min
    assert found.dtype == torch.float32
    assert found.tolist() == [[[[0, 0, lowest]]], [[[0, 0, 0]]]]


@pytest.mark.parametrize(
    ("model_type", "attention"),
    [("deberta-v2", "eager"), ("a-new-one", "sdpa"), ("bert", "flash_attention_2")],
)
def test_other_masks_stay_as_they_are(model_type, attention):
    assert attention_input(configuration(model_type, attention), MASK) is MASK


def test_attention_implementations():
    """What the library gives each architecture where nobody asks; the mask follows it."""
    found = {a: tiny_classifier(a).config._attn_implementation for a in ARCHITECTURES}
    assert found == {
        "bert": "sdpa",
        "roberta": "sdpa",
        "electra": "sdpa",
        "mpnet": "eager",
        "deberta-v2": "eager",
    }


@pytest.mark.parametrize("architecture", ["bert", "electra"])
def test_eager_attention_where_it_is_asked_for(architecture):
    model = tiny_classifier(architecture)
    model.set_attn_implementation("eager")
    expected = model(input_ids=IDS, attention_mask=MASK).logits
    assert torch.allclose(logits(model), expected, atol=1e-6)


def test_tables_are_corners_of_powers_of_two():
    tables, built = PositionTables(), []

    def build(size):
        built.append(size)
        positions = torch.arange(size)
        return positions[:, None] - positions[None, :]

    found = [tables.corner(length, torch.device("cpu"), build) for length in (3, 4, 1, 5, 8)]
    assert built == [4, 1, 8]
    assert found[0].tolist() == [[0, -1, -2], [1, 0, -1], [2, 1, 0]]
    assert [table.shape[0] for table in found] == [3, 4, 1, 5, 8]
    assert found[0].data_ptr() == found[1].data_ptr()  # a view: nothing is computed
    tables.corner(3, torch.device("meta"), lambda size: torch.empty(size, size, device="meta"))
    assert len(tables.tables) == 4


@pytest.mark.parametrize("architecture", WITH_POSITIONS)
def test_positions_are_built_once(architecture, monkeypatch):
    model = static_classifier(architecture)
    first = logits(model)

    def fail(*_, **__):
        raise AssertionError("built again")

    module = type(model.base_model.encoder).__mro__[1].__module__
    if architecture == "deberta-v2":
        monkeypatch.setattr(f"{module}.build_relative_position", fail)
    else:
        monkeypatch.setattr(MPNetEncoder, "relative_position_bucket", fail)
    assert torch.equal(logits(model), first)
    with pytest.raises(AssertionError, match="built again"):
        logits(tiny_classifier(architecture))


@pytest.mark.parametrize("architecture", WITH_POSITIONS)
def test_training_after_an_evaluation_in_inference_mode(architecture):
    model = static_classifier(architecture)
    with torch.inference_mode():
        logits(model)
    model(input_ids=IDS, attention_mask=attention_input(model.config, MASK)).logits.sum().backward()
    assert next(model.parameters()).grad.abs().max() > 0


def test_only_the_given_model_changes():
    before = {cls: dict(vars(cls)) for cls in (DebertaV2Encoder, MPNetEncoder)}
    others = [tiny_classifier(architecture) for architecture in WITH_POSITIONS]
    for architecture in WITH_POSITIONS:
        static_classifier(architecture)
    assert [type(o.base_model.encoder) for o in others] == [MPNetEncoder, DebertaV2Encoder]
    assert {cls: dict(vars(cls)) for cls in before} == before


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_parameters_stay(architecture):
    model = tiny_classifier(architecture)
    names = list(model.state_dict())
    parameters = list(model.parameters())
    make_static(model)
    logits(model)
    assert list(model.state_dict()) == names
    assert all(a is b for a, b in zip(model.parameters(), parameters, strict=True))


@pytest.mark.parametrize("architecture", WITH_POSITIONS)
def test_second_call_keeps_the_tables(architecture):
    model = static_classifier(architecture)
    logits(model)
    kind, tables = type(model.base_model.encoder), model.base_model.encoder.position_tables
    make_static(model)
    assert type(model.base_model.encoder) is kind
    assert model.base_model.encoder.position_tables is tables


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_stand_on_their_own(architecture, copied):
    model = static_classifier(architecture)
    expected = logits(model)
    twin = copied(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert torch.equal(logits(twin), expected)
    assert type(twin.base_model.encoder) is type(model.base_model.encoder)
    if architecture in WITH_POSITIONS:
        tables = (twin.base_model.encoder.position_tables, model.base_model.encoder.position_tables)
        assert tables[0] is not tables[1]


@pytest.mark.parametrize("architecture", WITH_POSITIONS)
def test_positions_follow_the_device(architecture):
    model = static_classifier(architecture)
    expected = logits(model)
    twin = copy.deepcopy(model).to("meta")
    assert logits(twin, IDS.to("meta"), MASK.to("meta")).device.type == "meta"
    twin.to_empty(device="cpu")
    twin.load_state_dict(model.state_dict())
    for name, buffer in model.named_buffers():  # those that aren't saved
        twin.get_buffer(name).copy_(buffer)
    assert torch.equal(logits(twin), expected)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_saved_model_is_the_librarys(architecture, tmp_path):
    model = static_classifier(architecture)
    model.save_pretrained(tmp_path)
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    assert type(loaded.base_model.encoder).__module__.startswith("transformers.")
    assert model.config.architectures == [type(loaded).__name__]
    assert torch.equal(logits(loaded), logits(model))
