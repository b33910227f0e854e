"""Checkpoints written while the training goes on: what lands on disk is the moment of `save`."""

import threading
import time

import pytest
from trainable.saving import Saver

from trainable import saving
from trainable.checkpoint import STATE, save_checkpoint, take_snapshot, write_checkpoint
from trainable.trial import Trial

SETTINGS = {"batch_size": 16, "evaluations": 3}  # 6 steps, evaluated after 2, 4 and 6


@pytest.fixture
def gate(monkeypatch):
    """Writing waits until this is set."""
    opened = threading.Event()

    def write(snapshot, folder):
        assert opened.wait(10)
        write_checkpoint(snapshot, folder)

    monkeypatch.setattr(saving, "write_checkpoint", write)
    yield opened
    opened.set()


@pytest.fixture
def trial(task, make_config, cpu):
    return Trial.start(make_config(**SETTINGS), task, cpu)


def advance(trial, steps):
    for _ in range(steps):
        trial.advance()


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def saved_now(trial, folder):
    """What a checkpoint of this moment holds, byte for byte."""
    save_checkpoint(trial, folder)
    return content(folder)


def settle(saver):
    while saver.busy:
        time.sleep(0.001)


@pytest.mark.parametrize("steps", [2, 3])
def test_training_on_while_it_is_written_changes_nothing_on_disk(
    *, trial, gate, monkeypatch, tmp_path, steps
):
    def copy_slowly(trial, buffers):
        time.sleep(0.1)
        return take_snapshot(trial, buffers)

    monkeypatch.setattr(saving, "take_snapshot", copy_slowly)
    advance(trial, steps)
    expected = saved_now(trial, tmp_path / "plain")
    saver = Saver(tmp_path / "saver")
    saver.save(trial)
    advance(trial, 3)
    gate.set()
    saver.wait()
    assert content(tmp_path / "saver") == expected
    assert saved_now(trial, tmp_path / "later")[STATE] != expected[STATE]


def test_a_save_waits_for_the_one_before_whose_buffers_it_uses(trial, monkeypatch, tmp_path):
    written, places, expected = [], [], []

    def write_late(snapshot, folder):
        time.sleep(0.1)
        write_checkpoint(snapshot, folder)
        written.append(content(folder))
        places.append({name: tensor.data_ptr() for name, tensor in snapshot.tensors.items()})

    monkeypatch.setattr(saving, "write_checkpoint", write_late)
    saver = Saver(tmp_path / "saver")
    for step in (2, 4, 6):
        advance(trial, 2)
        expected.append(saved_now(trial, tmp_path / "plain"))
        saver.save(trial)
        assert len(written) == step / 2 - 1
    saver.wait()
    assert written == expected
    assert places[0] == places[1] == places[2]


def test_busy_while_a_checkpoint_is_being_written(trial, gate, tmp_path):
    saver = Saver(tmp_path)
    assert not saver.busy
    saver.save(trial)
    assert saver.busy
    assert not (tmp_path / STATE).exists()
    gate.set()
    settle(saver)
    assert (tmp_path / STATE).exists()
    saver.wait()
    assert not saver.busy


def test_waiting_for_nothing_returns_at_once(tmp_path):
    Saver(tmp_path / "never").wait()
    assert not (tmp_path / "never").exists()


@pytest.mark.parametrize("finder", ["wait", "save"])
def test_a_failure_to_write_is_raised_once_by_whoever_waits_next(
    trial, monkeypatch, tmp_path, finder
):
    saver = Saver(tmp_path)
    with monkeypatch.context() as full_disk:
        full_disk.setattr(saving, "write_checkpoint", fail)
        saver.save(trial)
        settle(saver)
    with pytest.raises(OSError, match="No space left"):
        saver.wait() if finder == "wait" else saver.save(trial)
    saver.wait()
    assert content(tmp_path) == {}
    saver.save(trial)
    saver.wait()
    assert (tmp_path / STATE).exists()


def fail(snapshot, folder):
    raise OSError(28, "No space left on device")


def test_held_seconds_are_those_that_training_stood_still(trial, gate, tmp_path):
    saver = Saver(tmp_path)
    saver.save(trial)
    time.sleep(2)  # training goes on
    gate.set()
    settle(saver)
    saver.wait()
    copying = saver.held_seconds
    assert 0 < copying < 2
    gate.clear()
    saver.save(trial)
    start = time.perf_counter()
    threading.Timer(0.2, gate.set).start()
    saver.wait()
    waited = time.perf_counter() - start
    assert saver.held_seconds - copying > 0.9 * waited > 0.1


def test_what_comes_then_finds_the_checkpoint_and_is_waited_for(trial, tmp_path):
    found, opened = [], threading.Event()

    def then():
        assert opened.wait(10)
        found.append((tmp_path / STATE).exists())

    with Saver(tmp_path, then) as saver:
        saver.save(trial)
        time.sleep(0.05)
        assert (saver.busy, found) == (True, [])
        opened.set()
        saver.wait()
        assert (saver.busy, found) == (False, [True])


def test_a_failure_of_what_comes_then_is_raised_by_whoever_waits(trial, tmp_path):
    def then():
        raise OSError("no route")

    with Saver(tmp_path, then) as saver:
        saver.save(trial)
        with pytest.raises(OSError, match="no route"):
            saver.wait()
