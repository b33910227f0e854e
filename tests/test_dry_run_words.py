"""What a dry run prints, read from a console that writes into a string."""

import io

import pytest
from rich.console import Console
from search.dry_run_words import (
    MOST_ROWS,
    is_flag,
    machine_memory,
    say_command,
    say_disk,
    say_memory,
    say_time,
    say_trials,
)
from search.mirrored_cache import untouched_cache
from search.outlook import Times
from search.trial_probe import Probed
from trainable.arguments import default_cache
from trainable.stand_in import StandIn

from search import dry_run_words
from search.launch import Session
from tests.test_outlook import config, make_outlook


def printed(say, *arguments):
    console = Console(file=io.StringIO(), width=120, highlight=False, markup=False)
    say(*arguments, console)
    return console.file.getvalue().splitlines()


def test_every_trial_has_a_row_under_its_stratum():
    configs = [
        config(0, alpha=a, initialisation=i)
        for i in ("random", "teacher_spread")
        for a in (0.25, 0.5)
    ]
    lines = printed(say_trials, make_outlook(configs))
    assert lines[1].split() == ["random", "(2)"]
    assert lines[4].split() == ["teacher_spread", "(2)"]
    assert "fixed 0.25" in lines[2]
    assert lines[2].split()[-1] == "8"
    assert len(lines) == 7


def test_large_spaces_are_cut():
    lines = printed(say_trials, make_outlook([config(seed) for seed in range(MOST_ROWS + 7)]))
    assert lines[-1] == "... and 7 more"
    assert len(lines) == 1 + 1 + MOST_ROWS + 1


@pytest.mark.parametrize(("more", "said"), [(6, "6 more"), (float("inf"), "more")])
def test_searched_space_says_who_suggests_the_rest(more, said):
    outlook = make_outlook([config(0)], more=more, samples=7, searcher="optuna")
    assert printed(say_trials, outlook)[-1] == f"then {said} suggested by optuna"


def test_where_all_that_is_left_is_to_be_suggested_no_table_stands():
    outlook = make_outlook([config(0)], more=2, samples=3, searcher="random")
    (trial,) = outlook.run.trials.values()
    trial.outcome = "finished"
    assert printed(say_trials, outlook) == ["then 2 more suggested by random"]


def test_trial_under_way_says_what_it_has():
    outlook = make_outlook([config(0)])
    next(iter(outlook.run.trials.values())).evaluations = [{}, {}]
    assert "2 of 8" in printed(say_trials, outlook)[2]


def test_times_with_and_without_asha():
    times = Times({"asha": 720.0, "fifo": 1860.0}, 0.0, 0.0, None, {})
    assert printed(say_time, make_outlook([config(0), config(1)]), times) == [
        "Time: about 12 min (asha), about 31 min (fifo), 2 trial(s) at a time; this sweep has asha."
    ]


def test_times_of_a_teacher_and_of_a_budget():
    times = Times({"asha": 7000.0, "fifo": 7100.0}, 60.0, 5.0, 7200.0, {"asha": 30, "fifo": 12})
    lines = printed(say_time, make_outlook([config(0)]), times)
    said = "Time budget: 2.0 h; about 30 (asha), 12 (fifo) more suggested trials fit in it."
    assert lines[1] == said
    assert lines[2] == (
        "Before that, estimated: about 60 s to fine-tune and score the teacher, about 5 s to get "
        "its outputs."
    )


def test_memory_of_all_trials_against_what_is_free(monkeypatch):
    monkeypatch.setattr(dry_run_words, "machine_memory", lambda: (3_000_000_000, 8_000_000_000))
    outlook = make_outlook([config(seed) for seed in range(4)])
    outlook.run.sweep["trials_per_gpu"] = 1
    fits = Probed((), 0.0, 900_000_000, 0, 2)
    assert printed(say_memory, outlook, fits) == [
        "Memory: 2 x 900 MB = 1.8 GB of 3.0 GB free (8.0 GB in all)."
    ]
    too_much = Probed((), 0.0, 1_700_000_000, 0, 2)
    assert printed(say_memory, outlook, too_much)[1].startswith("warning: ")


def test_machine_has_more_memory_than_is_free():
    free, total = machine_memory()
    assert 0 < free <= total


def test_disk_is_of_the_cache_that_the_mirror_stands_for(tmp_path, monkeypatch):
    """What was fetched into the mirror to look at it would be fetched into the cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    cache = tmp_path / "distillation-search"
    (cache / "tokens").mkdir(parents=True)
    (cache / "tokens" / "train").write_bytes(bytes(7_000_000))
    outlook = make_outlook([config(0)])
    monkeypatch.setattr(dry_run_words, "most_checkpoint_bytes", lambda run, places: 0)
    found = StandIn(None, False, (), 2_000_000)
    with untouched_cache():
        (default_cache() / "fetched").mkdir()
        (default_cache() / "fetched" / "content").write_bytes(bytes(3_000_000))
        (said,) = printed(say_disk, outlook, found, default_cache())
    assert "; 5 MB more in the cache, which has 7 MB (" in said


def test_command_is_the_same_without_the_flag():
    typed = ["--space", "study", "--dry-run", "--name", "a b", "--dataset", "d"]
    lines = printed(say_command, Session("search.run", typed, None, None))
    assert lines == [
        "Nothing was run. Start with:",
        "python -m search.run --space study --name 'a b' --dataset d",
    ]


@pytest.mark.parametrize(
    ("word", "flag"),
    [("--dry-run", True), ("--dry", True), ("--dataset", False), ("--", False), ("dry", False)],
)
def test_flag_is_known_as_argparse_knows_it(word, flag):
    assert is_flag(word) == flag
