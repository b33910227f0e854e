"""A search from Python: `search.find` on tables in memory, and what its result gives."""

import os
import signal
import subprocess
import sys

import pandas as pd
import pytest
from transformers import pipeline

import search
from search.export.__main__ import main as exporting
from search.notebook import _flags
from search.policy.still_to_come import is_complete
from search.record.run import read_run
from search.report.__main__ import main as reporting
from search.results.table import trials_table
from search.run.__main__ import main as running
from tests.conftest import random_sentences
from tests.made_runs import finish, made_run, recipe
from tests.sweeps import PATIENCE, history, wait_for, without_ray
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


# The process that calls `find`, as a notebook has it.
CODE = """
import pandas, search
dataset = {name: pandas.DataFrame(rows) for name, rows in %r.items()}
try:
    search.find(dataset, **%r)
except KeyboardInterrupt:
    print("interrupted")
"""


@pytest.fixture(scope="module")
def result(options):
    """Of a search that one SIGINT to that process interrupts, as a notebook's stop button does."""
    rows = {name: table.to_dict("list") for name, table in options["dataset"].items()}
    given = {key: v if key == "set" else str(v) for key, v in options.items() if key != "dataset"}
    code = CODE % (rows, {**given, "allow_weak_teacher": True, "name": "cut"})
    streams = {"stdout": subprocess.PIPE, "text": True}
    process = subprocess.Popen([sys.executable, "-c", code], **streams)
    wait_for(options["storage"] / "cut", "evaluation", 1, process)
    os.kill(process.pid, signal.SIGINT)
    printed, _ = process.communicate(timeout=PATIENCE)
    assert (process.returncode, printed.splitlines()[-1]) == (0, "interrupted")
    found = search.SearchResult("cut", options["storage"])
    assert not is_complete(read_run(found.folder))
    return found.resume()


def test_options_become_flags():
    options = {
        "time_budget": "2h",
        "set": {"epochs": 3, "alpha": 0.3},
        "transfer": ["rest", "augment"],
        "int8": True,
        "check": False,
    }
    assert " ".join(_flags({**options, "finals": None})) == (
        "--time-budget 2h --set epochs=3 --set alpha=0.3 --transfer rest,augment --int8 --no-check"
    )
    with pytest.raises(UserError, match="test: give a path"):
        _flags({"test": frame(9, 0)})


@pytest.mark.slow
def test_the_best_student_of_tables_in_memory_is_used_once_the_search_was_resumed(result, tmp_path):
    run = read_run(result.folder)
    assert history(run) == history(without_ray(run, tmp_path / "whole"))
    table = result.table()
    pd.testing.assert_frame_equal(table, trials_table(read_run(result.folder)))
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
    files = sorted(result.folder.with_name("cut-data").glob("*.parquet"))
    before = [file.read_bytes() for file in files]
    assert [file.stem for file in files] == ["train", "validation"]
    with pytest.raises(UserError, match="cut exists; choose another name"):
        search.find(**{**options, "dataset": {"train": frame(50, 7)}, "name": "cut"})
    assert [file.read_bytes() for file in files] == before


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"name": "a/b"}, "name 'a/b': use at most 100 letters"),
        ({"name": "a", "dry_run": True}, "dry_run: makes no run to return; "),
    ],
)
def test_what_no_run_may_have_is_refused_before_data_are_written(options, tmp_path, given, said):
    with pytest.raises(UserError, match=said):
        search.find(**{**options, "dataset": {"train": frame(50, 7)}, "storage": tmp_path, **given})
    assert [*tmp_path.iterdir()] == []


def test_what_ends_before_there_is_a_run_leaves_no_data(options, tmp_path, monkeypatch):
    """Nor do splits of a call that was killed by then get into the next one's."""
    splits = []

    def call(*command):
        splits.append(sorted(path.name for path in (tmp_path / "begun-data").glob("*.parquet")))
        raise ends.pop()

    ends = [RuntimeError, KeyboardInterrupt, SystemExit]
    monkeypatch.setattr("search.notebook._call", call)
    given = {**options, "storage": tmp_path, "name": "begun"}
    with pytest.raises(SystemExit):  # as little is removed as by a kill
        search.find(**given)
    assert (tmp_path / "begun-data").exists()
    for kind in (KeyboardInterrupt, RuntimeError):
        with pytest.raises(kind):
            search.find(**{**given, "dataset": frame(50, 7)})
        assert [*tmp_path.iterdir()] == []
    assert splits == [["train.parquet", "validation.parquet"], *[["train.parquet"]] * 2]


def test_a_folder_that_is_not_its_own_is_left_alone(options, tmp_path):
    """Where the tables of a run of that name would lie."""
    theirs = tmp_path / "mine-data" / "train.parquet"
    theirs.parent.mkdir()
    theirs.touch()
    with pytest.raises(UserError, match=r"name mine: .*mine-data exists"):
        search.find(**{**options, "storage": tmp_path, "name": "mine"})
    assert theirs.exists()


def test_what_is_found_is_the_run_of_that_storage(tmp_path, monkeypatch):
    """Where the folder that Python runs in has one of the same name."""
    monkeypatch.chdir(tmp_path)
    made_run(tmp_path / "mine", [recipe(0)])
    theirs = made_run(tmp_path / "other" / "mine", [recipe(1)])
    monkeypatch.setattr("search.notebook._call", lambda *command: "")
    assert search.find("data", name="mine", storage="other").folder == theirs.folder


def test_the_best_trial_is_the_first_whose_student_is_there(tmp_path, monkeypatch):
    """Of two seeds of the recommended recipe, as export takes it."""
    configs = [recipe(0, evaluations=1, seed=seed) for seed in (0, 1)]
    run = made_run(tmp_path / "mine", configs)
    for config in configs:
        finish(run, config)
    monkeypatch.setattr("search.notebook.has_checkpoint", lambda run, trial: trial.config.seed == 1)
    assert search.SearchResult(run.folder).best()["digest"] == configs[1].digest


def test_a_run_at_a_uri_is_read_anew_each_time(tmp_path, monkeypatch):
    uri, there = f"file://{tmp_path}/storage", tmp_path / "storage" / "mine"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    config = recipe(0, evaluations=2)
    run = made_run(there, [config])
    result = search.SearchResult("mine", uri)
    assert result.table()["outcome"].tolist() == ["pending"]
    finish(run, config)  # as another machine goes on with it
    assert result.table()["outcome"].tolist() == ["finished"]


def test_a_switch_may_be_off(capsys):
    for command, flags in (
        (exporting, {"int8": False, "onnx": False, "check": False}),
        (reporting, {"watch": False}),
        (running, {"dry_run": False}),
    ):
        with pytest.raises(SystemExit) as end:
            command([*_flags(flags), "--help"])
        assert (end.value.code, "usage: " in capsys.readouterr().out) == (0, True)


def test_the_data_of_a_run_that_has_begun_stay(options, tmp_path, monkeypatch):
    def begin_and_refuse(*command):
        (tmp_path / "begun").mkdir()
        raise UserError("the teacher is too weak")

    monkeypatch.setattr("search.notebook._call", begin_and_refuse)
    with pytest.raises(UserError, match="too weak"):
        search.find(**{**options, "storage": tmp_path, "name": "begun"})
    files = sorted(path.name for path in (tmp_path / "begun-data").glob("*.parquet"))
    assert files == ["train.parquet", "validation.parquet"]


def test_a_flag_that_is_not_known_is_one_line_and_leaves_nothing(options, tmp_path):
    with pytest.raises(UserError, match="--time-budgte"):
        search.find(**{**options, "storage": tmp_path}, time_budgte="2h")
    assert [*tmp_path.iterdir()] == []
