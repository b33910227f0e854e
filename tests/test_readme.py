"""The README's lines run as they stand there, on few examples of the preset they name."""

import os
import re
import subprocess
import sys

import pytest

from search import notebook
from search.plan.grid import plan_trials
from search.plan.request import Request
from search.plan.resolve import resolve
from search.run.__main__ import parse_arguments

SMALL = """\
from dataclasses import replace
from trainable.config.presets import PRESETS
from trainable.trial import preparation
preparation.refuse_weak_teacher = lambda *_: None  # on so few examples it learns little
trial = {"student_layers": 3, "epochs": 1, "evaluations": 4}
sizes = {"max_train_samples": 160, "max_eval_samples": 40, "least_steps": 10}
PRESETS["mini"] = replace(PRESETS["mini"], **sizes, trial=trial)
"""
CHECK = """
results = tuner.get_results()
assert not results.errors and all(result.checkpoint for result in results)
from transformers import AutoModelForSequenceClassification
student = AutoModelForSequenceClassification.from_pretrained(folder)
assert type(student).__name__ == "BertForSequenceClassification", student
assert (student.config.num_hidden_layers, student.config.vocab_size) == (3, 30522)
"""


def python_lines(repository, word):
    """The one block of Python with this word in it."""
    text = (repository / "README.md").read_text(encoding="utf-8")
    (lines,) = [b for b in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if word in b]
    return lines


@pytest.mark.slow
def test_your_own_tuner(repository, tmp_path):
    lines = python_lines(repository, "Tuner")
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


def test_a_search_from_python(repository, monkeypatch):
    """Its calls are those of the commands; tests/search/test_notebook.py lets them run."""
    called = []
    monkeypatch.setattr(notebook, "_call", lambda *command: called.append(command) or "")
    monkeypatch.setattr(notebook, "_as_source", lambda dataset, *_: "+".join(dataset))
    monkeypatch.setattr(notebook.SearchResult, "__init__", lambda result, run: None)
    for name in ("best", "table"):
        monkeypatch.setattr(notebook.SearchResult, name, lambda result: None)
    monkeypatch.setattr(notebook.SearchResult, "folder", "RUN", raising=False)
    exec(python_lines(repository, "import search"), {"train": 0, "validation": 1})
    (module, *flags), exported = called
    arguments = vars(parse_arguments(flags))
    assert (module, arguments["space"], arguments["time_budget"]) == ("search.run", "recipe", 7200)
    assert arguments["dataset"] == "train+validation"
    assert exported == ("search.export", "RUN", "student", "--int8")


def test_your_own_space(repository, tmp_path):
    (tmp_path / "my.py").write_text(python_lines(repository, "def mine"))
    request = Request(space=f"{tmp_path / 'my.py'}:mine", preset="mini")
    configs = plan_trials(resolve(request, print))
    assert {(config.alpha, config.initialisation) for config in configs} == {
        (alpha, start) for alpha in (0.3, 0.8) for start in ("teacher_spread", "teacher_lower")
    }
    assert {config.epochs for config in configs} == {2}
