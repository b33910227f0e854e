"""A sweep that is killed again and again ends as the one that nobody touched, bit for bit.

`python -m pytest tests/test_kills.py --kills 20 -s` does it more often, and tells of each kill.
"""

import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from search.record.run import read_events, read_run
from search.record.run_folders import resume_command
from tests.conftest import random_sentences
from tests.sweeps import timeless

pytestmark = pytest.mark.slow

EARLIEST, LATEST = 3.0, 18.0  # seconds of a session, of which Ray takes the first eight or so


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
        *(sys.executable, "-m", "search.run", "--space", "schedules", "--samples", str(4 + kills)),
        *("--preset", "mini", "--teacher", str(teacher_folder), "--dataset", str(data)),
        *("--cache", str(folder / "cache"), "--storage", str(folder / "runs")),
        *("--max-concurrent", "1", "--compare-within", "all"),
        *(part for setting in settings for part in ("--set", setting)),
    ]


def storage(command):
    return Path(command[command.index("--storage") + 1])


def history(folder):
    """All that was evaluated and decided, in order, without clocks and Ray's names."""
    found = []
    for event in read_events(folder):
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


def trial_processes(driver):
    """Ray's workers under this driver that train."""
    parents, names = {}, {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            fields = (path / "stat").read_text().rpartition(")")[2].split()
            names[int(path.name)] = (path / "cmdline").read_text()
        except OSError:
            continue
        parents[int(path.name)] = int(fields[1])
    found = []
    for process, name in names.items():
        above = process
        while above in parents and above != driver:
            above = parents[above]
        if above == driver and name.startswith("ray::ImplicitFunc"):
            found.append(process)
    return found


def kill_driver(process):
    process.kill()


def kill_trial(process):
    for trial in trial_processes(process.pid):
        os.kill(trial, signal.SIGKILL)


def interrupt(process):
    process.send_signal(signal.SIGINT)


def interrupt_twice(process):
    process.send_signal(signal.SIGINT)
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)


def terminate(process):
    process.send_signal(signal.SIGTERM)


WAYS = (kill_driver, kill_driver, kill_trial, kill_trial, interrupt, interrupt_twice, terminate)


def test_killed_sweep_equals_the_untouched_one(command, untouched, request):
    kills = request.config.getoption("--kills")
    chance = random.Random(request.config.getoption("--kill-seed"))
    folder = storage(command) / "killed"
    ways = [WAYS[number % len(WAYS)] for number in range(kills)]
    chance.shuffle(ways)
    told = Counter()
    process = session([*command, "--name", "killed"])
    for way in ways:
        delay = chance.uniform(EARLIEST, LATEST)
        time.sleep(delay)
        if process.poll() is not None:
            break  # the sweep is complete
        way(process)
        told[way.__name__] += 1
        evaluations = len(history(folder)) if folder.exists() else 0
        print(f"{way.__name__} after {delay:.1f} s, {evaluations} evaluations recorded")
        if way is not kill_trial:
            output = process.communicate(timeout=120)[0]
            assert "Traceback" not in output, output
            process = session(again(command, folder))
    output = process.communicate(timeout=1800)[0]
    if process.returncode in (2, 130):  # it came too early for a run to be there, or was stopped
        process = session(again(command, folder))
        output = process.communicate(timeout=1800)[0]
    assert process.returncode == 0, output
    assert "Traceback" not in output, output

    run = read_run(folder)
    repeated = sum(trial.repeated for trial in run.trials.values())
    print(f"{sum(told.values())} kills {dict(told)}, {repeated} evaluations made again")
    assert history(folder) == history(untouched[0])
    assert {d: t.outcome for d, t in run.trials.items()} == {
        d: t.outcome for d, t in read_run(untouched[0]).trials.items()
    }
    assert board(output) == untouched[1]


def again(command, folder):
    """The command that resumes, or the first one where it was killed before there was a run."""
    if (folder / "sweep.json").exists() or (folder / "record.jsonl").exists():
        return [sys.executable, *resume_command(folder).split()[1:]]
    return [*command, "--name", folder.name]
