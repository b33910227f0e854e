"""Runs as folders: found by name, refused where taken, and written by one process at a time."""

import shlex
import socket
import subprocess
import sys

import pytest
from trainable.locks import LOCK

from search.record import RECORD, SWEEP, create_run
from search.run import main
from search.runs import alone_with, find_run, refuse_existing, resume_command
from trainable.config import TrialConfig
from trainable.errors import UserError

CONFIGS = [TrialConfig(alpha=0.5)]
HOLDER = """\
import sys
from pathlib import Path
from trainable.locks import locked  # which `alone_with` takes; loads within a moment

with locked(Path(sys.argv[1]), wait=False):
    print("alone", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def run(tmp_path):
    return create_run(tmp_path / "runs" / "mine", {"seed": 3}, CONFIGS)


@pytest.fixture
def hold(repository):
    """Starts a process that runs this run; returns it once it does."""
    holders = []

    def start(folder):
        holders.append(
            subprocess.Popen(
                [sys.executable, "-c", HOLDER, str(folder)],
                cwd=repository,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        )
        assert holders[-1].stdout.readline() == "alone\n"
        return holders[-1]

    yield start
    for holder in holders:
        holder.kill()
        holder.communicate()


def refusal(refused, *arguments):
    """The one line of the user's error that this call must end in."""
    with pytest.raises(UserError) as caught:
        refused(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def enter(folder):
    with alone_with(folder):
        raise AssertionError("not alone")


def test_run_is_found_by_name_and_by_path(run, monkeypatch):
    storage = run.folder.parent
    assert find_run("--resume", "mine", storage) == run.folder
    assert find_run("--resume", str(run.folder), storage / "elsewhere") == run.folder
    monkeypatch.chdir(storage.parent)
    assert find_run("--resume", "runs/mine", storage / "elsewhere") == run.folder
    assert find_run("--resume", "runs/mine/", storage / "elsewhere") == run.folder
    monkeypatch.setenv("HOME", str(storage))
    assert find_run("--resume", "~/mine", storage / "elsewhere") == run.folder


@pytest.mark.parametrize("lost", [SWEEP, RECORD])
def test_run_that_lost_a_file_is_found_by_the_other(run, lost):
    (run.folder / lost).unlink()
    assert find_run("--resume", "mine", run.folder.parent) == run.folder


def test_unknown_name_lists_what_is_there(run):
    storage = run.folder.parent
    create_run(storage / "another", {}, [])
    (storage / "no run").mkdir()
    for name in ("yours", "no run"):
        message = refusal(find_run, "--resume", name, storage)
        assert message.startswith(f"--resume {name}: no such run in {storage}")
        assert message.endswith("there: another, mine")


@pytest.mark.parametrize("made", [True, False])
def test_unknown_name_where_there_is_no_run(tmp_path, made):
    storage = tmp_path / "runs"
    if made:
        storage.mkdir()
    assert refusal(find_run, "--resume", "mine", storage).endswith("there: none")


@pytest.mark.parametrize("name", ["mine", "my run"])
def test_existing_name_is_refused_with_the_command_to_resume(tmp_path, name):
    folder = create_run(tmp_path / name, {}, CONFIGS).folder
    message = refusal(refuse_existing, folder)
    assert message.startswith(f"--name {name}: ")
    command = shlex.split(message[message.index("python -m") :])
    assert command == ["python", "-m", "search.run", "--resume", str(folder)]
    assert shlex.split(resume_command(folder)) == command


@pytest.mark.parametrize("content", ["file", "folder", "hidden file"])
def test_folder_with_anything_in_it_is_refused(tmp_path, content):
    folder = tmp_path / "mine"
    folder.mkdir()
    if content == "folder":
        (folder / content).mkdir()
    else:
        (folder / {"file": "notes", "hidden file": ".notes"}[content]).write_text("")
    assert "--name mine" in refusal(refuse_existing, folder)


def test_file_of_that_name_is_refused(tmp_path):
    (tmp_path / "mine").write_text("")
    assert "--name mine" in refusal(refuse_existing, tmp_path / "mine")


def test_free_names_are_not_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    for name in ("none", "empty"):
        refuse_existing(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


def test_run_killed_before_its_plan_was_written_leaves_its_name_free(tmp_path):
    folder = tmp_path / "runs" / "mine"
    with alone_with(folder):
        pass  # nothing is cleaned up behind it, as after a kill
    assert [path.name for path in folder.iterdir()] == [LOCK]
    refuse_existing(folder)
    with alone_with(folder):
        create_run(folder, {}, CONFIGS)
    assert find_run("--resume", "mine", folder.parent) == folder


def test_run_killed_while_its_plan_was_written_is_no_dead_end(tmp_path):
    """`whole_file` leaves a hidden file where it is killed before it gives it its name."""
    folder = tmp_path / "runs" / "mine"
    folder.mkdir(parents=True)
    for name in (LOCK, f".{SWEEP}.0123abcd"):
        (folder / name).write_text("")
    try:
        refuse_existing(folder)
    except UserError:
        assert find_run("--resume", "mine", folder.parent) == folder


def test_name_taken_while_the_teacher_was_prepared_is_refused(tmp_path, monkeypatch, capsys):
    """Another sweep of that name ran meanwhile; its record must not be written into."""
    from trainable.task import Task

    from search import preparation
    from trainable.teacher import Teacher

    teacher = Teacher("", "", False, 0.5, "", 0.0)
    task = Task("", 0, [], teacher, {}, "", "cpu", {})
    folder = tmp_path / "runs" / "mine"

    def prepare(request, console):
        create_run(folder, {"seed": 3}, CONFIGS)
        return preparation.PreparedSweep(CONFIGS, CONFIGS, task, 1)

    monkeypatch.setattr(preparation, "prepare_sweep", prepare)
    monkeypatch.setattr("search.session.run_trials", lambda *arguments: None)
    argv = ["--space", "baselines", "--preset", "mini", "--name", "mine"]
    argv += ["--storage", str(folder.parent), "--cache", str(tmp_path / "cache")]
    assert main(argv) == 2
    assert "--name mine" in capsys.readouterr().err
    assert (folder / RECORD).read_bytes().count(b"\n") == 1


def test_second_process_is_refused_and_told_of_the_first(run, hold, capsys):
    holder = hold(run.folder)
    message = refusal(enter, run.folder)
    assert message.startswith(f"RUN {run.folder}: ")
    assert f"process {holder.pid} on {socket.gethostname()} is running it" in message
    assert main(["--resume", str(run.folder)]) == 2
    assert capsys.readouterr().err == f"error: {message}\n"


def test_lock_ends_with_its_process_however_that_ends(run, hold):
    for end in ("kill", "communicate"):
        holder = hold(run.folder)
        refusal(enter, run.folder)
        getattr(holder, end)()
        holder.wait()
        with alone_with(run.folder):
            pass


def test_lock_is_given_back_after_an_error(run):
    for _ in range(2):
        with pytest.raises(ValueError, match="mine"), alone_with(run.folder):
            raise ValueError("mine")


def test_runs_do_not_lock_each_other(run, tmp_path, hold):
    hold(run.folder)
    with alone_with(tmp_path / "runs" / "yours"):
        pass
