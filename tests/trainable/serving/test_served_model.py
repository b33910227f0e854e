"""Exported folders as they are served: the logits of plain transformers, whatever runs them."""

import copy
import json
import shutil
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from tests.conftest import tiny_classifier, user_error
from trainable.config.names import INT8, ONNX
from trainable.serving import onnx_export, served_model
from trainable.serving.onnx_export import export_onnx, layers_of, quantise, quantise_within
from trainable.serving.served_model import ONNX_FILES, ServedModel, TextEncoder, _python_encoder

TEXTS = ["w1 w2 w3", "w4", "w5 w9 " * 20, "w7 w8"]
PAIRS = [("w1 w2", "w3 w4 w5"), ("w6", "w7"), ("w8 w9 " * 20, "w1"), ("w2", "w3 " * 30)]


@pytest.fixture(scope="module")
def make_folder(tokenizer, tmp_path_factory):
    """A served folder of an architecture, made once, whose texts are cut to 16 tokens."""

    @cache
    def make(architecture):
        folder = tmp_path_factory.mktemp(architecture)
        types = {"type_vocab_size": 2} if architecture == "bert" else {}
        tiny_classifier(architecture, num_hidden_layers=2, **types).save_pretrained(folder)
        own = copy.deepcopy(tokenizer)
        own.model_max_length = 16
        own.save_pretrained(folder)
        return folder

    return make


def with_onnx(folder):
    """The folder with its ONNX form, which is made once."""
    if not (folder / ONNX_FILES[ONNX]).exists():
        export_onnx(folder, folder / ONNX_FILES[ONNX])
    return folder


@torch.no_grad()
def plain_logits(folder, texts):
    """One at a time, with plain transformers."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    types = getattr(model.config, "type_vocab_size", 0) > 1
    names = ("input_ids", "attention_mask", *(("token_type_ids",) if types else ()))
    rows = []
    for text in texts:
        first, second = text if isinstance(text, tuple) else (text, None)
        options = {"truncation": True, "return_tensors": "pt", "return_token_type_ids": True}
        encoded = tokenizer(first, second, **options)
        rows.append(model(**{name: encoded[name] for name in names}).logits[0].numpy())
    return np.stack(rows)


@pytest.mark.parametrize("architecture", ["bert", "deberta-v2", "mpnet"])
def test_pytorch_and_onnx_give_the_logits_of_plain_transformers(make_folder, architecture):
    folder = with_onnx(make_folder(architecture))
    operators = {node.op_type for node in onnx.load(folder / ONNX_FILES[ONNX]).graph.node}
    assert "Gelu" in operators
    assert "IsNaN" not in operators  # which torch's attention has
    for texts in (TEXTS, PAIRS):
        expected = plain_logits(folder, texts)
        for form in ("pytorch", ONNX):
            found = ServedModel.load(folder, form).logits(texts, batch_size=3)
            np.testing.assert_allclose(found, expected, atol=1e-5, rtol=0, err_msg=form)


def int8_weights(path):
    tensors = [t for t in onnx.load(path).graph.initializer if t.data_type == onnx.TensorProto.INT8]
    return [onnx.numpy_helper.to_array(tensor) for tensor in tensors if len(tensor.dims) == 2]


def test_int8_is_near_and_smaller_and_leaves_a_layer_alone(make_folder):
    folder = with_onnx(make_folder("bert"))
    source, target = folder / ONNX_FILES[ONNX], folder / ONNX_FILES[INT8]
    assert [*layers_of(source)] == ["embeddings", "layer.0", "layer.1", "head"]
    reference = ServedModel.load(folder, ONNX).logits(TEXTS)
    quantise(source, target)
    whole = np.abs(ServedModel.load(folder, INT8).logits(TEXTS) - reference).max()
    assert 0 < whole < 0.1 * np.abs(reference).max()
    small, weights = target.stat().st_size, int8_weights(target)
    # Of 7 bits: two products of 64 by 255 fit the 16 bits that they are added in.
    assert {int(np.abs(weight).max()) for weight in weights} == {64}
    layers = layers_of(source)
    for kept in [*layers][1:]:  # the embeddings' are not signed
        quantise(source, target, [kept])
        assert len(int8_weights(target)) == len(weights) - len(layers[kept])
    quantise(source, target, [*layers][:-1])
    assert len(int8_weights(target)) == len(layers["head"]) < len(weights)
    assert small < target.stat().st_size < source.stat().st_size
    assert np.abs(ServedModel.load(folder, INT8).logits(TEXTS) - reference).max() > 0


@pytest.mark.parametrize(
    ("harm", "kept"),
    [
        ({"layer.1": 0.2}, []),
        ({"layer.1": 2.0, "head": 0.4}, ["layer.1"]),
        ({"layer.1": 2.0, "head": 3.0}, ["head", "layer.1"]),
        ({"embeddings": 1.0, "layer.0": 1.0, "layer.1": 1.0, "head": 1.0}, None),
    ],
)
def test_the_layers_that_lose_most_stay_in_float(monkeypatch, tmp_path, harm, kept):
    """Each layer's harm adds up; a file holds the sum."""
    layers = dict.fromkeys(("embeddings", "layer.0", "layer.1", "head"))
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_text("0")

    def quantised(source, target, float_layers=()):
        target.write_text(str(sum(v for k, v in harm.items() if k not in float_layers)))

    def read(path):
        return np.array([float(path.read_text())])

    monkeypatch.setattr(onnx_export, "layers_of", lambda path: layers)
    monkeypatch.setattr(onnx_export, "quantise", quantised)
    assert quantise_within(source, target, read, lambda a: a[0], 0.5) == kept
    assert target.exists() == (kept is not None)


def test_texts_are_cut_on_the_side_on_which_the_tokenizer_cuts(make_folder, tmp_path):
    own = AutoTokenizer.from_pretrained(make_folder("roberta"), truncation_side="left")
    own.save_pretrained(tmp_path)
    long = [" ".join(f"w{number}" for number in range(1, 30))]
    encoded = TextEncoder.load(tmp_path).encode(long)
    assert [ids for ids, _ in encoded] == own(long, truncation=True)["input_ids"]


def test_more_texts_than_are_encoded_at_a_time_stay_in_their_order(make_folder, monkeypatch):
    model = ServedModel.load(make_folder("electra"))
    assert model.label_names == ["LABEL_0", "LABEL_1"]  # transformers' own, where none are named
    expected = model.logits(TEXTS)
    monkeypatch.setattr(served_model, "ENCODED", 3)
    np.testing.assert_allclose(model.logits(TEXTS), expected, atol=1e-6, rtol=0)
    assert model.logits([]).shape == (0, 2)


@pytest.mark.parametrize("types", [[], ["token_type_ids"]])
def test_a_tokenizer_written_in_python_serves_too(make_folder, tmp_path, types):
    """One that gives no types of tokens gave none in training, either."""
    folder = Path(shutil.copytree(make_folder("electra"), tmp_path / "slow"))
    path, names = folder / "tokenizer_config.json", ["input_ids", *types, "attention_mask"]
    path.write_text(json.dumps(json.loads(path.read_text()) | {"model_input_names": names}))
    expected = ServedModel.load(folder).logits(TEXTS)
    encoder = TextEncoder.load(folder)
    slow = _python_encoder(folder, encoder.longest)
    assert slow.pad_id == encoder.pad_id
    for texts in (TEXTS, PAIRS):
        assert [(list(i), list(t)) for i, t in slow.encode(texts)] == encoder.encode(texts)
    assert any(any(own) for _, own in slow.encode(PAIRS)) == bool(types)
    again = replace(ServedModel.load(folder), encoder=slow).logits(TEXTS)
    np.testing.assert_array_equal(again, expected)


def test_a_folder_that_holds_no_model_is_named(tmp_path):
    assert "has no readable config.json" in user_error(ServedModel.load, tmp_path)
