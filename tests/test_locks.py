"""The lock of a folder, against other processes: refused, waited for, given back by any end."""

import fcntl
import os
import select
import socket
import subprocess
import sys

import pytest
from trainable.locks import LOCK, LockedError, locked

HOLD = """
import sys, time
from pathlib import Path
from trainable.locks import locked
print("asks", flush=True)
with locked(Path(sys.argv[1]), wait=True):
    print("holds", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def start(repository, tmp_path):
    """Starts a process that asks for the lock of `tmp_path`, and then holds it for a minute."""
    processes = []

    def start_one():
        processes.append(
            subprocess.Popen(
                [sys.executable, "-c", HOLD, str(tmp_path)],
                cwd=repository,
                stdout=subprocess.PIPE,
                bufsize=0,
            )
        )
        assert says(processes[-1]) == "asks"
        return processes[-1]

    yield start_one
    for process in processes:
        process.kill()
        process.communicate()


def says(process, within=10.0):
    """The next line of a process; None where none comes within these seconds."""
    ready, _, _ = select.select([process.stdout], [], [], within)
    return process.stdout.readline().decode().strip() if ready else None


def test_another_process_is_refused_and_told_the_holder(start, tmp_path):
    holder = start()
    assert says(holder) == "holds"
    with (
        pytest.raises(LockedError, match=f"^process {holder.pid} on {socket.gethostname()}$"),
        locked(tmp_path, wait=False),
    ):
        pytest.fail("two hold the lock")


def test_a_killed_holder_holds_nothing(start, tmp_path):
    holder = start()
    assert says(holder) == "holds"
    holder.kill()
    holder.wait()
    with locked(tmp_path, wait=False):
        assert (tmp_path / LOCK).read_text() == f"process {os.getpid()} on {socket.gethostname()}"


def test_a_process_waits_until_the_holder_is_killed(start, tmp_path):
    holder = start()
    assert says(holder) == "holds"
    waiting = start()
    assert says(waiting, within=0.3) is None
    holder.kill()
    assert says(waiting) == "holds"
    with pytest.raises(LockedError, match=f"^process {waiting.pid} "), locked(tmp_path, wait=False):
        pytest.fail("two hold the lock")


def test_a_process_waits_until_the_block_ends(start, tmp_path):
    with locked(tmp_path, wait=False):
        waiting = start()
        assert says(waiting, within=0.3) is None
    assert says(waiting) == "holds"


def test_the_same_process_holds_it_once(tmp_path):
    with (
        locked(tmp_path, wait=False),
        pytest.raises(LockedError, match=f"^process {os.getpid()} on "),
        locked(tmp_path, wait=False),
    ):
        pytest.fail("held twice")
    with locked(tmp_path, wait=False):
        assert (tmp_path / LOCK).exists()


@pytest.mark.parametrize("ending", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_error_gives_it_back(tmp_path, ending):
    with pytest.raises(ending), locked(tmp_path, wait=False):
        raise ending
    with locked(tmp_path, wait=False):
        pass


def test_folders_are_locked_apart(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    with locked(tmp_path / "one", wait=False), locked(tmp_path / "two", wait=False):
        assert sorted(path.name for path in tmp_path.rglob(LOCK)) == [LOCK, LOCK]


def test_a_holder_that_has_not_said_its_name_yet(tmp_path):
    with open(tmp_path / LOCK, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with (
            pytest.raises(LockedError, match=r"^another process$"),
            locked(tmp_path, wait=False),
        ):
            pytest.fail("two hold the lock")


def test_a_longer_name_before_leaves_nothing_behind(tmp_path):
    (tmp_path / LOCK).write_text("process 1234567890 on " + "a-host-with-a-long-name" * 9)
    with locked(tmp_path, wait=False):
        assert (tmp_path / LOCK).read_text() == f"process {os.getpid()} on {socket.gethostname()}"


def test_a_folder_that_is_not_there_has_no_lock(tmp_path):
    with pytest.raises(FileNotFoundError), locked(tmp_path / "nowhere", wait=False):
        pytest.fail("locked")
