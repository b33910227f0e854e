"""`search.report --watch`: the page of a run that goes on, served to this machine alone."""

import re
import time
from threading import Thread
from unittest.mock import Mock
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from search.record.run import create_run
from search.report import watch
from search.report.__main__ import main
from tests.report_runs import config, plan, report_evaluations
from trainable.common.errors import UserError

PATIENCE = 120.0  # seconds


@pytest.fixture
def watched(tmp_path, monkeypatch, capsys):
    """A run with one evaluation, and the address that `--watch` prints."""
    monkeypatch.setattr(watch, "SECONDS", 0.05)
    monkeypatch.setattr(watch, "BUSY_SHARE", 1)
    run = create_run(tmp_path / "mine", plan(config(), config(alpha=0.25)))
    report_evaluations(run, config(), (0.85,))
    Thread(target=main, args=([str(run.folder), "--watch"],), daemon=True).start()
    printed, end = "", time.monotonic() + PATIENCE
    while "Ctrl-C" not in printed:
        assert time.monotonic() < end, printed
        time.sleep(0.05)
        printed += capsys.readouterr().out
    return run, re.search(r"http://127\.0\.0\.1:\d+/\S{20,}/", printed)[0]


def etag(address):
    with urlopen(Request(address, method="HEAD")) as answer:
        assert answer.read() == b""
        return answer.headers["ETag"]


def text_of(address):
    with urlopen(address) as answer:
        return answer.read().decode()


def test_the_page_follows_the_record_and_nothing_is_written(watched, monkeypatch):
    run, address = watched
    before = text_of(address)
    assert "after 1 of 4 evaluations" in before
    assert "location.reload()" in before
    first = etag(address)
    assert etag(address) == first
    for error in (UserError("no answer"), OSError(5, "Input/output error")):
        with monkeypatch.context() as patch:  # a storage that is gone for a while
            fail = Mock(side_effect=error)
            patch.setattr("search.report.__main__.find_run", fail)
            end = time.monotonic() + PATIENCE
            while fail.call_count < 2:  # asked again
                assert time.monotonic() < end
                time.sleep(0.05)
            assert etag(address) == first
    report_evaluations(run, config(alpha=0.25), (0.85, 0.86, 0.87, 0.88))
    end = time.monotonic() + PATIENCE
    while "best5 0.8650" not in text_of(address):
        assert time.monotonic() < end
        time.sleep(0.05)
    assert etag(address) != first
    assert not (run.folder / "report").exists()


def test_nobody_finds_it_without_the_token_and_a_port_that_is_taken_is_one_line(watched, capsys):
    run, address = watched
    host = address.split("/")[2]
    for other in ("", "report.html", f"{address[-24:]}x"):
        with pytest.raises(HTTPError, match="404"):
            urlopen(f"http://{host}/{other.lstrip('/')}")
    port = host.partition(":")[2]
    assert main([str(run.folder), "--watch", "--port", port]) == 2
    assert f"error: --port {port}: " in capsys.readouterr().err
