"""What a probe measures, on a tiny trial and a clock that is known."""

import multiprocessing
import os
import signal

import numpy as np
import pytest
import torch
from search.trial_probe import in_a_process, peak_resident_bytes, probe_trials
from trainable.probe_processes import ProbeError

from search import trial_probe
from trainable import probe_processes
from trainable.batches import epoch_batches
from trainable.trial import Trial


@pytest.fixture
def trial(make_config, task):
    return Trial.start(make_config(), task, torch.device("cpu"))


@pytest.fixture
def clock(monkeypatch):
    """A clock that only steps move."""
    now = [0.0]
    monkeypatch.setattr(trial_probe.time, "perf_counter", lambda: now[0])
    return now


def alone():
    """No other process is waited for."""


def test_step_is_the_mean_of_an_epoch_whatever_batches_are_timed(trial, clock, monkeypatch):
    """Of steps that take a millisecond for each token, padding counted."""
    monkeypatch.setattr(trial_probe, "STEP_SECONDS", 0.2)
    lengths = trial.apparatus.training.sentences.lengths
    epoch = epoch_batches(lengths, 8, trial.config.seed, epoch=0)
    tokens = [len(rows) * int(lengths[rows].max()) for rows in epoch]
    taken = []

    def take(rows):
        taken.append(rows)
        clock[0] += len(rows) * int(lengths[rows].max()) / 1000

    step = trial_probe._step_seconds(trial, take)
    assert len(taken) < len(epoch)
    assert step == pytest.approx(np.mean(tokens) / 1000)


def test_evaluation_has_its_share_of_steps(trial, clock, monkeypatch, tmp_path):
    """12 steps of 0.5 s in 3 evaluations."""
    monkeypatch.setattr(trial_probe, "_step_seconds", lambda trial, take: 0.5)
    seconds = trial_probe._evaluation_seconds(trial, tmp_path / "a", alone)
    assert seconds == pytest.approx(2.0)
    monkeypatch.setattr(trial_probe, "_seconds", lambda work, trial: 7.0)
    seconds = trial_probe._evaluation_seconds(trial, tmp_path / "b", alone)
    assert seconds == pytest.approx(9.0)


def test_whole_split_counts_once_a_trial(make_config, sampled_task, clock, monkeypatch, tmp_path):
    """40 sentences once, and 13 at each of 3 evaluations."""
    trial = Trial.start(make_config(), sampled_task, torch.device("cpu"))
    monkeypatch.setattr(trial_probe, "_step_seconds", lambda trial, take: 0.0)
    monkeypatch.setattr(trial_probe, "_seconds", lambda work, trial: 100.0)
    seconds = trial_probe._evaluation_seconds(trial, tmp_path / "a", alone)
    assert seconds == pytest.approx(100.0 + 100.0 * 40 / 13 / 3)


def test_peak_memory_stays_when_memory_is_given_back():
    before = peak_resident_bytes()
    block = np.ones(50_000_000 // 8 + before // 8)
    reached = peak_resident_bytes()
    assert reached >= block.nbytes
    del block
    assert peak_resident_bytes() == pytest.approx(reached, rel=0.01)


def test_what_goes_wrong_in_a_process_is_told():
    assert in_a_process(len, "abc") == 3
    with pytest.raises(ProbeError, match="invalid literal"):
        in_a_process(int, "abc")


@pytest.fixture
def in_two(monkeypatch, make_config, task, tmp_path):
    """Probes two trials at once of which each does this, given its number, and nothing else."""
    fork = multiprocessing.get_context("fork")  # processes that need not load torch again
    monkeypatch.setattr(probe_processes, "get_context", lambda method: fork)
    monkeypatch.setattr(trial_probe, "_started", lambda config, task, workbench: None)
    monkeypatch.setattr(trial_probe, "LIMIT", 60.0)

    def probe(work):
        def evaluation_seconds(trial, folder, together):
            seconds = work(folder.parent.name.removeprefix("trial-"))
            together()
            return seconds

        monkeypatch.setattr(trial_probe, "_evaluation_seconds", evaluation_seconds)
        return probe_trials([make_config(), make_config(seed=1)], task, 2, tmp_path)

    return probe


def test_seconds_are_the_mean_over_the_processes(in_two):
    found = in_two(lambda number: {"0": 1.0, "1": 4.0}[number])
    assert [cost.evaluation for cost in found.costs] == [2.5, 2.5]
    assert found.processes == 2
    assert found.start > 0


def killed():
    os.kill(os.getpid(), signal.SIGKILL)


def out_of_memory():
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (killed, "a probing process was ended by SIGKILL"),
        (out_of_memory, "OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB."),
    ],
)
@pytest.mark.parametrize("faulty", ["0", "1"])
def test_why_one_process_failed_is_told_while_the_other_waits_for_it(in_two, fault, reason, faulty):
    """Well before LIMIT: the other never answers."""
    with pytest.raises(ProbeError) as error:
        in_two(lambda number: fault() if number == faulty else 1.0)
    assert str(error.value) == reason
    assert not multiprocessing.active_children()
