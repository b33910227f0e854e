"""The check for a machine with a GPU, tried on one without."""

import json
import subprocess
import sys

import pytest

from tests.gpu_check import TESTS, table


def test_every_test_that_needs_a_gpu_is_among_those_it_runs(repository):
    marked = [
        path.relative_to(repository)
        for path in repository.glob("tests/**/test_*.py")
        if "pytest.mark.gpu" in path.read_text() and path.name != "test_gpu_check.py"
    ]
    assert len(marked) >= 4
    assert all(any(path.is_relative_to(place) for place in TESTS) for path in marked)


def test_the_table_has_ratios_to_the_plain_loop_and_what_went_wrong():
    measured = {"setup_seconds": 2.5, "reserved_gib": 1.25}
    lines = [
        {"variant": "live", "examples_per_second": 360.0, **measured},
        {"variant": "graph", "examples_per_second": 4608.0, **measured},
        {"variant": "flash", "error": "OutOfMemoryError: CUDA out of memory"},
        {"variant": "a whole trial", "examples_per_second": 4500.0, "setup_seconds": 3.0},
    ]
    assert table(lines).strip().splitlines()[2:] == [
        "| `live` | 360 | 1.0 | 2.5 s | 1.25 GiB |",
        "| `graph` | 4,608 | 12.8 | 2.5 s | 1.25 GiB |",
        "| `flash` | OutOfMemoryError: CUDA out of memory | | | |",
        "| `a whole trial` | 4,500 | 12.5 | 3.0 s | - |",
    ]


@pytest.mark.slow
def test_a_whole_trial_on_this_machine(repository):
    """Its evaluations, its checkpoint, and a loss that training has moved."""
    command = [sys.executable, "-m", "tests.gpu_check", "--preset", "mini", "--steps", "5"]
    done = subprocess.run(
        [*command, "--part", "trial"], cwd=repository, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    line = json.loads(done.stdout.splitlines()[-1])
    assert line["checkpoints"] >= 1
    assert line["examples_per_second"] == pytest.approx(3 * 5 * 32 / line["seconds"], rel=0.02)
    assert line["evaluation_seconds"] + line["saving_seconds"] < line["seconds"]
