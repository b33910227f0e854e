"""Timing with a clock one can set, and intervals whose union one can see."""

import pytest
import torch

from search.measure import (
    Memory,
    Spread,
    covered_seconds,
    gpu_intervals,
    load_average,
    memory_now,
    peak_memory,
    profiled_intervals,
    synchroniser,
    timed,
    wake,
)
from trainable.environment import release_memory


class Device:
    """A device that works on after it was given something, with a clock of its own."""

    def __init__(self):
        self.now, self.busy_until, self.log = 10.0, 10.0, []

    def clock(self):
        return self.now

    def launch(self):
        self.log.append("work")
        self.now += 1.0  # to launch
        self.busy_until = self.now + 5.0

    def synchronise(self):
        self.log.append("wait")
        self.now = max(self.now, self.busy_until)


def test_timed_waits_before_and_after():
    device = Device()
    device.launch()  # of someone else: not this work's time
    assert timed(device.launch, device.synchronise, device.clock) == 6.0
    assert device.log == ["work", "wait", "work", "wait"]


def test_spread_by_hand():
    assert Spread.of([3.0, 1.0, 8.0]) == Spread(median=3.0, low=1.0, high=8.0)
    assert Spread.of([2.0]) == Spread(2.0, 2.0, 2.0)
    assert Spread.of([1.0, 2.0]).median == 1.5


@pytest.mark.parametrize(
    ("intervals", "seconds"),
    [
        ([], 0.0),
        ([(1.0, 3.0)], 2.0),
        ([(1.0, 3.0), (5.0, 6.0)], 3.0),
        ([(5.0, 6.0), (1.0, 3.0)], 3.0),  # in any order
        ([(1.0, 3.0), (2.0, 4.0)], 3.0),  # two streams at once
        ([(1.0, 9.0), (2.0, 3.0), (4.0, 5.0)], 8.0),  # within another
        ([(1.0, 9.0), (2.0, 3.0), (8.0, 10.0)], 9.0),
        ([(1.0, 3.0), (3.0, 4.0)], 3.0),
        ([(1.0, 3.0), (1.0, 3.0)], 2.0),
        ([(2.0, 2.0)], 0.0),
    ],
)
def test_covered_seconds_by_hand(intervals, seconds):
    assert covered_seconds(intervals) == seconds


def test_gpu_intervals_leave_annotations_and_the_cpu_out():
    events = [
        {"cat": "kernel", "name": "gemm", "ts": 1_000_000.0, "dur": 500_000.0},
        {"cat": "gpu_memcpy", "name": "copy", "ts": 3_000_000.0, "dur": 1_000_000.0},
        {"cat": "gpu_memset", "name": "fill", "ts": 5_000_000.0, "dur": 0.0},
        {"cat": "gpu_user_annotation", "name": "Optimizer.step", "ts": 0.0, "dur": 9e9},
        {"cat": "cpu_op", "name": "aten::mm", "ts": 0.0, "dur": 9e9},
        {"cat": "ac2g", "name": "ac2g", "ts": 0.0},
        {"ph": "M", "name": "process_name", "ts": 0.0},
    ]
    found = gpu_intervals({"traceEvents": events})
    assert found == [pytest.approx(i) for i in ((1.0, 1.5), (3.0, 4.0), (5.0, 5.0))]
    assert covered_seconds(found) == pytest.approx(1.5)


def test_a_cpu_has_nothing_to_wait_for_and_no_memory_of_its_own(cpu):
    wake(cpu)
    synchroniser(cpu)()
    release_memory(cpu)
    assert memory_now(cpu) is None
    assert peak_memory(cpu) is None


def test_load_average_is_none_where_nobody_knows(monkeypatch):
    def unknown():
        raise OSError

    assert load_average() >= 0
    monkeypatch.setattr("os.getloadavg", unknown)
    assert load_average() is None


def test_memory_differences():
    assert Memory(10, 30) - Memory(4, 10) == Memory(6, 20)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU")
def test_kernels_are_seen_and_memory_counted():
    cuda = torch.device("cuda")
    wake(cuda)
    release_memory(cuda)
    before = memory_now(cuda)
    square = torch.ones((4096, 4096), device=cuda)

    def work():
        for _ in range(10):
            square @ square

    synchronise = synchroniser(cuda)
    work()
    seconds = timed(work, synchronise)
    intervals = profiled_intervals(work, synchronise)
    assert len(intervals) >= 10
    assert 0.5 < covered_seconds(intervals) / seconds < 1.1
    assert (peak_memory(cuda) - before).allocated >= 2 * 4096 * 4096 * 4
