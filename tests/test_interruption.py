"""Signals by hand: once the trials are asked to save, twice the process is gone."""

import io
import shlex
import signal
import subprocess
import sys
import time

import pytest
from rich.console import Console

from search.exit_codes import INTERRUPTED
from search.interruption import SIGNALS, Interruption
from search.runs import resume_command
from trainable.pause import PAUSE

EVERY_SIGNAL = pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
SESSION = """\
import sys, time
from pathlib import Path
from rich.console import Console
from search.interruption import Interruption

with Interruption(Console()) as interruption:
    interruption.attach(Path(sys.argv[1]))
    print("ready", flush=True)
    try:
        while not interruption.requested:
            time.sleep(0.01)
        Path(sys.argv[2]).write_text(str(interruption.requested))
        time.sleep(60)
    finally:
        print("tidied up", flush=True)
"""


@pytest.fixture
def console():
    return Console(file=io.StringIO())


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
    """Starts a process that holds the signals; returns it once it does."""
    processes = []

    def start(folder):
        folder.mkdir()
        processes.append(
            subprocess.Popen(
                [sys.executable, "-c", SESSION, str(folder), str(told_in(folder))],
                cwd=repository,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.wait()


def told_in(folder):
    return folder.with_name(f"told of {folder.name}")


def wait_until_told(process, folder):
    """Until the process says that it was interrupted; false if it ends without."""
    while process.poll() is None:
        if told_in(folder).exists():
            return True
        time.sleep(0.01)
    return False


def test_all_that_end_a_command_are_held():
    assert {number.name for number in SIGNALS} == {"SIGINT", "SIGTERM", "SIGHUP"}


@EVERY_SIGNAL
def test_signal_asks_the_trials_to_save(tmp_path, console, number):
    with Interruption(console) as interruption:
        interruption.attach(tmp_path)
        assert (interruption.requested, list(tmp_path.iterdir())) == (False, [])
        signal.raise_signal(number)
        assert (interruption.requested, interruption.problem) == (True, "")
        assert [path.name for path in tmp_path.iterdir()] == [PAUSE]
        assert "Press Ctrl-C again to exit immediately" in " ".join(console.file.getvalue().split())


@EVERY_SIGNAL
def test_signal_before_there_is_a_run_ends_the_command(tmp_path, console, number):
    with Interruption(console) as interruption:
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
        with pytest.raises(KeyboardInterrupt):  # the first was swallowed by a library
            interruption.attach(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("interrupted", [True, False])
def test_handlers_and_file_are_as_before_at_the_end(tmp_path, console, handlers, interrupted):
    def fail():
        with Interruption(console) as interruption:
            interruption.attach(tmp_path)
            assert all(signal.getsignal(number) != handlers[number] for number in SIGNALS)
            if interrupted:
                signal.raise_signal(signal.SIGTERM)
            raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        fail()
    assert list(tmp_path.iterdir()) == []
    assert {number: signal.getsignal(number) for number in SIGNALS} == handlers


def test_file_of_a_session_that_was_killed_is_removed(tmp_path, console):
    (tmp_path / PAUSE).touch()
    with Interruption(console) as interruption:
        interruption.attach(tmp_path)
        assert list(tmp_path.iterdir()) == []
        assert not interruption.requested


def test_without_a_run_there_is_no_file_to_remove(console):
    with Interruption(console) as interruption:
        assert not interruption.requested


@EVERY_SIGNAL
def test_signals_that_a_library_took_are_taken_back(tmp_path, console, number):
    """`ray.init` takes SIGTERM."""
    with Interruption(console) as interruption:
        interruption.attach(tmp_path)
        signal.signal(number, signal.SIG_IGN)
        interruption.hold()
        signal.raise_signal(number)
        assert interruption.requested


def test_problem_pauses_too_and_the_first_is_told(tmp_path, console):
    with Interruption(console) as interruption:
        interruption.attach(tmp_path)
        interruption.pause("no space left")
        interruption.pause("no memory left")
        interruption.pause()
        assert (interruption.requested, interruption.problem) == (True, "no space left")
        assert (tmp_path / PAUSE).exists()


def test_problem_after_a_signal_is_told(tmp_path, console):
    with Interruption(console) as interruption:
        interruption.attach(tmp_path)
        signal.raise_signal(signal.SIGINT)
        interruption.pause("no space left")
        assert interruption.problem == "no space left"


def test_file_that_cannot_be_made_is_a_problem(tmp_path, console):
    folder = tmp_path / "run"
    folder.mkdir()
    with Interruption(console) as interruption:
        interruption.attach(folder)
        folder.rmdir()
        signal.raise_signal(signal.SIGINT)
        assert interruption.requested
        assert str(folder / PAUSE) in interruption.problem


def test_leaving_the_loop_is_tunes_own_signal(console):
    received, latest = [], time.monotonic() + 10
    before = signal.signal(signal.SIGUSR1, lambda number, frame: received.append(number))
    try:
        Interruption(console).leave_loop()
        while not received and time.monotonic() < latest:
            time.sleep(0.01)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert received == [signal.SIGUSR1]


@EVERY_SIGNAL
def test_closed_terminal_does_not_keep_the_trials_from_saving(tmp_path, number):
    """SIGHUP comes when the terminal has gone, and then nothing can be printed there."""

    class Gone(io.StringIO):
        def write(self, text):
            raise OSError(5, "Input/output error")

    with Interruption(Console(file=Gone())) as interruption:
        interruption.attach(tmp_path)
        signal.raise_signal(number)
        assert interruption.requested
        assert (tmp_path / PAUSE).exists()


def test_closed_pipe_does_not_keep_the_trials_from_saving(tmp_path, session):
    """As `| tee log` leaves it, which the same Ctrl-C ends."""
    folder = tmp_path / "run"
    process = session(folder)
    assert process.stdout.readline() == "ready\n"
    process.stdout.close()
    process.send_signal(signal.SIGINT)
    assert wait_until_told(process, folder), process.stderr.read()
    assert process.poll() is None
    assert (folder / PAUSE).exists()
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=20) == INTERRUPTED


class MidPrint(io.RawIOBase):
    """A file during whose first writing a signal comes."""

    def __init__(self, number):
        self._coming = [number]

    def writable(self):
        return True

    def write(self, content):
        while self._coming:
            signal.raise_signal(self._coming.pop())
        return len(content)


@EVERY_SIGNAL
def test_in_the_midst_of_a_print_it_is_heard_and_told(tmp_path, capfd, number):
    console = Console(file=io.TextIOWrapper(io.BufferedWriter(MidPrint(number))))
    with Interruption(console) as interruption:
        interruption.attach(tmp_path)
        console.print("a line of the sweep's")
        assert interruption.requested
        assert (tmp_path / PAUSE).exists()
    assert capfd.readouterr().out.startswith("\nInterrupted: running trials finish their step")


def test_twice_leaves_at_once_with_the_command_to_go_on(tmp_path, session):
    folders = [tmp_path / "run", tmp_path / "my run", tmp_path / "other"]
    firsts = SIGNALS
    seconds = (signal.SIGINT, signal.SIGHUP, signal.SIGTERM)
    processes = [session(folder) for folder in folders]
    for process, folder, first, second in zip(processes, folders, firsts, seconds, strict=True):
        assert process.stdout.readline() == "ready\n"
        process.send_signal(first)
        assert wait_until_told(process, folder), process.stderr.read()
        assert process.poll() is None
        process.send_signal(second)
        output, errors = process.communicate(timeout=20)  # of the minute that it would sleep
        assert (process.returncode, errors) == (INTERRUPTED, "") == (130, "")
        last = output.splitlines()[-1]
        assert last == resume_command(folder)
        assert shlex.split(last)[-2:] == ["--resume", str(folder)]
        assert "tidied up" not in output
        assert (folder / PAUSE).exists()  # the next session removes it; trials still under way stop


def test_children_outlive_a_closed_terminal(tmp_path):
    """Ray's processes get the same SIGHUP and would take the trials with them."""
    with Interruption(Console(file=io.StringIO())) as interruption:
        interruption.attach(tmp_path)
        interruption.spare_children()
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(30)"])
        interruption.hold()
        child.send_signal(signal.SIGHUP)
        time.sleep(0.3)
        assert child.poll() is None
        child.kill()
        child.wait()
        signal.raise_signal(signal.SIGHUP)
        assert interruption.requested


def test_under_nohup_a_closed_terminal_changes_nothing(tmp_path):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interruption(Console(file=io.StringIO())) as interruption:
            interruption.attach(tmp_path)
            interruption.hold()
            signal.raise_signal(signal.SIGHUP)
            assert not interruption.requested
    finally:
        signal.signal(signal.SIGHUP, before)
