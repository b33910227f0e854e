"""A search from Python: `search.find` on tables in memory, and what its result gives."""

import os
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest
from transformers import pipeline

import search
from search.notebook import _flags
from search.record.run import read_run
from search.results.table import trials_table
from tests.conftest import random_sentences
from tests.sweeps import PATIENCE
from trainable.common.errors import UserError


def frame(count, seed):
    sentences = random_sentences(count, seed=seed)
    return pd.DataFrame({"review": sentences.texts, "stars": sentences.labels})


@pytest.fixture(scope="module")
def options(teacher_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("notebook")
    return {
        "dataset": {"train": frame(60, 0), "validation": frame(40, 1)},
        **{"text_column": "review", "label_column": "stars", "teacher": teacher_folder},
        **{"space": "baselines", "preset": "mini", "storage": folder / "runs"},
        **{"cache": folder / "cache", "allow_weak_teacher": True, "max_concurrent": 1},
        "set": {"epochs": 2, "student_layers": 2, "batch_size": 8, "precision": "fp32"},
    }


@pytest.fixture(scope="module")
def result(options):
    return search.find(name="whole", **options)


def test_options_become_flags():
    options = {
        "time_budget": "2h",
        "set": {"epochs": 3, "alpha": 0.3},
        "int8": True,
        "check": False,
    }
    assert " ".join(_flags({**options, "finals": None})) == (
        "--time-budget 2h --set epochs=3 --set alpha=0.3 --int8 --no-check"
    )


@pytest.mark.slow
def test_the_best_student_of_tables_in_memory_is_used_at_once(result, tmp_path):
    table = result.table()
    pd.testing.assert_frame_equal(table, trials_table(result.folder))
    assert (table["outcome"] == "finished").sum() > 1
    best = result.best()
    out = result.export(tmp_path / "student", check=False)
    assert best["digest"] in (out / "README.md").read_text()
    assert pipeline("text-classification", str(out))("w1 w2 w3")[0]["label"] in {"0", "1"}
    page = result.report()
    assert page.name == "report.html"
    assert page.is_file()


@pytest.mark.slow
def test_a_name_that_is_taken_is_refused_and_its_data_stay(result, options):
    files = sorted(result.folder.with_name("whole-data").iterdir())
    before = [file.read_bytes() for file in files]
    assert [file.stem for file in files] == ["train", "validation"]
    with pytest.raises(UserError, match="whole exists; choose another name"):
        search.find(**{**options, "dataset": {"train": frame(50, 7)}, "name": "whole"})
    assert [file.read_bytes() for file in files] == before


def test_a_name_that_no_run_may_have_is_refused_before_data_are_written(options):
    with pytest.raises(UserError, match="name 'a/b': use at most 100 letters"):
        search.find(**{**options, "dataset": {"train": frame(50, 7)}, "name": "a/b"})
    assert not (options["storage"] / "a").exists()


def test_a_flag_that_is_not_known_is_one_line(options):
    with pytest.raises(UserError, match="--time-budgte"):
        search.find(**{**options, "dataset": None}, time_budgte="2h")


CODE = """
import sys, search
try:
    search.find(**eval(sys.argv[1]))
except KeyboardInterrupt:
    print("interrupted")
"""


@pytest.mark.slow
def test_an_interrupted_search_is_resumed(result, options, tmp_path):
    """One SIGINT to the process that called `find`, as a notebook's stop button sends."""
    data = str(result.folder.with_name("whole-data"))
    given = {**options, "dataset": data, "name": "cut"}
    given = {
        key: str(v) if key in ("teacher", "storage", "cache") else v for key, v in given.items()
    }
    process = subprocess.Popen(
        [sys.executable, "-c", CODE, repr(given)], stdout=subprocess.PIPE, text=True
    )
    record, end = options["storage"] / "cut" / "record.jsonl", time.monotonic() + PATIENCE
    while not record.exists() or b'"evaluation"' not in record.read_bytes():
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGINT)
    printed, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    assert printed.splitlines()[-1] == "interrupted"
    assert read_run(record.parent).unfinished
    resumed = search.SearchResult("cut", options["storage"]).resume()
    columns = ["recipe", "outcome", "best5"]
    pd.testing.assert_frame_equal(resumed.table()[columns], result.table()[columns])
