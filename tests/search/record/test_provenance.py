"""How a number was made: what is recorded is true, and plain JSON."""

import json
import platform
import shlex
import subprocess
from datetime import UTC, datetime, timedelta
from importlib.metadata import version

import pytest

from search.record.provenance import PACKAGES, provenance


def test_command_time_and_versions():
    arguments = ["--name", "my run", "--set", "alpha_schedule=cosine_^shape", "a'b\"c $HOME"]
    found = provenance(arguments)
    assert shlex.split(found["command"]) == ["python", "-m", "search.run", *arguments]
    started = datetime.fromisoformat(found["started"])
    assert started.utcoffset() == timedelta(0)
    assert abs(datetime.now(UTC) - started) < timedelta(seconds=20)
    assert found["versions"] == {
        "python": platform.python_version(),
        **{package: version(package) for package in PACKAGES},
    }
    assert json.loads(json.dumps(found)) == found


@pytest.mark.parametrize(("status", "changed"), [("", False), (" M search/run/__main__.py", True)])
def test_commit_is_that_of_the_code_whatever_the_working_folder(
    monkeypatch, tmp_path, repository, status, changed
):
    folders = []

    def git(command, cwd, **settings):
        folders.append(cwd.resolve())
        said = {"rev-parse": "a" * 40, "status": status}[command[1]]
        return subprocess.CompletedProcess(command, 0, said + "\n", "")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("search.record.provenance.subprocess.run", git)
    found = provenance([])
    assert (found["commit"], found["uncommitted_changes"]) == ("a" * 40, changed)
    assert set(folders) == {repository / "search" / "record"}


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError("git"),
        subprocess.CalledProcessError(128, "git"),
        subprocess.TimeoutExpired("git", 10),
    ],
)
def test_what_is_not_known_is_none(monkeypatch, error):
    def fail(*arguments, **settings):
        raise error

    monkeypatch.setattr("search.record.provenance.subprocess.run", fail)
    monkeypatch.setattr("search.record.provenance.PACKAGES", ("no-such-package",))
    found = provenance([])
    assert (found["commit"], found["uncommitted_changes"]) == (None, None)
    assert found["versions"]["no-such-package"] is None
