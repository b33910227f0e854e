"""Signals by hand: once the trials are asked to save, twice the process is gone."""

import io
import os
import shlex
import signal
import subprocess
import sys
import time
from contextlib import suppress

import psutil
import pytest
from rich.console import Console

from search.exit_codes import FAILURES, INTERRUPTED
from search.record.run_folders import resume_command
from search.sweep.processes.signals import BEFORE_RUN, SIGNALS, Interruption
from tests.clusters import wait_until
from trainable.common.pause import PAUSE

EVERY_SIGNAL = pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
SESSION = """\
import sys, time
from pathlib import Path
from rich.console import Console
from search.sweep.processes.signals import Interruption

with Interruption(Console()) as interruption:
    interruption.attach(Path(sys.argv[1]))
    print("ready", flush=True)
    try:
        while not interruption.requested:
            time.sleep(0.01)
        Path(sys.argv[2]).touch()
        time.sleep(60)
    finally:
        print("tidied up", flush=True)
"""


@pytest.fixture
def console():
    return Console(file=io.StringIO())


@pytest.fixture
def attached(tmp_path, console):
    (tmp_path / PAUSE).touch()  # of a session that was killed
    with Interruption(console) as interruption:
        interruption.attach(tmp_path)
        assert (interruption.requested, list(tmp_path.iterdir())) == (False, [])
        yield interruption
    assert not (tmp_path / PAUSE).exists()


@pytest.fixture(autouse=True)
def handlers():
    """Those before the test, which it must leave as they were."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield before
    found = {number: signal.getsignal(number) for number in SIGNALS}
    for number, handler in before.items():
        signal.signal(number, handler)
    assert found == before


@pytest.fixture
def session(tmp_path, repository):
    """Starts a process that holds the signals, and sends it one, which it has heard then."""
    processes = []

    def start(folder, number, closed):
        folder.mkdir()
        heard = folder.with_name(f"heard of {folder.name}")
        command = [sys.executable, "-c", SESSION, str(folder), str(heard)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        processes.append(process := subprocess.Popen(command, cwd=repository, **pipes))
        assert process.stdout.readline() == "ready\n"
        if closed:
            process.stdout.close()
        process.send_signal(number)
        while not heard.exists():
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.01)
        assert (folder / PAUSE).exists()
        return process

    yield start
    for process in processes:
        process.kill()
        process.wait()


@EVERY_SIGNAL
def test_signal_asks_the_trials_to_save_also_where_a_library_took_it(tmp_path, attached, number):
    signal.signal(number, signal.SIG_IGN)  # as `ray.init` takes SIGTERM
    attached.hold()
    signal.raise_signal(number)
    assert (attached.requested, attached.problem) == (True, "")
    assert [path.name for path in tmp_path.iterdir()] == [PAUSE]


@EVERY_SIGNAL
def test_signal_before_there_is_a_run_ends_the_command(tmp_path, console, number):
    with Interruption(console) as interruption:
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
        with pytest.raises(KeyboardInterrupt):  # the first was swallowed by a library
            interruption.attach(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_problem_pauses_too_and_the_first_is_told(tmp_path, attached):
    signal.raise_signal(signal.SIGINT)
    for problem in ("no space left", "no memory left", ""):
        attached.pause(problem)
    assert (attached.requested, attached.problem) == (True, "no space left")
    assert (tmp_path / PAUSE).exists()
    (tmp_path / PAUSE).unlink()
    tmp_path.rename(tmp_path.with_name("gone"))  # a request that can't be made is a problem itself
    attached.problem = ""
    attached.pause()
    assert str(tmp_path / PAUSE) in attached.problem


def test_where_another_session_has_taken_over_nothing_of_its_run_is_touched(tmp_path, console):
    """Its trials would heed the request, and its own request would be taken back."""
    with Interruption(console) as interruption:
        interruption.attach(tmp_path)
        interruption.pause("another session", taken_over=True)
        interruption.pause()
        assert (interruption.requested, [*tmp_path.iterdir()]) == (True, [])
        (tmp_path / PAUSE).touch()
    assert (tmp_path / PAUSE).exists()


class MidPrint(io.RawIOBase):
    """A file during whose first writing a signal comes; or, without one, of a closed terminal."""

    def __init__(self, number=None):
        self._coming = [number] if number else []

    def writable(self):
        return True

    def write(self, content):
        if not self._coming:
            raise OSError(5, "Input/output error")
        while self._coming[0]:
            number, self._coming[0] = self._coming[0], None
            signal.raise_signal(number)
        return len(content)


@EVERY_SIGNAL
@pytest.mark.parametrize("printing", [True, False])
def test_it_is_heard_in_the_midst_of_a_print_and_where_nothing_can_be_printed(
    tmp_path, capfd, number, printing
):
    file = MidPrint(number if printing else None)
    console = Console(file=io.TextIOWrapper(io.BufferedWriter(file)))
    with Interruption(console) as interruption:
        interruption.attach(tmp_path)
        if printing:
            console.print("a line of the sweep's")
        else:
            signal.raise_signal(number)
        assert interruption.requested
        assert (tmp_path / PAUSE).exists()
    if printing:
        said = " ".join(capfd.readouterr().out.split())
        assert said.startswith("Interrupted: ")
        assert "Press Ctrl-C again" in said


@pytest.mark.parametrize(
    ("first", "second", "closed"),
    [
        (signal.SIGINT, signal.SIGINT, False),
        (signal.SIGTERM, signal.SIGHUP, False),
        (signal.SIGINT, signal.SIGINT, True),  # as `| tee log` leaves it, which Ctrl-C ends, too
    ],
    ids=["Ctrl-C", "others", "closed pipe"],
)
def test_twice_leaves_at_once_with_the_command_to_go_on(tmp_path, session, first, second, closed):
    folder = tmp_path / "my run"
    process = session(folder, first, closed)
    assert process.poll() is None
    process.send_signal(second)
    if closed:
        assert process.wait(timeout=20) == INTERRUPTED
        return
    output, errors = process.communicate(timeout=20)  # of the minute that it would sleep
    assert (process.returncode, errors) == (INTERRUPTED, "") == (130, "")
    assert output.splitlines()[-1] == resume_command(folder)
    assert shlex.split(resume_command(folder))[-2:] == ["--resume", str(folder)]
    assert "tidied up" not in output
    assert (folder / PAUSE).exists()  # the next session removes it; trials still under way stop


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM], ids=lambda n: n.name)
def test_children_outlive_what_signals_the_whole_group(attached, number):
    """Ray's processes get the same signal and would take the trials with them; and they end with
    the thread that started them, as they ask the kernel."""
    script = "import ctypes, time; ctypes.CDLL(None).prctl(1, 9); print(flush=True); time.sleep(30)"

    def start():
        child = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
        assert child.stdout.readline()
        return child

    child = attached.shielded(start)
    try:
        time.sleep(0.3)
        child.send_signal(number)
        time.sleep(0.3)
        assert child.poll() is None
    finally:
        child.kill()
        child.wait()
    assert not attached.requested
    signal.raise_signal(number)
    assert attached.requested


@EVERY_SIGNAL
def test_a_signal_is_heard_while_a_start_hangs(attached, number):
    def hang():
        os.kill(os.getpid(), number)
        while not attached.requested:
            time.sleep(0.01)
        return "started"

    assert attached.shielded(hang) == "started"


def test_under_nohup_a_closed_terminal_changes_nothing(tmp_path, console, handlers):
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with Interruption(console) as interruption:
        interruption.attach(tmp_path)
        interruption.hold()
        signal.raise_signal(signal.SIGHUP)
        assert not interruption.requested
    signal.signal(signal.SIGHUP, handlers[signal.SIGHUP])


HANGING = """\
import sys, time
from pathlib import Path
from rich.console import Console
from search.sweep.processes import signals
signals.LEAVE_SECONDS = signals.UNWIND_SECONDS = 0.5
_, *folder, problem = sys.argv
with signals.Interruption(Console()) as interruption:
    try:
        if folder:
            interruption.attach(Path(*folder))
            interruption.pause(problem)
        print("hangs", flush=True)
        time.sleep(60)
    except KeyboardInterrupt:
        time.sleep(60)
"""
# Starts `sleep`, and leaves it behind.
LEAVING = """\
import subprocess
from search.exit_codes import adopt_orphans, leave
adopt_orphans()
started = subprocess.run(["sh", "-c", "sleep 60 >/dev/null 2>&1 & echo $!"], stdout=subprocess.PIPE)
print(started.stdout.decode(), flush=True)
leave(3)
"""


@pytest.mark.parametrize(
    ("problem", "code"), [("", INTERRUPTED), ("the disk is full", FAILURES), (None, INTERRUPTED)]
)
def test_what_hangs_is_left_behind(tmp_path, repository, problem, code):
    """As Ray's own calls do for a minute when its processes have died, and before there is a run
    (None) the call of a storage that does not answer."""
    folder = [] if problem is None else [str(tmp_path)]
    command = [sys.executable, "-c", HANGING, *folder, problem or ""]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command, cwd=repository, **pipes)
    assert process.stdout.readline() == "hangs\n"
    if problem is None:
        process.send_signal(signal.SIGTERM)
    output, errors = process.communicate(timeout=30)
    assert process.returncode == code
    assert output.splitlines()[-1:] == ([resume_command(tmp_path)] if folder else [])
    said = f"error: {problem}\n" if problem else ""
    assert errors == (f"{BEFORE_RUN}\n" if problem is None else said)


def test_nothing_that_a_command_started_outlives_it(repository):
    command = [sys.executable, "-c", LEAVING]
    done = subprocess.run(command, cwd=repository, check=False, capture_output=True, text=True)
    assert done.returncode == 3
    with suppress(psutil.NoSuchProcess):  # a signal takes effect once the system gets to it
        started = psutil.Process(int(done.stdout))
        wait_until(lambda: started.status() == psutil.STATUS_ZOMBIE, 5)


@pytest.mark.parametrize("module", ["search.run", "trainable"])
def test_ctrl_c_while_a_command_loads_is_one_line(repository, module):
    command = [sys.executable, "-X", "importtime", "-m", module, "--help"]
    process = subprocess.Popen(command, cwd=repository, stderr=subprocess.PIPE, text=True)
    while "trainable.common.errors" not in (line := process.stderr.readline()):
        assert line
    process.send_signal(signal.SIGINT)
    lines = process.communicate(timeout=20)[1].splitlines()
    assert process.returncode == INTERRUPTED
    assert [line for line in lines if not line.startswith("import time:")] == ["interrupted"]
