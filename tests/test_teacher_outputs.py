"""The cache of teacher outputs: right values, and damage noticed."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from tests.conftest import padded_batch
from trainable.preparation import Preparation, prepare_inputs
from trainable.sentences import Sentences
from trainable.teacher import load_teacher
from trainable.teacher_outputs import ARRAY, HiddenStates, StreamedHidden, open_outputs
from trainable.tokens import load_split


@pytest.fixture
def split(inputs):
    return load_split(Path(inputs.tokens), "train")


def states_of(inputs, split, row):
    """The teacher's layer states of one sentence, [L, T, H], run alone."""
    ids = torch.from_numpy(split.token_ids[split.offsets[row] : split.offsets[row + 1]]).long()
    with torch.no_grad():
        states = load_teacher(inputs.teacher.folder)(ids[None], output_hidden_states=True)
    return torch.cat(states.hidden_states[1:])


def opened(inputs, split, pool, layers=(2, 4)):
    hidden = HiddenStates(Path(inputs.outputs[pool]), pool, layers)
    cpu = torch.device("cpu")
    return open_outputs(Path(inputs.outputs["logits"]), hidden, split, batch_size=8, device=cpu)


@pytest.mark.parametrize("pool", ["cls", "mean", "tokens"])
def test_hidden_states(inputs, split, pool, cpu):
    rows = np.array([4, 0, 31])
    batch = padded_batch(split, rows, inputs.pad_id, cpu)
    found = opened(inputs, split, pool).batch_hidden(batch).float()
    for index, row in enumerate(rows):
        states = states_of(inputs, split, row)[[1, 3]]  # layers 2 and 4: [2, T, H]
        length = states.shape[1]
        if pool == "tokens":
            expected = functional.normalize(states, dim=-1).transpose(0, 1)  # [T, 2, H]
            mine = found[index, :length]
        else:
            pooled = states[:, 0] if pool == "cls" else states.mean(dim=1)
            expected, mine = functional.normalize(pooled, dim=-1), found[index]
        torch.testing.assert_close(mine, expected, rtol=0, atol=5e-4)


def test_logits(inputs, split, cpu):
    rows = np.array([7, 1])
    batch = padded_batch(split, rows, inputs.pad_id, cpu)
    found = opened(inputs, split, "cls").batch_logits(batch)
    for mine, row in zip(found, rows, strict=True):
        ids = torch.from_numpy(split.token_ids[split.offsets[row] : split.offsets[row + 1]])
        with torch.no_grad():
            expected = load_teacher(inputs.teacher.folder)(ids.long()[None]).logits[0]
        torch.testing.assert_close(mine, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("most", [None, 3])
@pytest.mark.parametrize("pool", ["cls", "mean", "tokens"])
def test_streamed_states_are_the_resident_ones(inputs, split, pool, cpu, most):
    """Whole batches and parts of them, wider than they need be, one after the other."""
    wanted = HiddenStates(Path(inputs.outputs[pool]), pool, (1, 4))
    states = np.load(wanted.folder / ARRAY)
    streamed = StreamedHidden(states, wanted, split, 8, cpu)
    resident = opened(inputs, split, pool, layers=(1, 4)).hidden
    sentences = Sentences.on_device(split, inputs.pad_id, cpu)
    for rows in (np.arange(8), np.array([31, 5, 60, 2]), np.arange(88, 96)):
        streamed.stage(rows, 16)
        for batch in sentences.batch(torch.from_numpy(rows), 16).parts(most):
            found, expected = streamed.of_batch(batch), resident.of_batch(batch)
            if pool == "tokens":
                real = batch.attention_mask.bool()
                found, expected = found[real], expected[real]
            assert torch.equal(found, expected)
            assert found.abs().sum() > 0


@pytest.mark.parametrize("part", ["cls", "tokens", "teacher"])
def test_damage_is_noticed_and_mended(loaded, environment, options, tmp_path, part):
    fresh = replace(environment, cache=tmp_path)
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
