"""The request to pause: when a trial sees it, and how often it looks."""

from types import SimpleNamespace
from unittest.mock import Mock

import pytest
from pyarrow.fs import LocalFileSystem

from trainable.common import pause
from trainable.common.pause import PAUSE, POLL_SECONDS, PauseRequest


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands until it is moved."""
    moving = SimpleNamespace(now=0.0)
    monkeypatch.setattr(pause, "time", SimpleNamespace(monotonic=lambda: moving.now))
    return moving


@pytest.mark.parametrize("place", ["{}/a run", "file://{}/run"])
def test_a_request_is_seen_at_the_next_look_and_stays(tmp_path, clock, place):
    run = tmp_path / place.rpartition("/")[2]
    run.mkdir()
    requested = PauseRequest(place.format(tmp_path))
    assert not requested
    (run / PAUSE).touch()
    clock.now += 0.999 * POLL_SECONDS
    assert not requested  # it looks no more often than that
    clock.now += 0.001 * POLL_SECONDS
    assert requested
    (run / PAUSE).unlink()
    clock.now += 10 * POLL_SECONDS
    assert requested


def test_a_request_made_before_is_seen_at_once_and_none_where_no_run_is(tmp_path, clock):
    assert not PauseRequest(str(tmp_path / "nowhere"))
    (tmp_path / PAUSE).touch()
    assert PauseRequest(str(tmp_path))


def test_a_storage_that_cannot_be_reached_for_a_moment_stops_nothing(tmp_path, clock, monkeypatch):
    (tmp_path / PAUSE).touch()
    lost = OSError("When getting information for key: connection timed out")
    there = LocalFileSystem().get_file_info(str(tmp_path / PAUSE))
    storage = Mock(**{"get_file_info.side_effect": [lost, there]})
    from_uri = SimpleNamespace(from_uri=lambda uri: (storage, str(tmp_path)))
    monkeypatch.setattr(pause, "FileSystem", from_uri)
    requested = PauseRequest("s3://bucket/run")
    assert not requested
    clock.now += POLL_SECONDS
    assert not requested
    clock.now += pause.POLL_SECONDS_REMOTE
    assert requested
