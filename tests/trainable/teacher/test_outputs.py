"""The cache of teacher outputs: right values, and damage noticed."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from trainable.data.examples import Examples
from trainable.data.tokens import load_split
from trainable.teacher.outputs import ARRAY, StreamedOutputs, open_outputs
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


@pytest.mark.parametrize("part", ["cls", "tokens", "teacher"])
def test_damage_is_noticed_and_mended(loaded, runtime, options, tmp_path, part):
    fresh = replace(runtime, cache=tmp_path)
    inputs = prepare_inputs(Preparation.load(loaded), {"cls"}, fresh, options)
    damaged = {
        "cls": Path(inputs.outputs["cls"]) / ARRAY,
        "tokens": Path(inputs.tokens) / "train_token_ids.npy",
        "teacher": Path(inputs.teacher.folder) / "model.safetensors",
    }[part]
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[:-100] + bytes(100))
    again = prepare_inputs(Preparation.load(loaded), {"cls"}, fresh, options)
    assert replace(again, teacher=inputs.teacher) == inputs
    assert again.teacher.digest == inputs.teacher.digest
    assert damaged.read_bytes() == whole
    assert not list(tmp_path.rglob(".*"))
