"""A sweep that is killed again and again ends as the one that nobody touched, bit for bit.

`python -m pytest tests/search/sweep/test_kills.py --kills 20 -s` does it twenty times, and tells of
each: drawn are the process (driver, its group, a worker, Ray's own), the signal and the moment.
"""

import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from search.record.run import read_run
from search.record.run_folders import resume_command
from tests.conftest import random_sentences
from tests.sweeps import timeless

pytestmark = pytest.mark.slow

EARLIEST, LATEST = 3.0, 20.0  # seconds of a session, of which Ray takes the first eight or more
LEAVES = 120  # seconds in which a driver has ended; 45 where Ray's own processes have died
KINDS = ("driver", "group", "worker", "raylet", "gcs")
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
NAMES = {"worker": "^ray::ImplicitFunc", "raylet": "/raylet$", "gcs": "/gcs_server$"}


@pytest.fixture(scope="module")
def command(teacher_folder, tmp_path_factory, request):
    """A sweep of trials one at a time, longer where it is killed more often."""
    kills = request.config.getoption("--kills")
    folder = tmp_path_factory.mktemp("kills")
    data = folder / "data"
    data.mkdir()
    for name, count, seed in (("train", 800, 1), ("dev", 200, 2)):
        found = random_sentences(count, seed)
        rows = [f"{text}\t{label}" for text, label in zip(found.texts, found.labels, strict=True)]
        (data / f"{name}.tsv").write_text("\n".join(["sentence\tlabel", *rows]) + "\n")
    sizes = ("student_layers=2", "batch_size=4", f"epochs={3 + kills // 4}")
    settings = (*sizes, "precision=fp32", "evaluations=8")
    return [
        *(sys.executable, "-m", "search.run", "--space", "schedules", "--samples", str(2 + kills)),
        *("--preset", "mini", "--teacher", str(teacher_folder), "--dataset", str(data)),
        *("--cache", str(folder / "cache"), "--storage", str(folder / "runs")),
        *("--max-concurrent", "1", "--compare-within", "all"),
        *("--retries", str(kills), "--allow-weak-teacher"),
        *(part for setting in settings for part in ("--set", setting)),
    ]


def storage(command):
    return Path(command[command.index("--storage") + 1])


def history(folder):
    """All that was evaluated and decided, in order, without clocks and Ray's names."""
    found = []
    for event in read_run(folder).events:
        if event["event"] == "evaluation":
            found.append((event["trial"], event["decision"], timeless(event["evaluation"])))
    return found


def board(printed):
    """The leaderboard as printed."""
    return re.search(r"\nTeacher accuracy: \S+ on .*?\nRun: ", printed, re.DOTALL).group()


@pytest.fixture(scope="module")
def untouched(command):
    """The sweep that nobody kills: its folder and leaderboard."""
    done = subprocess.run(
        [*command, "--name", "untouched"], capture_output=True, text=True, timeout=1800, check=False
    )
    assert done.returncode == 0, done.stderr
    return storage(command) / "untouched", board(done.stdout)


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


def test_killed_sweep_equals_the_untouched_one(command, untouched, request):
    kills = request.config.getoption("--kills")
    chance = random.Random(request.config.getoption("--kill-seed"))
    folder, told = storage(command) / "killed", Counter()
    process = session([*command, "--name", "killed"])
    for _ in range(kills):
        kind, number = chance.choice(KINDS), chance.choice(SIGNALS)
        delay = chance.uniform(EARLIEST, LATEST)
        time.sleep(delay)
        if process.poll() is None and hit(process, kind, number):
            process.wait(timeout=LEAVES)
        told[kind, number.name] += 1
        evaluations = len(history(folder)) if folder.exists() else 0
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
    assert history(folder) == history(untouched[0])
    assert {d: t.outcome for d, t in run.trials.items()} == {
        d: t.outcome for d, t in read_run(untouched[0]).trials.items()
    }
    assert board(output) == untouched[1]


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
    return [*command, "--name", folder.name]
