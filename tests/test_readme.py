"""The README's lines run as they stand there, on few examples of the preset they name."""

import os
import re
import subprocess
import sys

import pytest

SMALL = """\
from dataclasses import replace
from trainable.config.presets import PRESETS
from trainable.trial import preparation
preparation.refuse_weak_teacher = lambda *_: None  # on so few examples it learns little
trial = {"student_layers": 3, "epochs": 1, "evaluations": 4}
sizes = {"max_train_samples": 160, "max_eval_samples": 40}
PRESETS["mini"] = replace(PRESETS["mini"], **sizes, trial=trial)
"""
CHECK = """
assert type(student).__name__ == "BertForSequenceClassification", student
assert (student.config.num_hidden_layers, student.config.vocab_size) == (3, 30522)
"""


@pytest.mark.slow
def test_your_own_tuner(repository, tmp_path):
    text = (repository / "README.md").read_text(encoding="utf-8")
    (lines,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(lines.splitlines()) < 20
    home = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", SMALL + lines + CHECK],
        env=os.environ | home | {"PYTHONPATH": str(repository)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
