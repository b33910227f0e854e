"""The cache of teacher outputs: right values, and damage noticed."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from trainable.preparation import Preparation, prepare_task
from trainable.sentences import Sentences
from trainable.teacher_outputs import ARRAY, HiddenStates, StreamedHidden, open_outputs
from trainable.tokens import load_split


@pytest.fixture
def split(task):
    return load_split(Path(task.tokens), "train")


def opened(task, split, pool, layers=(2, 4)):
    hidden = HiddenStates(Path(task.outputs[pool]), pool, layers)
    cpu = torch.device("cpu")
    return open_outputs(Path(task.outputs["logits"]), hidden, split, batch_size=8, device=cpu)


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
