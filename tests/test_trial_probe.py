"""What a probe measures, on a tiny trial and a clock that is known."""

import numpy as np
import pytest
import torch

from search import trial_probe
from search.trial_probe import in_a_process, peak_resident_bytes
from trainable.batches import epoch_batches
from trainable.probe_processes import ProbeError
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
    seconds = trial_probe._evaluation_seconds(trial, tmp_path / "a")
    assert seconds == pytest.approx(2.0)
    monkeypatch.setattr(trial_probe, "_seconds", lambda work, trial: 7.0)
    seconds = trial_probe._evaluation_seconds(trial, tmp_path / "b")
    assert seconds == pytest.approx(9.0)


def test_whole_split_counts_once_a_trial(make_config, sampled_task, clock, monkeypatch, tmp_path):
    """40 sentences once, and 13 at each of 3 evaluations."""
    trial = Trial.start(make_config(), sampled_task, torch.device("cpu"))
    monkeypatch.setattr(trial_probe, "_step_seconds", lambda trial, take: 0.0)
    monkeypatch.setattr(trial_probe, "_seconds", lambda work, trial: 100.0)
    seconds = trial_probe._evaluation_seconds(trial, tmp_path / "a")
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
