"""Runs as folders: found by name, refused where taken, and written by one process at a time."""

import shlex
import subprocess
import sys

import pytest

from search.record.events import RECORD
from search.record.plan_file import SWEEP
from search.record.run_folders import LOCK, find_run, refuse_existing, resume_command, run_lock
from search.run.__main__ import main
from tests.conftest import user_error
from tests.made_runs import made_run
from trainable.config.trial_config import TrialConfig

CONFIGS = [TrialConfig(alpha=0.5)]
HOLDER = """\
import sys; from pathlib import Path; from search.record.run_folders import run_lock
with run_lock(Path(sys.argv[1])): print("alone", flush=True); sys.stdin.read()
"""


@pytest.fixture
def run(tmp_path):
    return made_run(tmp_path / "runs" / "mine", CONFIGS)


def test_run_is_found_by_name_and_by_path_whichever_of_its_files_is_lost(run, monkeypatch):
    storage = run.folder.parent
    monkeypatch.chdir(storage.parent)
    monkeypatch.setenv("HOME", str(storage))
    for name in (str(run.folder), "runs/mine/", "~/mine"):
        assert find_run("--resume", name, storage / "elsewhere") == run.folder
    for lost in (SWEEP, RECORD):
        whole = (run.folder / lost).read_bytes()
        (run.folder / lost).unlink()
        assert find_run("--resume", "mine", storage) == run.folder
        (run.folder / lost).write_bytes(whole)


def test_unknown_name_lists_what_is_there(run):
    storage = run.folder.parent
    made_run(storage / "another", [])
    (storage / "no run").mkdir()
    for name in ("yours", "no run", f"{storage}/no run"):
        message = user_error(find_run, "--resume", name, storage)
        what = "not a run" if name.startswith("/") else "no run of that name"
        assert message == f"--resume {name}: {what}; runs in {storage}: another, mine"
    assert user_error(find_run, "RUN", "mine", storage / "nowhere").endswith("nowhere: none")


def test_a_trial_in_a_run_is_no_run_though_its_folder_has_a_record(run):
    of_trial = run.folder / CONFIGS[0].folder_name
    of_trial.mkdir()
    (of_trial / RECORD).touch()
    message = user_error(find_run, "--resume", str(of_trial), run.folder.parent)
    assert message == f"--resume {of_trial}: not a run; runs in {run.folder.parent}: mine"


def test_only_a_free_name_is_taken(tmp_path):
    (tmp_path / "empty").mkdir()
    for name in ("none", "empty"):
        refuse_existing(tmp_path / name)
    folder = made_run(tmp_path / "my run", CONFIGS).folder
    command = user_error(refuse_existing, folder).rpartition("continue it: ")[2]
    assert shlex.split(command) == ["python", "-m", "search.run", "--resume", str(folder)]
    assert command == resume_command(folder)
    for name in ("notes", ".notes"):
        (tmp_path / f"with {name}").mkdir()
        (tmp_path / f"with {name}" / name).touch()
        assert "--name with" in user_error(refuse_existing, tmp_path / f"with {name}")
    (tmp_path / "file").touch()
    assert "--name file" in user_error(refuse_existing, tmp_path / "file")


def test_run_killed_before_or_while_its_plan_was_written_leaves_its_name_free(tmp_path):
    folder = tmp_path / "runs" / "mine"
    with run_lock(folder):
        pass  # nothing is cleaned up behind it, as after a kill
    for name in (LOCK, f".{SWEEP}.0123abcd"):
        (folder / name).touch()
    refuse_existing(folder)
    with run_lock(folder):
        made_run(folder, CONFIGS)
    assert find_run("--resume", "mine", folder.parent) == folder


def test_a_run_has_one_process_and_is_free_after_that_one_ends_however(run, repository, refusal_of):
    for end in ("kill", "communicate"):
        command = [sys.executable, "-c", HOLDER, str(run.folder)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        with subprocess.Popen(command, cwd=repository, text=True, **pipes) as holder:
            assert holder.stdout.readline() == "alone\n"
            message = user_error(run_lock(run.folder).__enter__)
            assert message.startswith(f"RUN {run.folder}: another process is running it")
            assert refusal_of(main, "--resume", str(run.folder)) == f"error: {message}\n"
            with run_lock(run.folder.parent / "yours"):
                pass
            getattr(holder, end)()
            holder.wait()
        with pytest.raises(ValueError, match="mine"), run_lock(run.folder):
            raise ValueError("mine")
        with run_lock(run.folder):
            pass
