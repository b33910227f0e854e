"""A sweep that is killed again and again ends as one that nobody touches, bit for bit.

`python -m pytest tests/search/sweep/test_kills.py --kills 20 -s` does it twenty times, and tells of
each: drawn are the process (driver, its group, a worker, Ray's own), the signal and the moment.
"""

import io
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import redirect_stdout, suppress

import psutil
import pytest

from search.exit_codes import make_console
from search.record.run import read_run
from search.record.run_folders import resume_command
from search.sweep.summary import finish
from tests.conftest import random_sentences, write_tsv
from tests.sweeps import history, wait_for, without_ray

pytestmark = pytest.mark.slow

EARLIEST, LATEST = 3.0, 20.0  # seconds of a session, of which Ray takes the first eight or more
LEAVES = 120  # seconds in which a driver has ended; 45 where Ray's own processes have died
KINDS = ("driver", "group", "worker", "raylet", "gcs")
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
NAMES = {"worker": "^ray::ImplicitFunc", "raylet": "/raylet$", "gcs": "/gcs_server$"}


@pytest.fixture
def command(teacher_folder, tmp_path, request):
    """A sweep of trials one at a time, longer where it is killed more often."""
    kills = request.config.getoption("--kills")
    (data := tmp_path / "data").mkdir()
    for name, count, seed in (("train", 800, 1), ("dev", 200, 2)):
        write_tsv(data / f"{name}.tsv", random_sentences(count, seed))
    sizes = ("student_layers=2", "batch_size=4", f"epochs={2 + kills // 4}")
    settings = (*sizes, "precision=fp32", "evaluations=8")
    return [
        *(sys.executable, "-m", "search.run", "--space", "schedules", "--samples", str(2 + kills)),
        *("--preset", "mini", "--teacher", str(teacher_folder), "--dataset", str(data)),
        *("--cache", str(tmp_path / "cache"), "--storage", str(tmp_path), "--name", "killed"),
        *("--max-concurrent", "1", "--compare-within", "all", "--scheduler", "promotion"),
        *("--retries", str(kills), "--allow-weak-teacher"),
        *(part for setting in settings for part in ("--set", setting)),
    ]


def board(printed):
    """The leaderboard as printed."""
    return re.search(r"\nTeacher accuracy: \S+ on .*?\nRun: ", printed, re.DOTALL).group()


def session(command):
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def below(driver, kind):
    """The processes of a kind that this driver has started."""
    processes = []
    with suppress(psutil.NoSuchProcess):
        for process in psutil.Process(driver).children(recursive=True):
            with suppress(psutil.NoSuchProcess, IndexError):
                if re.search(NAMES[kind], process.cmdline()[0]):
                    processes.append(process.pid)
    return processes


def hit(process, kind, number):
    """Sends a signal; whether that ends the driver, of whose own processes one may have died."""
    if kind == "driver":
        process.send_signal(number)
    elif kind == "group":
        os.killpg(process.pid, number)
    else:
        found = below(process.pid, kind)
        for other in found:
            os.kill(other, number)
        time.sleep(2)
        return kind != "worker" and bool(found) and not {*found} & {*below(process.pid, kind)}
    return True


def test_killed_sweep_ends_as_one_that_nobody_touches(command, tmp_path, request):
    kills = request.config.getoption("--kills")
    chance = random.Random(request.config.getoption("--kill-seed"))
    folder, told = tmp_path / "killed", Counter()
    process = session(command)
    wait_for(folder, "evaluation", 1, process)  # the first kill comes amid training
    for _ in range(kills):
        kind, number = chance.choice(KINDS), chance.choice(SIGNALS)
        delay = chance.uniform(EARLIEST, LATEST) if told else 0.0
        time.sleep(delay)
        if process.poll() is None and hit(process, kind, number):
            process.wait(timeout=LEAVES)
        told[kind, number.name] += 1
        evaluations = len(history(read_run(folder))[0]) if again(command, folder) != command else 0
        print(f"{number.name} to {kind} after {delay:.1f} s, {evaluations} evaluations recorded")
        if process.poll() is not None:
            check_output(process, kind)
            if process.returncode == 0:
                break  # the sweep is complete
            process = session(again(command, folder))
    output = check_output(process, kind)
    if process.returncode in (1, 2, 130):  # it came too early for a run to be there, or was stopped
        process = session(again(command, folder))
        output = check_output(process)
    assert process.returncode == 0, output

    run = read_run(folder)
    repeated = sum(trial.repeated for trial in run.trials.values())
    print(f"{sum(told.values())} kills {dict(told)}, {repeated} evaluations made again")
    untouched = without_ray(run, tmp_path / "untouched")
    assert history(run) == history(untouched)
    with redirect_stdout(io.StringIO()) as printed:
        finish(untouched, make_console())
    assert board(output) == board(printed.getvalue())


def check_output(process, kind="driver"):
    """What a session printed: no traceback, but for those of Ray's threads when Ray has died."""
    output = process.communicate(timeout=1800)[0]
    if kind in ("driver", "worker"):
        assert "Traceback" not in output, output
    return output


def again(command, folder):
    """The command that resumes, or the first one where it was killed before there was a run."""
    if (folder / "sweep.json").exists() or (folder / "record.jsonl").exists():
        return [sys.executable, *resume_command(folder).split()[1:]]
    return command
