"""The check for a machine with a GPU, tried on one without."""

import json
import os
import subprocess
import sys

import pytest

from tests.gpu_check import TESTS, gpu_tests
from tests.scripts import gpu_trial

FILES = {  # of tests, and how their processes are to end
    "fails": ("assert 1 + 1 == 3", "1 failed"),
    "hangs": ("import time; time.sleep(600)", "out of time after 6 s"),
    "hangs_in_c": ("import ctypes; ctypes.PyDLL(None).sleep(600)", "out of time after 6 s"),
    "kills": ("import os; os.kill(os.getpid(), 9)", "ended by SIGKILL"),
    "works": ("pass", "1 passed"),
}


def test_every_test_that_needs_a_gpu_is_among_those_it_runs(repository):
    marked = {
        str(path.relative_to(repository))
        for path in repository.glob("tests/**/test_*.py")
        if "pytest.mark.gpu" in path.read_text() and path.name != "test_gpu_check.py"
    }
    assert len(marked) >= 4
    assert marked == set(gpu_tests(TESTS))


@pytest.mark.slow
def test_what_hangs_fails_or_dies_costs_the_tables_nothing(repository, tmp_path):
    """Each within its time, with the failures before it and where it hung."""
    for name, (body, _) in FILES.items():
        text = f"import pytest\npytestmark = [pytest.mark.gpu]\ndef test_it():\n    {body}\n"
        before = "def test_before():\n    raise KeyError('shown all the same')\n"
        (tmp_path / f"test_{name}.py").write_text(
            text.replace("def", before + "def", name == "hangs")
        )
    command = [sys.executable, "-m", "tests.gpu_check", "--part", "tests", "--seconds", "6"]
    done = subprocess.run(
        [*command, "--tests", str(tmp_path)],
        cwd=repository,
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "KeyError: 'shown all the same'" in done.stdout
    assert "line 4 in test_it" in done.stdout.replace(":4: in", " line 4 in")
    rows = done.stdout.splitlines()[-len(FILES) :]
    for row, (name, (_, end)) in zip(rows, sorted(FILES.items()), strict=True):
        _, path, how, seconds, _ = row.split("|")
        assert path.strip().endswith(f"test_{name}.py")
        assert end in how
        assert float(seconds) < 6 + 15


@pytest.mark.slow
def test_a_whole_trial_on_this_machine(monkeypatch, capsys):
    """Its evaluations, its checkpoints, a second one, a rung, and the teacher."""
    monkeypatch.setattr(sys, "argv", ["gpu_trial", "--preset", "mini", "--steps", "5"])
    assert gpu_trial.main() == 0
    trial, second, rung, teacher = map(json.loads, capsys.readouterr().out.splitlines())
    assert trial["checkpoints"] >= 1
    assert trial["examples_per_second"] == pytest.approx(3 * 5 * 32 / trial["seconds"], rel=0.002)
    assert second["examples_per_second"] == pytest.approx(5 * 32 / second["seconds"], rel=0.002)
    assert "MB: to memory" in rung["notes"]
    assert len(rung["shares"]) == 4
    assert all(0.0 < share < 0.5 for share in rung["shares"])
    assert teacher["milliseconds_per_step"] > 0.0


def test_shares_of_a_promotion_sweep():
    """SST-2: 15 evaluations, each after 421 steps and as long as 872 / 32 / 3 more, of 3, 3, 6 and
    3 of which all trials train the first, half of them the second, and so on."""
    at, saving, restoring = gpu_trial.promotion_shares("sst2", 32, 0.01, 2.0, 1.0)
    training = 0.01 * (421 + 872 / 96) * (3 + 3 / 2 + 6 / 4 + 3 / 8)
    total = training + 2.0 * (1 + 1 / 2 + 1 / 4) + 1.0 * (1 / 2 + 1 / 4 + 1 / 8)
    assert at == [3, 6, 12]
    assert saving == pytest.approx(3.5 / total)
    assert restoring == pytest.approx(0.875 / total)
