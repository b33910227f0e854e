"""The teacher's time from a few steps, on clocks that are known."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from search.teacher_probe import teacher_seconds
from trainable.stand_in import StandIn

from search import teacher_probe
from trainable.config import TeacherSettings


def test_what_work_takes_once_is_no_part_of_a_batch():
    calls = []

    def work(batches):
        calls.append(batches)
        return 30.0 + 0.5 * batches

    assert teacher_probe._slope(work, unit=1) == pytest.approx(0.5)
    assert teacher_probe._slope(work, unit=64) == pytest.approx(0.5 / 64)
    assert max(calls) <= teacher_probe.WARM_UP_BATCHES + teacher_probe.MOST_BATCHES


def test_quick_batches_are_timed_many_at_once():
    calls = []
    teacher_probe._slope(lambda batches: calls.append(batches) or batches * 1e-4, unit=1)
    assert max(calls) == teacher_probe.WARM_UP_BATCHES + teacher_probe.MOST_BATCHES


def test_sample_is_of_whole_sentences_and_as_large_as_asked(split):
    of_split = {(*split.token_ids[a:b], label) for a, b, label in rows(split)}
    for count in (2, 5, 23):
        sample = teacher_probe._sample(split, count)
        assert len(sample) == count
        assert {(*sample.token_ids[a:b], label) for a, b, label in rows(sample)} <= of_split


def rows(split):
    return zip(split.offsets[:-1], split.offsets[1:], split.labels, strict=True)


def test_teacher_in_the_cache_takes_no_time(task, tmp_path, monkeypatch):
    monkeypatch.setattr(teacher_probe, "in_a_process", None)
    found = StandIn(task, teacher_missing=False, outputs_missing=(), bytes_missing=0)
    assert teacher_seconds(found, TeacherSettings(), "fp32", tmp_path) == (0.0, 0.0)


@pytest.fixture
def untuned(task):
    """A task whose teacher is to be fine-tuned."""
    return replace(task, teacher=replace(task.teacher, fine_tuned_here=True))


@pytest.mark.parametrize(
    ("teacher", "outputs", "expected"),
    [
        # 96 training sentences in batches of 32, two epochs; 40 are scored
        (True, ("logits",), (6 * 2.0 + 40 * 0.1, 96 * 0.1)),
        (True, (), (6 * 2.0 + 40 * 0.1, 0.0)),
        (False, ("mean",), (0.0, 96 * 0.1)),
    ],
)
def test_steps_and_sentences_are_counted(untuned, monkeypatch, teacher, outputs, expected):
    def measured(function, wanted):
        return (2.0 if wanted.tunes else 0.0), 0.1

    monkeypatch.setattr(teacher_probe, "in_a_process", measured)
    found = StandIn(untuned, teacher, outputs, 0)
    settings = TeacherSettings(epochs=2, batch_size=32)
    assert teacher_seconds(found, settings, "fp32", Path()) == pytest.approx(expected)


def test_steps_of_a_tiny_teacher_are_timed(task, tmp_path):
    wanted = teacher_probe._Wanted(
        task, TeacherSettings(batch_size=8), "fp32", ("cls",), True, tmp_path
    )
    step, forward = teacher_probe._probe(wanted)
    assert 0 < forward < step < 5.0
    assert np.isfinite([step, forward]).all()
