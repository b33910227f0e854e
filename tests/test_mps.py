"""Whether MPS is running, from what its daemon leaves behind; not sure means no."""

import os
import socket

import pytest

from trainable.mps import mps_running

NUMBER = 4242


@pytest.fixture
def daemon(tmp_path):
    """Makes what a running daemon shows of itself; a test takes away or spoils a part."""

    class Daemon:
        pipes, processes = tmp_path / "pipes", tmp_path / "processes"
        environment = {"CUDA_MPS_PIPE_DIRECTORY": str(pipes)}

        def running(self):
            return mps_running(self.environment, self.processes)

    made = Daemon()
    made.pipes.mkdir()
    os.mkfifo(made.pipes / "control")
    (made.pipes / "nvidia-cuda-mps-control.pid").write_text(f"{NUMBER}\n")
    (made.processes / str(NUMBER)).mkdir(parents=True)
    (made.processes / str(NUMBER) / "comm").write_text("nvidia-cuda-mps\n")
    return made


def test_a_live_daemon(daemon):
    assert daemon.running()


def test_its_control_may_be_a_socket(daemon, monkeypatch):
    (daemon.pipes / "control").unlink()
    monkeypatch.chdir(daemon.pipes)  # a socket's path must be short
    with socket.socket(socket.AF_UNIX) as control:
        control.bind("control")
        assert daemon.running()


def test_no_such_folder(daemon, tmp_path):
    assert not mps_running({"CUDA_MPS_PIPE_DIRECTORY": str(tmp_path / "no")}, daemon.processes)


@pytest.mark.parametrize("missing", ["control", "nvidia-cuda-mps-control.pid"])
def test_a_part_is_missing(daemon, missing):
    (daemon.pipes / missing).unlink()
    assert not daemon.running()


def test_killed_daemon_whose_files_are_still_there(daemon):
    (daemon.processes / str(NUMBER) / "comm").unlink()
    assert not daemon.running()


def test_number_that_another_program_has_now(daemon):
    (daemon.processes / str(NUMBER) / "comm").write_text("bash\n")
    assert not daemon.running()


@pytest.mark.parametrize("text", ["", "none", "-1", "0", "4243"])
def test_number_that_says_nothing(daemon, text):
    (daemon.pipes / "nvidia-cuda-mps-control.pid").write_text(text)
    assert not daemon.running()


def test_control_that_is_an_ordinary_file(daemon):
    (daemon.pipes / "control").unlink()
    (daemon.pipes / "control").write_text("")
    assert not daemon.running()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anything")
def test_control_that_may_not_be_written_to(daemon):
    (daemon.pipes / "control").chmod(0o400)
    assert not daemon.running()


def test_this_process_is_no_daemon(daemon):
    """With the system's own list of processes."""
    (daemon.pipes / "nvidia-cuda-mps-control.pid").write_text(str(os.getpid()))
    assert not mps_running(daemon.environment)


@pytest.mark.parametrize("environment", [{}, {"CUDA_MPS_PIPE_DIRECTORY": ""}])
def test_the_folder_where_none_is_named(daemon, monkeypatch, environment):
    assert not mps_running(environment, daemon.processes)
    monkeypatch.setattr("trainable.mps.PIPES", str(daemon.pipes))
    assert mps_running(environment, daemon.processes)
