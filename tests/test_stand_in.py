"""A stand-in has the shapes of what it stands for, and costs no training and no room."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from trainable.stand_in import stand_in_task

from trainable.preparation import Preparation, prepare_task
from trainable.teacher_outputs import ARRAY
from trainable.trial import Trial

POOLS = {"cls", "mean", "tokens"}


@pytest.fixture
def empty(environment, tmp_path):
    """The environment with a cache that has nothing."""
    return replace(environment, cache=tmp_path / "cache")


def test_what_is_in_the_cache_is_taken(inputs, environment, task):
    found = stand_in_task(Preparation.load(inputs), POOLS, environment)
    assert found.task == task
    assert not found.teacher_missing
    assert found.outputs_missing == ()
    assert found.bytes_missing == 0


def test_what_is_missing_is_made_in_its_shape(inputs, empty, task):
    found = stand_in_task(Preparation.load(inputs), POOLS, empty)
    assert found.teacher_missing
    assert set(found.outputs_missing) == set(task.outputs)
    outputs = 0
    for kind, folder in task.outputs.items():
        real = np.load(Path(folder) / ARRAY)
        made = np.load(Path(found.task.outputs[kind]) / ARRAY)
        assert (made.shape, made.dtype) == (real.shape, real.dtype)
        outputs += real.nbytes
    weights = sum(p.numel() * 4 for p in Preparation.load(inputs).base.parameters())
    assert found.bytes_missing == outputs + weights
    assert (found.task.sentences, found.task.data_digest) == (task.sentences, task.data_digest)


def test_trials_run_on_it(inputs, empty, make_config):
    found = stand_in_task(Preparation.load(inputs), POOLS, empty)
    for pool in sorted(POOLS):
        trial = Trial.start(make_config(hidden_pool=pool), found.task, torch.device("cpu"))
        assert len(list(trial.run())) == 3


def test_only_the_outputs_that_trials_read_are_missed(inputs, empty):
    prepare_task(Preparation.load(inputs), {"cls"}, empty)
    found = stand_in_task(Preparation.load(inputs), {"cls", "mean"}, empty)
    assert not found.teacher_missing
    assert found.outputs_missing == ("mean",)
