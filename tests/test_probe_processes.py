"""Trials stepping at once in processes of their own, and all that can become of them."""

import multiprocessing
import os
import signal
import time

import pytest

from tests import probe_subjects
from tests.probe_subjects import GIGABYTE, start, start_broken, start_out_of_memory
from trainable import probe_processes
from trainable.probe_processes import WARM_UP_STEPS, TimeLimits, measure

QUICK = TimeLimits(timed=0.1, start=60.0, rest=60.0)
SHORT = TimeLimits(timed=0.01, start=0.5, rest=0.5)


@pytest.fixture(autouse=True)
def pretended(monkeypatch):
    monkeypatch.setattr(probe_processes, "device_memory", probe_subjects.pretended_memory)


@pytest.fixture
def forked(monkeypatch):
    """Processes that need not load torch again; the same but for their start."""
    fork = multiprocessing.get_context("fork")
    monkeypatch.setattr(probe_processes, "get_context", lambda method: fork)


@pytest.fixture
def noted(tmp_path):
    """Where subjects note their steps; what each process has taken."""

    class Noted:
        path = str(tmp_path / "steps")

        def taken(self):
            return [path.read_text() for path in tmp_path.glob("steps.*")]

    return Noted()


@pytest.mark.slow
@pytest.mark.parametrize("trials", [1, 2])
def test_spawned_processes(trials, noted):
    probe = measure(trials, start, {"noted": noted.path}, {}, steps=7, limits=QUICK)
    assert (probe.free_bytes, probe.total_bytes) == (20 * GIGABYTE, 24 * GIGABYTE)
    (found,) = probe.measurements
    assert found.error == ""
    assert (found.trials, found.steps, found.sentences) == (trials, 7, 28)
    assert found.seconds >= 0.07
    assert (found.execution, found.reason) == ("graph", "")
    assert noted.taken() == ["L" + "s" * (WARM_UP_STEPS + 7)] * trials
    assert not multiprocessing.active_children()


def test_as_many_steps_as_there_is_time_for(forked, noted):
    (found,) = measure(1, start, {"noted": noted.path}, {}, limits=QUICK).measurements
    assert 3 <= found.steps <= 10
    assert found.sentences == 4 * found.steps
    assert 0.1 <= found.seconds < 5


def test_a_few_steps_however_slow(forked, noted):
    quick = TimeLimits(timed=0.0)
    (found,) = measure(1, start, {"noted": noted.path}, {}, limits=quick).measurements
    assert found.steps == 3


def test_memory_is_what_the_gpu_has_less_than_before(forked, noted, monkeypatch):
    """Whatever torch knows of it; divided by the trials."""
    left = iter([20 * GIGABYTE, 14 * GIGABYTE])
    monkeypatch.setattr(probe_processes, "device_memory", lambda: (next(left), 24 * GIGABYTE))
    probe = measure(2, start, {"noted": noted.path}, {}, steps=1)
    assert probe.free_bytes == 20 * GIGABYTE
    assert probe.measurements[0].bytes_per_trial == 3 * GIGABYTE


FAULTS = {
    "bug at step": "ValueError: a bug in the step",
    "bug at longest": "ValueError: a bug in the step",
    "death at step": "a probing process ended with exit code 3",
    "death at longest": "a probing process ended with exit code 3",
    "kill at step": "a probing process was ended by SIGKILL",
    "memory at step": "OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.",
    "memory at longest": "OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.",
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("trials", [1, 2])
def test_failure_is_one_line(forked, noted, tmp_path, fault, trials):
    config = {"noted": noted.path, "fault": fault}
    if trials == 2:
        config["first"] = str(tmp_path / "first")  # only one of them fails
    probe = measure(trials, start, config, {}, steps=5, limits=QUICK)
    (found,) = probe.measurements
    assert found.error == FAULTS[fault]
    assert found.out_of_memory == fault.startswith("memory")
    assert (found.trials, found.sentences_per_second) == (trials, 0.0)
    assert probe.free_bytes == 20 * GIGABYTE
    assert not multiprocessing.active_children()


@pytest.mark.parametrize(
    ("broken", "error", "out_of_memory"),
    [
        (start_broken, "RuntimeError: no kernel image is available", False),
        (start_out_of_memory, "OutOfMemoryError: CUDA out of memory. Tried to allocate", True),
    ],
)
def test_trial_that_can_not_be_built(forked, broken, error, out_of_memory):
    (found,) = measure(2, broken, {}, {}, limits=QUICK).measurements
    assert found.error.startswith(error)
    assert found.out_of_memory is out_of_memory


@pytest.mark.parametrize("moment", ["longest", "step"])
def test_hanging_trial_is_given_up(forked, noted, moment):
    begin = time.monotonic()
    config = {"noted": noted.path, "fault": f"hang at {moment}"}
    (found,) = measure(1, start, config, {}, steps=1, limits=SHORT).measurements
    assert found.error.startswith("a probing process did not answer within 0.")
    assert time.monotonic() - begin < 5
    assert not multiprocessing.active_children()


def test_gpu_that_can_not_be_looked_at(forked, monkeypatch):
    monkeypatch.setattr(probe_processes, "device_memory", probe_subjects.no_gpu)
    probe = measure(1, start, {}, {}, limits=QUICK)
    assert (probe.free_bytes, probe.total_bytes) == (0, 0)
    assert probe.measurements[0].error == "RuntimeError: no CUDA GPUs are available"


def test_processes_print_nothing(forked, noted, capfd):
    config = {"noted": noted.path, "fault": "noise at step"}
    (found,) = measure(1, start, config, {}, steps=1, limits=QUICK).measurements
    assert found.error == ""
    assert capfd.readouterr() == ("", "")


def test_interrupted_probe_leaves_no_process(forked, noted, monkeypatch):
    def interrupt(*arguments):
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(probe_processes, "tell", interrupt)
    with pytest.raises(KeyboardInterrupt):
        measure(2, start, {"noted": noted.path}, {}, limits=QUICK)
    assert not multiprocessing.active_children()


def test_processes_are_spared_a_ctrl_c(forked, noted, monkeypatch):
    """Which a terminal sends to all; the caller alone decides. Its own handling is given back."""
    before = signal.getsignal(signal.SIGINT)

    def interrupt_child(config, task):
        os.kill(os.getpid(), signal.SIGINT)
        return start(config, task)

    probe = measure(1, interrupt_child, {"noted": noted.path}, {}, steps=1, limits=QUICK)
    assert probe.measurements[0].error == ""
    assert signal.getsignal(signal.SIGINT) is before
