"""Checkpoints: plain files, and refused where they belong to another trial."""

from dataclasses import replace

import pytest
from safetensors.torch import load_file

from trainable.checkpoint import (
    STATE,
    TENSORS,
    CheckpointError,
    load_checkpoint,
    save_checkpoint,
)
from trainable.folders import read_json
from trainable.trial import Trial


@pytest.fixture
def saved(task, make_config, cpu, tmp_path):
    trial = Trial.start(make_config(), task, cpu)
    next(iter(trial.run()))
    save_checkpoint(trial, tmp_path)
    return trial, tmp_path


def test_only_json_and_safetensors(saved):
    trial, folder = saved
    assert sorted(path.name for path in folder.iterdir()) == [STATE, TENSORS]
    state = read_json(folder / STATE)
    assert state["step"] == 4
    assert state["config"] == trial.config.to_dict()
    names = set(load_file(folder / TENSORS))
    weights = {name for name in names if name.startswith("student.")}
    assert weights == {f"student.{name}" for name, _ in trial.student.named_parameters()}
    assert {f"optimiser.exp_avg.{name}" for name in weights} <= names


def test_another_configuration_is_refused(saved, task, make_config, cpu):
    with pytest.raises(CheckpointError, match="its config is not"):
        load_checkpoint(saved[1], make_config(seed=5), task, cpu)


def test_another_teacher_is_refused(saved, task, make_config, cpu):
    other = replace(task, teacher=replace(task.teacher, digest="0" * 64))
    with pytest.raises(CheckpointError, match="its teacher_digest is not"):
        load_checkpoint(saved[1], make_config(), other, cpu)


def test_parameters_without_gradient_have_no_state(task, make_config, cpu, tmp_path):
    """Some heads leave a pooler unused; such a parameter comes back all the same."""
    trial = Trial.start(make_config(), task, cpu)
    frozen = trial.student.bert.pooler.dense.weight
    frozen.requires_grad_(False)
    next(iter(trial.run()))
    save_checkpoint(trial, tmp_path)
    again = load_checkpoint(tmp_path, make_config(), task, cpu)
    assert again.student.bert.pooler.dense.weight not in again.optimiser.state
