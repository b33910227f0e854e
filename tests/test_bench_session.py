"""Rungs set up one after the other, timed by turns, and what is reported of them."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from search import bench_session
from search.bench_results import as_table, padded_tokens, result
from search.bench_rungs import CannotRunHere, Prepared
from search.bench_session import Entry, run_session, warmup_order
from search.measure import Memory

BATCHES = [np.array([0, 1]), np.array([2, 3]), np.array([4, 5])]
LENGTHS = np.array([3, 4, 9, 2, 5, 5])


@pytest.fixture
def workload(cpu):
    return SimpleNamespace(device=cpu, split=Split())


class Split:
    """Six sentences of 28 tokens."""

    lengths, token_ids = LENGTHS, np.zeros(28, int)

    def __len__(self):
        return 6


@pytest.fixture
def session(workload, monkeypatch):
    """A maker of rungs that cost so many seconds a step, all on one clock; and their log."""
    now, log = [0.0], []
    timed = bench_session.timed
    clock = lambda: now[0]  # noqa: E731
    monkeypatch.setattr(
        bench_session, "timed", lambda work, synchronise: timed(work, synchronise, clock)
    )
    monkeypatch.setattr(bench_session, "perf_counter", clock)

    def rung(name, cost, setup=0.0, breaks_at=None):
        def make(given):
            assert given is workload
            now[0] += setup
            log.append((name, "make"))

            def step(index):
                if breaks_at is not None and len(log) >= breaks_at:
                    raise RuntimeError("CUDA out of memory.\nTried to allocate 2 GiB")
                now[0] += cost() if callable(cost) else cost
                log.append((name, index))

            return Prepared(BATCHES, step, lambda: 0.0)

        return Entry(name, make)

    def run(entries, **changes):
        options = {"warmup": 2, "repeats": 2, "say": lambda line: None, **changes}
        run_session(entries, workload, **options)
        return [result(entry, entries[0], workload) for entry in entries]

    return SimpleNamespace(rung=rung, run=run, log=log)


def test_turns_and_warm_up(session):
    session.run([session.rung("live", 2.0), session.rung("cached", 1.0)])
    epoch = {name: [(name, 0), (name, 1), (name, 2)] for name in ("live", "cached")}
    setting_up = [step for n in ("live", "cached") for step in ((n, "make"), (n, 1), (n, 0))]
    assert session.log == setting_up + 2 * (epoch["live"] + epoch["cached"])


def test_numbers_by_hand(session):
    lines = session.run([session.rung("live", 2.0, setup=7.0), session.rung("cached", 0.5)])
    live, cached = lines
    assert (live["rung"], cached["rung"]) == ("live", "cached")
    assert (live["steps"], live["batch_size"], live["repeats"]) == (3, 2, 2)
    assert live["sentences_per_second"] == 1.0  # 6 sentences in 6 s
    assert cached["sentences_per_second"] == 4.0
    assert cached["tokens_per_second"] == 19  # 28 tokens in 1.5 s
    assert (live["milliseconds_per_step"], cached["milliseconds_per_step"]) == (2000.0, 500.0)
    assert (live["ratio_to_live"], cached["ratio_to_live"]) == (1.0, 4.0)
    assert (live["setup_seconds"], live["warmup_seconds"]) == (7.0, 4.0)
    assert live["padding_share"] == 0.222  # 28 tokens of 2 x 4 + 2 x 9 + 2 x 5
    for key in ("peak_allocated_gib", "peak_reserved_gib", "gpu_busy_share"):
        assert live[key] is None


def test_medians_and_ratios_are_of_the_same_turn(session):
    # Seconds a step: two of warm-up, then three a repeat. The machine slows down by a half.
    slow, fast = iter([1.0] * 5 + [2.0] * 3 + [9.0] * 3), iter([1.0] * 2 + [0.5] * 3 + [1.0] * 6)
    entries = [
        session.rung("live", lambda: next(slow)),
        session.rung("cached", lambda: next(fast)),
    ]
    live, cached = session.run(entries, repeats=3)
    assert live["milliseconds_per_step"] == 2000.0
    assert live["milliseconds_per_step_min"] == 1000.0
    assert live["milliseconds_per_step_max"] == 9000.0
    assert live["sentences_per_second_min"] == round(6 / 27, 2)
    assert live["sentences_per_second_max"] == 2.0
    ratios = [cached[f"ratio_to_live{end}"] for end in ("", "_min", "_max")]
    assert ratios == [2.0, 2.0, 9.0]
    assert live["ratio_to_live_min"] == live["ratio_to_live_max"] == 1.0


@pytest.fixture
def fake_gpu(workload, monkeypatch):
    """A GPU for those who ask; what a profiler records of it is put into the list."""
    workload.device, recorded = torch.device("cuda"), []
    for name in ("wake", "release_memory"):
        monkeypatch.setattr(bench_session, name, lambda device: None)
    monkeypatch.setattr(bench_session, "synchroniser", lambda device: lambda: None)
    memories = iter([(100, 200), (150, 300)] * 2)  # before a rung, after its preparation
    monkeypatch.setattr(bench_session, "memory_now", lambda device: Memory(*next(memories)))
    peaks = iter([(400, 700), (250, 300)])
    monkeypatch.setattr(bench_session, "peak_memory", lambda device: Memory(*next(peaks)))

    def profile(work, synchronise):
        work()
        return recorded

    monkeypatch.setattr(bench_session, "profiled_intervals", profile)
    return recorded


def test_busy_share_and_memory_by_hand(session, fake_gpu):
    fake_gpu += [(0.0, 1.0), (0.5, 1.5), (4.0, 5.5)]  # busy for 3 s
    entries = [session.rung("live", 2.0), session.rung("cached", 1.0)]
    live, cached = session.run(entries)
    assert (live["gpu_busy_share"], cached["gpu_busy_share"]) == (0.5, 1.0)  # of 3 steps
    assert live["gpu_operations_per_step"] == 1.0
    assert [entry.peak for entry in entries] == [Memory(300, 500), Memory(150, 100)]
    assert live["milliseconds_per_step"] == 2000.0


def test_a_profiler_that_sees_nothing_costs_only_the_share(session, fake_gpu):
    said = []
    lines = session.run([session.rung("live", 2.0)], say=said.append)
    assert lines[0]["gpu_busy_share"] is None
    assert lines[0]["milliseconds_per_step"] == 2000.0
    assert said[-1] == "live: no GPU-busy share: the profiler recorded nothing on the GPU"


def test_a_rung_that_fails_leaves_the_others_alone(session):
    def cannot(workload):
        raise CannotRunHere("needs a CUDA GPU")

    entries = [
        session.rung("live", 2.0),
        Entry("graph", cannot),
        session.rung("broken", 1.0, breaks_at=0),
        session.rung("late", 1.0, breaks_at=12),
        session.rung("cached", 1.0),
    ]
    lines = session.run(entries)
    assert lines[1] == {"rung": "graph", "skipped": "needs a CUDA GPU"}
    assert lines[2] == {"rung": "broken", "error": "RuntimeError: CUDA out of memory."}
    assert lines[3] == {"rung": "late", "error": "RuntimeError: CUDA out of memory."}
    assert [lines[i]["ratio_to_live"] for i in (0, 4)] == [1.0, 2.0]
    assert entries[2].prepared is entries[3].prepared is None  # their memory is free


def test_without_the_baseline_there_is_no_ratio(session):
    lines = session.run([session.rung("live", 1.0, breaks_at=0), session.rung("cached", 1.0)])
    assert "error" in lines[0]
    assert lines[1]["ratio_to_live"] is None
    assert lines[1]["sentences_per_second"] == 2.0


def test_warm_up_begins_with_the_longest():
    assert warmup_order(BATCHES, LENGTHS, 1) == [1]
    assert warmup_order(BATCHES, LENGTHS, 5) == [1, 0, 1, 2, 0]


def test_padded_tokens_by_hand():
    assert padded_tokens(BATCHES, LENGTHS) == 2 * 4 + 2 * 9 + 2 * 5


def test_table(session):
    def cannot(workload):
        raise CannotRunHere("needs a CUDA GPU")

    lines = session.run([session.rung("live", 2.0), Entry("graph", cannot)])
    head, live, graph = as_table(lines).splitlines()
    assert head.split()[:3] == ["rung", "batch", "ms"]
    assert live.split() == ["live", "2", "2,000.00", "1.00", "1.00", "-", "-", "0.00"]
    assert graph.split(maxsplit=1) == ["graph", "skipped: needs a CUDA GPU"]
