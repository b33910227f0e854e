"""Models from outside: read as data, and refused in one line where they are not intact."""

import io
import json
import pickle
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification, BertConfig, GPT2Config, T5Config

from tests.conftest import ARCHITECTURES, SIZES, tiny_classifier, user_error
from trainable.models.loading import load_classifier
from trainable.trial.preparation import Preparation

EVERY_ARCHITECTURE = pytest.mark.parametrize("architecture", ARCHITECTURES)
WEIGHTS = "model.safetensors"


@pytest.fixture
def make_folder(tmp_path, tokenizer):
    """A model with its tokenizer, as a user would give it: a classifier, or only its encoder."""

    def make(architecture="bert", *, headless=False, **changes):
        model = tiny_classifier(architecture, **changes)
        (model.base_model if headless else model).save_pretrained(tmp_path)
        tokenizer.save_pretrained(tmp_path)
        return tmp_path

    return make


@pytest.fixture
def load(loaded):
    return lambda folder: Preparation.load(replace(loaded, teacher_source=str(folder)))


@pytest.fixture
def refusal(load):
    """What is said of a folder that is refused: one line, after the flag and the folder."""

    def message(folder):
        start, text = f"--teacher {folder}: ", user_error(load, folder)
        assert text.startswith(start)
        return text.removeprefix(start)

    return message


def edit(path, **values):
    """Changes entries of a JSON file."""
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def rewrite(folder, change):
    """Changes the weights, by name; returns what there is then."""
    tensors = change(load_file(folder / WEIGHTS))
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    return tensors


def without(words):
    return lambda tensors: {name: t for name, t in tensors.items() if words not in name}


@EVERY_ARCHITECTURE
def test_weights_of_more_or_fewer_layers_are_refused(make_folder, refusal, architecture):
    folder = make_folder(architecture)
    whole = load_file(folder / WEIGHTS)
    third = sorted(name for name in whole if ".2." in name)
    edit(folder / "config.json", num_hidden_layers=2, layer_types=None)
    surplus = f"its weights have more layers than the 2 of its configuration, such as {third[0]}"
    assert refusal(folder) == f"{surplus}; give an intact model"
    edit(folder / "config.json", num_hidden_layers=6, layer_types=None)
    missing = f"{2 * len(third)} of its weights are missing, such as {third[0]}; give an intact mo"
    assert refusal(folder).startswith(missing.replace(".2.", ".4."))
    edit(folder / "config.json", num_hidden_layers=10_000_000)  # and these are never built
    assert "its configuration has 10,000,000 layers, more than 200" in refusal(folder)
    edit(folder / "config.json", num_hidden_layers=4, layer_types=None)
    for words, count in ((".2.", len(third)), (third[-1], 1)):
        rewrite(folder, lambda _, words=words: without(words)(whole))
        said = f"{count} of its weights are missing, such as {third[0 if count > 1 else -1]};"
        assert refusal(folder).startswith(said)


@EVERY_ARCHITECTURE
@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_one_weight_of_the_head_is_no_number(make_folder, refusal, architecture, value):
    folder = make_folder(architecture)
    tensors = load_file(folder / WEIGHTS)
    (name,) = [n for n, tensor in tensors.items() if "class" in n and tensor.shape == (2, 32)]
    tensors[name][1, -1] = value
    rewrite(folder, lambda _: tensors)
    assert refusal(folder) == f"NaN or infinite weights in {name}; give an intact model"


@EVERY_ARCHITECTURE
def test_an_encoder_needs_no_head_and_no_pooler(make_folder, load, refusal, architecture):
    folder = make_folder(architecture, headless=True)
    given = rewrite(folder, without("pooler"))
    found = load(folder)
    assert not found.fitted
    assert found.base.config.id2label == {0: "even", 1: "odd"}
    loaded = found.base.base_model.state_dict()
    assert {name for name in loaded if "pooler" not in name} == set(given)
    assert all(torch.equal(loaded[name], tensor) for name, tensor in given.items())
    edit(folder / "config.json", num_hidden_layers=2, layer_types=None)
    assert refusal(folder).startswith("its weights have more layers than the 2 of its config")
    edit(folder / "config.json", num_hidden_layers=6, layer_types=None)
    assert " of its weights are missing, such as " in refusal(folder)


def test_a_fitted_classifier_needs_its_head_and_pooler(make_folder, refusal):
    for words, name in (("classifier", "classifier.bias"), ("pooler", "bert.pooler.dense.bias")):
        rewrite(folder := make_folder(), without(words))
        assert refusal(folder).startswith(f"2 of its weights are missing, such as {name};")


DECODERS = {
    "bert": BertConfig(**SIZES, is_decoder=True),
    "gpt2": GPT2Config(vocab_size=205, n_embd=32, n_layer=4, n_head=4, pad_token_id=0),
    "t5": T5Config(vocab_size=205, d_model=32, d_kv=8, num_layers=4, num_heads=4, d_ff=64),
}


@pytest.mark.parametrize("name", DECODERS)
def test_a_decoder_is_refused(make_folder, refusal, name):
    model = AutoModelForSequenceClassification.from_config(DECODERS[name])
    model.save_pretrained(folder := make_folder())
    assert refusal(folder).startswith("no usable model; it is a decoder; give an encoder")


# Tokenizers.


@pytest.mark.parametrize("architecture", sorted({*ARCHITECTURES} - {"modernbert"}))
def test_a_folder_without_tokenizer_files(make_folder, refusal, architecture):
    """The library makes one up, of special tokens alone."""
    for path in (folder := make_folder(architecture)).glob("tokenizer*"):
        path.unlink()
    said = f"its tokenizer has {7 if architecture == 'deberta-v2' else 5} tokens, its model 205; "
    assert refusal(folder) == f"{said}put the model's tokenizer files into the folder"


@pytest.mark.parametrize(("rows", "accepted"), [(204, 0), (205, 1), (410, 1), (1411, 0)])
def test_how_many_tokens_a_tokenizer_may_have(make_folder, load, refusal, rows, accepted):
    folder = make_folder(vocab_size=rows)
    if accepted:
        assert len(load(folder).tokenizer) == 205
    else:
        assert refusal(folder).startswith(f"its tokenizer has 205 tokens, its model {rows:,}; put")


def test_tokenizers_that_are_of_no_use(make_folder, refusal, tokenizer, tmp_path):
    (tmp_path / "empty").mkdir()
    assert refusal(tmp_path / "empty").startswith("has no usable tokenizer; ")
    bare = tokenizer.__class__(tokenizer_object=tokenizer.backend_tokenizer, unk_token="[UNK]")
    bare.save_pretrained(folder := make_folder())
    assert refusal(folder) == "its tokenizer has no padding token"


# Code.


class Ran:
    """Makes a folder as it is unpickled."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return Path.mkdir, (self.folder,)


def test_code_in_pickled_weights_does_not_run(make_folder, refusal):
    folder = make_folder()
    (folder / WEIGHTS).unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Ran(folder / "ran")))
    assert refusal(folder).startswith("no usable model; ")
    assert not (folder / "ran").exists()


def test_weights_that_torch_saved_are_those_of_safetensors(make_folder, load):
    """As of DeBERTa-v3-base on the hub."""
    folder = make_folder()
    before = load(folder).base.state_dict()
    tensors = load_file(folder / WEIGHTS)
    (folder / WEIGHTS).unlink()
    torch.save(tensors, folder / "pytorch_model.bin")
    again = load(folder).base.state_dict()
    assert all(torch.equal(again[name], tensor) for name, tensor in before.items())


@pytest.fixture(params=["y\n", ""], ids=["yes", "no answer"])
def own_code(make_folder, monkeypatch, request):
    """A folder with code for what its configurations name, and someone who says yes."""
    monkeypatch.setattr(sys, "stdin", io.StringIO(9 * request.param))
    folder = make_folder()
    classes = ("BertConfig", "BertForSequenceClassification", "PreTrainedTokenizerFast")
    code = [f"open({str(folder / 'ran')!r}, 'w').close()", "from transformers import *"]
    code += [f"class Own{name}({name}): pass" for name in classes]
    (folder / "own.py").write_text("\n".join(code))
    return folder


MODEL = {
    "AutoConfig": "own.OwnBertConfig",
    "AutoModelForSequenceClassification": "own.OwnBertForSequenceClassification",
}


def test_a_model_of_a_kind_that_only_its_own_code_knows(own_code, refusal):
    edit(own_code / "config.json", model_type="own", auto_map=MODEL)
    said = refusal(own_code)
    assert said.startswith("no usable model; ")
    assert "custom code" in said
    with pytest.raises(ValueError, match="custom code"):
        load_classifier(own_code)
    assert not (own_code / "ran").exists()


def test_code_beside_a_model_and_tokenizer_of_the_library_is_left_alone(own_code, load):
    edit(own_code / "config.json", auto_map=MODEL)
    own = "OwnPreTrainedTokenizerFast"
    named = {"tokenizer_class": own, "auto_map": {"AutoTokenizer": [None, f"own.{own}"]}}
    edit(own_code / "tokenizer_config.json", **named)
    found = load(own_code)
    for part in (found.base, found.tokenizer):
        assert type(part).__module__.startswith("transformers.")
    assert not (own_code / "ran").exists()
