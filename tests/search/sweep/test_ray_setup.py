"""How many trials run at once, on what, in which folders, and what Ray is told of them."""

import io
import subprocess
import sys
from dataclasses import asdict, replace
from signal import SIGKILL
from types import SimpleNamespace

import psutil
import pytest
from rich.console import Console

from search.exit_codes import end_all
from search.record.storage import local_runs
from search.sweep import session
from search.sweep.ray_setup import _start_here, concurrency, resources_per_trial, trial_folder
from search.sweep.session import share_with_trials
from tests.made_runs import asked, made_run
from trainable.config.trial_config import TrialConfig

CONFIGS = [TrialConfig(alpha=alpha, evaluations=8) for alpha in (0.75, 0.25, 0.5)]


@pytest.mark.parametrize(
    ("cores", "gpus", "share", "limit", "expected"),
    [
        (2, 0, 4, None, 2),
        (16, 0, 4, 3, 3),
        (16, 1, 4, None, 4),
        (16, 2, 4, None, 8),
        (16, 1, 1, None, 1),
        (2, 1, 4, None, 2),
        (1, 0, 4, 9, 1),
    ],
)
def test_concurrency(cores, gpus, share, limit, expected):
    assert concurrency(cores, gpus, share, limit) == expected


def test_resources_of_a_trial_let_all_that_share_a_gpu_fit():
    """Ray counts in ten-thousandths, and takes a third for no less than it is."""
    assert resources_per_trial(0, 4) == {"cpu": 1}
    assert resources_per_trial(2, 1) == {"cpu": 1, "gpu": 1.0}
    for share in range(1, 20):
        each = resources_per_trial(1, share)["gpu"]
        assert round(each * 10_000) * share <= 10_000
        assert each * (share + 1) > 1.0


def test_a_trials_folder_has_the_name_that_the_record_looks_for(make_config):
    config = make_config()
    assert trial_folder(SimpleNamespace(config=asdict(config))) == config.folder_name


@pytest.mark.parametrize(("scheduler", "numbers"), [("asha", (2, 4)), ("fifo", ())])
def test_trials_save_at_rungs_where_they_may_wait_or_be_stopped(tmp_path, scheduler, numbers):
    configs = [TrialConfig(alpha=0.5, evaluations=8)]
    run = made_run(tmp_path / "mine", configs, asked(scheduler=scheduler))
    assert share_with_trials(run, Console(file=io.StringIO())).save_at == numbers


@pytest.mark.parametrize(("limit", "more"), [({"samples": 50}, 30), ({"time_budget": 1e9}, 16)])
def test_a_resumed_search_reckons_with_its_trials_and_with_those_to_come(
    tmp_path, monkeypatch, limit, more
):
    request, counts = asked(space="recipe", searcher="random", finals=2, **limit), []
    configs = [replace(request.default, temperature=1.0 + number / 10) for number in range(20)]
    run = made_run(tmp_path / "mine", configs, request)
    monkeypatch.setattr(session, "expected_bytes", lambda *a: counts.append(a[3]) or (0, 0))
    session._announce(run, 1, Console(file=io.StringIO()))
    assert counts == [20 + more]


def test_trials_wait_in_a_quarter_of_the_memory_of_one_process_alone(monkeypatch):
    monkeypatch.setattr(session.ray, "cluster_resources", lambda: {"CPU": 8.0, "memory": 4e9 + 2})
    assert session.waiting_bytes("local", 1) == 1_000_000_000
    assert session.waiting_bytes("local", 2) == session.waiting_bytes("auto", 1) == 0
    monkeypatch.setattr(session.ray, "cluster_resources", lambda: {"CPU": 8.0})
    assert session.waiting_bytes("local", 1) == 0


def test_a_disk_with_too_little_room_is_told_of(tmp_path, monkeypatch):
    run, free = made_run(tmp_path / "runs" / "mine", CONFIGS), 3_200_000_000
    places = {run.folder: SimpleNamespace(free=free)}  # no other is looked at
    monkeypatch.setattr(session.shutil, "disk_usage", places.__getitem__)
    assert session._shortage(run, free) == ""
    assert session._shortage(run, free + 1) == ", but only 3.2 GB are free there"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    stored = made_run(local_runs(f"file://{tmp_path}/storage") / "mine", CONFIGS)
    assert session._shortage(stored, free + 1) == ""  # nobody knows how much a storage takes


def test_a_start_that_took_too_long_is_tried_again_without_what_it_left(monkeypatch):
    """Ray waits 30 seconds for its own processes, which do not end with it."""
    left = []

    def starts(*errors):
        """Starts a process each time, and fails so before it does not."""
        waiting = iter([*errors, None])

        def init(**asked):
            assert all(process.poll() is not None or process.wait(10) for process in left)
            left.append(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]))
            if error := next(waiting):
                raise RuntimeError(error)

        return init

    mine = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    slow = "The current node timed out during startup."
    try:
        monkeypatch.setattr("ray.init", starts(slow))
        _start_here(1, 0)
        assert [process.poll() for process in (mine, *left)] == [None, -SIGKILL, None]
        for errors in ((slow, slow), ("no port",)):
            end_all([psutil.Process(left.pop().pid)])
            left.clear()
            monkeypatch.setattr("ray.init", starts(*errors))
            with pytest.raises(OSError, match=f"Ray could not start: {errors[-1]}"):
                _start_here(1, 0)
            assert len(left) == len(errors)
    finally:
        for process in (mine, *left):
            process.kill()
            process.wait()
