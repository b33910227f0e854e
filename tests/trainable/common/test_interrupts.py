"""Ctrl-C while a command of ours is looked for, and while somebody else's program runs."""

import os
import subprocess
import sys

import pytest

PROGRAM = """
import os, signal
try:
    os.kill(os.getpid(), signal.SIGINT)
except KeyboardInterrupt:
    print("their own")
"""


@pytest.mark.parametrize("package", ["search", "spaces", "trainable"])
def test_a_program_that_imports_a_package_of_ours_keeps_its_own_interrupts(
    tmp_path, repository, package
):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "__init__.py").write_text(f"import {package}\n")
    (tmp_path / "mine" / "train.py").write_text(PROGRAM)
    environment = os.environ | {"PYTHONPATH": str(repository)}
    command = [sys.executable, "-m", "mine.train"]
    options = {"capture_output": True, "text": True, "env": environment}
    done = subprocess.run(command, check=False, cwd=tmp_path, **options)
    assert (done.returncode, done.stdout, done.stderr) == (0, "their own\n", "")
