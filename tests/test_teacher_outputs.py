"""The cache of teacher outputs: right values, and damage noticed."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from tests.conftest import padded_batch
from trainable.preparation import Preparation, prepare_task
from trainable.sentences import Sentences
from trainable.teacher import load_teacher
from trainable.teacher_outputs import ARRAY, HiddenStates, StreamedHidden, open_outputs
from trainable.tokens import load_split


@pytest.fixture
def split(task):
    return load_split(Path(task.tokens), "train")


def states_of(task, split, row):
    """The teacher's layer states of one sentence, [L, T, H], run alone."""
    ids = torch.from_numpy(split.token_ids[split.offsets[row] : split.offsets[row + 1]]).long()
    with torch.no_grad():
        states = load_teacher(task.teacher.folder)(ids[None], output_hidden_states=True)
    return torch.cat(states.hidden_states[1:])


def opened(task, split, pool, layers=(2, 4)):
    hidden = HiddenStates(Path(task.outputs[pool]), pool, layers)
    cpu = torch.device("cpu")
    return open_outputs(Path(task.outputs["logits"]), hidden, split, batch_size=8, device=cpu)


@pytest.mark.parametrize("pool", ["cls", "mean", "tokens"])
def test_hidden_states(task, split, pool, cpu):
    rows = np.array([4, 0, 31])
    batch = padded_batch(split, rows, task.pad_id, cpu)
    found = opened(task, split, pool).batch_hidden(batch).float()
    for index, row in enumerate(rows):
        states = states_of(task, split, row)[[1, 3]]  # layers 2 and 4: [2, T, H]
        length = states.shape[1]
        if pool == "tokens":
            expected = functional.normalize(states, dim=-1).transpose(0, 1)  # [T, 2, H]
            mine = found[index, :length]
        else:
            pooled = states[:, 0] if pool == "cls" else states.mean(dim=1)
            expected, mine = functional.normalize(pooled, dim=-1), found[index]
        torch.testing.assert_close(mine, expected, rtol=0, atol=5e-4)


def test_logits(task, split, cpu):
    rows = np.array([7, 1])
    batch = padded_batch(split, rows, task.pad_id, cpu)
    found = opened(task, split, "cls").batch_logits(batch)
    for mine, row in zip(found, rows, strict=True):
        ids = torch.from_numpy(split.token_ids[split.offsets[row] : split.offsets[row + 1]])
        with torch.no_grad():
            expected = load_teacher(task.teacher.folder)(ids.long()[None]).logits[0]
        torch.testing.assert_close(mine, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("most", [None, 3])
@pytest.mark.parametrize("pool", ["cls", "mean", "tokens"])
def test_streamed_states_are_the_resident_ones(task, split, pool, cpu, most):
    """Whole batches and parts of them, wider than they need be, one after the other."""
    wanted = HiddenStates(Path(task.outputs[pool]), pool, (1, 4))
    states = np.load(wanted.folder / ARRAY)
    streamed = StreamedHidden(states, wanted, split, 8, cpu)
    resident = opened(task, split, pool, layers=(1, 4)).hidden
    sentences = Sentences.on_device(split, task.pad_id, cpu)
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
def test_damage_is_noticed_and_mended(inputs, environment, tmp_path, part):
    fresh = replace(environment, cache=tmp_path)
    task = prepare_task(Preparation.load(inputs), {"cls"}, fresh)
    damaged = {
        "cls": Path(task.outputs["cls"]) / ARRAY,
        "tokens": Path(task.tokens) / "train_token_ids.npy",
        "teacher": Path(task.teacher.folder) / "model.safetensors",
    }[part]
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[:-100] + bytes(100))
    again = prepare_task(Preparation.load(inputs), {"cls"}, fresh)
    assert replace(again, teacher=task.teacher) == task
    assert again.teacher.digest == task.teacher.digest
    assert damaged.read_bytes() == whole
    assert not list(tmp_path.rglob(".*"))
