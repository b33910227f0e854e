"""The cache of teacher outputs: right values, and damage noticed."""

import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from search.bench.workload import DEBERTA_V3_BASE
from tests.conftest import tiny_classifier, user_error
from trainable.config.training_inputs import states_read
from trainable.data.examples import Examples
from trainable.data.tokens import load_split
from trainable.teacher.outputs import (
    ARRAY,
    StreamedOutputs,
    _new_array,
    open_outputs,
    outputs_bytes,
)
from trainable.trial.preparation import Preparation, prepare_inputs


@pytest.fixture
def split(inputs):
    return load_split(Path(inputs.tokens), "train")


@pytest.mark.parametrize("most", [None, 3])
@pytest.mark.parametrize("pool", ["cls", "mean", "tokens", "relations"])
def test_streamed_states_are_the_resident_ones(inputs, split, pool, cpu, most):
    """Whole batches and parts of them, wider than they need be, one after the other."""
    shape = {"split": split, "batch_size": 8}
    resident = open_outputs(inputs.outputs, pool, (1, 4), **shape, device=cpu)
    states = np.load(Path(inputs.outputs[pool]) / ARRAY)
    layers = np.arange(3) if pool == "relations" else np.array([0, 3])
    streamed = StreamedOutputs(resident.logits, pool, states, layers, **shape)
    examples = Examples(split, inputs.pad_id, cpu)
    for rows in (np.arange(8), np.array([31, 5, 60, 2]), np.arange(88, 96)):
        streamed.stage(rows, 16)
        for batch in examples.batch(torch.from_numpy(rows), 16).parts(most):
            found, expected = streamed.batch_hidden(batch), resident.batch_hidden(batch)
            if pool in ("tokens", "relations"):
                real = batch.attention_mask.bool()
                found, expected = found[real], expected[real]
            assert torch.equal(found, expected)
            assert found.abs().sum() > 0


def test_a_new_array_has_its_place_on_the_disk(tmp_path):
    """Or a full one would end the process, while it is filled, by SIGBUS."""
    array = _new_array(tmp_path / ARRAY, np.dtype(np.float32), (300, 1000))
    assert (array.shape, array.any()) == ((300, 1000), False)
    assert (tmp_path / ARRAY).stat().st_blocks * 512 >= array.nbytes


@pytest.mark.parametrize("part", ["cls", "tokens", "teacher"])
def test_damage_is_noticed_and_mended(loaded, runtime, options, tmp_path, part):
    fresh = replace(runtime, cache=tmp_path)
    inputs = prepare_inputs(Preparation.load(loaded), {"cls": ()}, fresh, options)
    damaged = {
        "cls": Path(inputs.outputs["cls"]) / ARRAY,
        "tokens": Path(inputs.tokens) / "train_token_ids.npy",
        "teacher": Path(inputs.teacher.folder) / "model.safetensors",
    }[part]
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[:-100] + bytes(100))
    again = prepare_inputs(Preparation.load(loaded), {"cls": ()}, fresh, options)
    assert replace(again, teacher=inputs.teacher) == inputs
    assert again.teacher.digest == inputs.teacher.digest
    assert damaged.read_bytes() == whole
    assert not list(tmp_path.rglob(".*"))


def test_bytes_are_those_of_the_layers_that_students_mirror(split, make_config):
    """Of a DeBERTa of 12 layers, 768 wide, whose students have six."""
    tokens = len(split.token_ids)
    states = states_read([make_config(student_layers=6, hidden_pool="tokens")], 12)
    assert states == {"tokens": (2, 4, 6, 8, 10, 12)}
    assert outputs_bytes(states, DEBERTA_V3_BASE, split) == tokens * 6 * 768 * 2
    rest = outputs_bytes(dict.fromkeys(("logits", "cls", "relations"), ()), DEBERTA_V3_BASE, split)
    assert rest == 96 * (2 * 4 + 12 * 768 * 2) + tokens * 3 * 768 * 2


def test_layers_that_are_kept_are_read_as_if_all_were(loaded, inputs, split, runtime, options, cpu):
    states = {"tokens": (2, 4), "cls": ()}
    some = prepare_inputs(Preparation.load(loaded), states, runtime, options)
    assert {k for k in some.outputs if some.outputs[k] != inputs.outputs[k]} == {"tokens"}
    shape = {"split": split, "batch_size": 8, "device": cpu}
    batch = Examples(split, inputs.pad_id, cpu).batch(torch.arange(8), 16)
    for kind, layers in (("tokens", (2, 4)), ("tokens", (4,)), ("cls", (1, 3))):
        opened = [open_outputs(each.outputs, kind, layers, **shape) for each in (some, inputs)]
        assert torch.equal(*(outputs.batch_hidden(batch) for outputs in opened))
    kept = Path(some.outputs["tokens"]) / ARRAY
    written = outputs_bytes({"tokens": (2, 4)}, tiny_classifier().config, split)
    assert kept.stat().st_size == 128 + written  # behind NumPy's header
    with pytest.raises(ValueError, match="3 is not in list"):
        open_outputs(some.outputs, "tokens", (2, 3), **shape)


def test_outputs_that_do_not_fit_are_refused(
    loaded, inputs, split, runtime, options, monkeypatch, tmp_path
):
    """What is in the cache needs no room."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    preparation = Preparation.load(loaded)
    again = prepare_inputs(preparation, {"tokens": ()}, runtime, options)
    assert again.outputs.items() <= inputs.outputs.items()
    fresh = replace(runtime, cache=tmp_path)
    states = {"cls": (), "tokens": ()}
    said = user_error(prepare_inputs, preparation, states, fresh, options)
    assert said.startswith(f"--cache {tmp_path}: 0.00 GB are free, and the teacher's outputs (logi")
    assert said.endswith("take 0.00 GB; give --set hidden_pool=cls or another --cache")
    assert not (tmp_path / "teachers").exists()
