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
    versions = {package: version(package) for package in PACKAGES}
    assert found["versions"] == {"python": platform.python_version(), **versions}
    assert json.loads(json.dumps(found)) == found


NONE = FileNotFoundError("git")
OUTSIDE, HANGS = subprocess.CalledProcessError(128, "git"), subprocess.TimeoutExpired("git", 10)


@pytest.mark.parametrize(
    ("status", "known"),
    [
        ("", ("a" * 40, False)),
        (" M search/run/__main__.py", ("a" * 40, True)),
        *((error, (None, None)) for error in (NONE, OUTSIDE, HANGS)),
    ],
)
def test_commit_is_that_of_the_code_whatever_the_working_folder(
    monkeypatch, tmp_path, repository, status, known
):
    """What is not known is None."""

    def git(command, cwd, **settings):
        assert cwd.resolve() == repository / "search" / "record"
        if isinstance(status, Exception):
            raise status
        said = {"rev-parse": "a" * 40, "status": status}[command[1]]
        return subprocess.CompletedProcess(command, 0, said + "\n", "")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("search.record.provenance.subprocess.run", git)
    monkeypatch.setattr("search.record.provenance.PACKAGES", ("no-such-package",))
    found = provenance([])
    assert (found["commit"], found["uncommitted_changes"]) == known
    assert found["versions"]["no-such-package"] is None
