"""How a number was made: what is recorded is true, and plain JSON."""

import json
import platform
import shlex
import subprocess
from datetime import UTC, datetime, timedelta
from importlib.metadata import version

import pytest
import torch

from search.provenance import PACKAGES, device_name, provenance


def no_git(*arguments, **settings):
    raise FileNotFoundError("git")


def failing_git(*arguments, **settings):
    raise subprocess.CalledProcessError(128, "git")


def slow_git(*arguments, **settings):
    raise subprocess.TimeoutExpired("git", 10)


def answering_git(answers):
    """A git that gives these answers by its first argument."""

    def run(command, **settings):
        return subprocess.CompletedProcess(command, 0, answers[command[1]] + "\n", "")

    return run


@pytest.mark.parametrize(
    "arguments",
    [
        ["--space", "study"],
        ["--name", "my run", "--set", "alpha_schedule=cosine_^shape"],
        ["--dataset", "a'b\"c $HOME"],
        [],
    ],
)
def test_command_can_be_pasted_into_a_shell(arguments):
    command = provenance(arguments)["command"]
    assert shlex.split(command) == ["python", "-m", "search.run", *arguments]


def test_started_is_now_in_utc():
    started = datetime.fromisoformat(provenance([])["started"])
    assert started.utcoffset() == timedelta(0)
    assert abs(datetime.now(UTC) - started) < timedelta(seconds=20)


def test_versions_are_those_installed():
    found = provenance([])["versions"]
    assert set(found) == {"python", *PACKAGES}
    assert found["python"] == platform.python_version()
    for package in ("ray", "torch", "transformers", "numpy"):
        assert found[package] == version(package)


def test_package_that_is_not_there_is_none(monkeypatch):
    monkeypatch.setattr("search.provenance.PACKAGES", ("no-such-package",))
    assert provenance([])["versions"]["no-such-package"] is None


def test_all_of_it_is_json():
    found = provenance(["--space", "study"])
    assert json.loads(json.dumps(found)) == found
    assert set(found) == {
        "command",
        "started",
        "commit",
        "uncommitted_changes",
        "versions",
        "device",
    }


@pytest.mark.parametrize(("status", "changed"), [("", False), (" M search/run.py", True)])
def test_commit_and_uncommitted_changes(monkeypatch, status, changed):
    git = answering_git({"rev-parse": "a" * 40, "status": status})
    monkeypatch.setattr("search.provenance.subprocess.run", git)
    found = provenance([])
    assert (found["commit"], found["uncommitted_changes"]) == ("a" * 40, changed)


@pytest.mark.parametrize("git", [no_git, failing_git, slow_git])
def test_commit_is_none_where_git_knows_nothing(monkeypatch, git):
    monkeypatch.setattr("search.provenance.subprocess.run", git)
    assert provenance([])["commit"] is None


def test_git_is_asked_about_the_code_not_the_working_folder(monkeypatch, tmp_path, repository):
    asked = []

    def git(command, cwd, **settings):
        asked.append(cwd)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("search.provenance.subprocess.run", git)
    provenance([])
    assert {folder.resolve() for folder in asked} == {repository / "search"}


def test_device_is_the_gpu_where_there_is_one(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA GeForce RTX 3090")
    assert device_name() == "NVIDIA GeForce RTX 3090"


def test_device_is_the_processor_elsewhere(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device_name().strip()
