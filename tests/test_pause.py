"""The request to pause: when a trial sees it, and how often it looks."""

from types import SimpleNamespace

import pytest

from trainable import pause
from trainable.pause import LOOK_SECONDS, PAUSE, PauseRequest


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands until it is moved."""
    moving = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(pause, "time", SimpleNamespace(monotonic=lambda: moving.now))
    return moving


@pytest.fixture
def request_file(tmp_path):
    return tmp_path / PAUSE


def test_a_request_made_before_is_seen_at_once(tmp_path, request_file, clock):
    request_file.touch()
    assert PauseRequest(tmp_path)


@pytest.mark.parametrize("now", [0.0, 0.1, 1e9])
def test_the_first_look_is_at_once_whatever_the_clock_says(tmp_path, request_file, clock, now):
    clock.now = now
    request_file.touch()
    assert PauseRequest(tmp_path)


def test_a_request_is_seen_within_look_seconds(tmp_path, request_file, clock):
    requested = PauseRequest(tmp_path)
    assert not requested
    request_file.touch()
    clock.now += LOOK_SECONDS
    assert requested


def test_it_looks_no_more_often_than_that(tmp_path, request_file, clock):
    requested = PauseRequest(tmp_path)
    for _ in range(3):
        assert not requested
        request_file.touch()
        clock.now += 0.999 * LOOK_SECONDS
        assert not requested
        request_file.unlink()
        clock.now += 0.002 * LOOK_SECONDS


def test_once_seen_it_stays(tmp_path, request_file, clock):
    requested = PauseRequest(tmp_path)
    request_file.touch()
    assert requested
    request_file.unlink()
    for _ in range(3):
        clock.now += 10 * LOOK_SECONDS
        assert requested


def test_nothing_is_seen_where_nothing_was_asked(tmp_path, clock):
    (tmp_path / "pause").touch()
    requested = PauseRequest(tmp_path)
    for _ in range(5):
        assert not requested
        clock.now += LOOK_SECONDS
    assert not PauseRequest(tmp_path / "nowhere")


def test_a_request_comes_before_a_second_is_over():
    assert 0 < LOOK_SECONDS < 1


def test_another_way_to_ask_is_as_frequent(tmp_path, clock):
    asked = []
    requested = PauseRequest(tmp_path, lambda: bool(asked.append(clock.now)))
    for _ in range(3):
        assert not requested
    clock.now += LOOK_SECONDS
    assert not requested
    assert asked == [1000.0, 1000.0 + LOOK_SECONDS]
    assert PauseRequest(tmp_path, lambda: True)
