"""What a sweep shows while it runs, read from a console that writes into a string."""

import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from search.record.run import Run
from search.record.trial_record import (
    FAILED,
    FINISHED,
    GIVE_UP,
    PENDING,
    RETRY,
    RUNNING,
    STOPPED,
    TrialRecord,
)
from search.sweep.hooks import live_table
from search.sweep.hooks.live_table import (
    HEARTBEAT_SECONDS,
    LiveTable,
    PlainLines,
    make_display,
    trials_view,
)
from tests.made_runs import evaluated, made_plan
from trainable.config.trial_config import TrialConfig


def record(number, outcome=PENDING, best5=None, count=1, reason=""):
    """A trial told apart by its temperature; 10 evaluations are a whole one."""
    config = TrialConfig(alpha=0.5, temperature=3.0 + number, evaluations=10)
    one = None if best5 is None else evaluated(config, 1, best5)["evaluation"]
    return TrialRecord(config, outcome, reason, evaluations=[one] * count if one else [])


def make_run(*trials):
    found = {trial.config.digest: trial for trial in trials}
    return Run(Path("mine"), made_plan([trial.config for trial in trials]), found)


def console(**settings):
    return Console(file=io.StringIO(), width=120, **settings)


def drawn(run, height=50):
    target = console()
    target.print(trials_view(run, height))
    return target.file.getvalue().splitlines()


STOPPED_LINE = (
    "stopped  best5 0.8123 after  4 of 10 evaluations, 10 s: teacher_spread, logits only, fixed "
    "0.5, T=3"
)


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until it is moved."""
    now = [100.0]
    monkeypatch.setattr(live_table.time, "monotonic", lambda: now[0])
    return now


@pytest.mark.parametrize(
    ("event", "then", "trial", "line"),
    [
        ("evaluation", None, record(0, STOPPED, 0.81234, count=4), STOPPED_LINE),
        ("stop", None, record(0, STOPPED, 0.8), "stopped  best5 0.8000 after  1 of 10"),
        ("failure", GIVE_UP, record(0, FAILED, reason="no [/x]" * 40), "failed   best5      - aft"),
        ("failure", GIVE_UP, record(0, FAILED, reason="no [/x]" * 40), "(no [/x]no [/x]"),
        ("failure", RETRY, record(0, PENDING, 0.8), "retry after no [/x]: teacher_spread"),
        ("evaluation", None, record(0, RUNNING, 0.8), None),
        ("repeated", None, record(0, FINISHED, 0.8), None),
    ],
)
def test_plain_lines_tell_each_end_and_each_failure_in_a_line(clock, event, then, trial, line):
    target = console()
    lines = PlainLines(target)
    lines.start()
    shown = {"event": event, "trial": trial.config.digest, "reason": "no [/x]", "then": then}
    lines.show(make_run(trial), shown)
    lines.stop()
    text = target.file.getvalue()
    assert text.count("\n") == (0 if line is None else 1)
    assert (line or "") in text


@pytest.mark.parametrize(("seconds", "short"), [(10.0, ""), (60.0, "about 48 min or more")])
def test_a_line_says_that_the_finals_begin(seconds, short):
    """Once, and that nothing was searched where the first trial took too long for that: 16 of 60 s
    are a third of 48 minutes."""
    finals = [TrialConfig(alpha=0.5, max_steps=70, seed=seed) for seed in (1, 2)]
    first = record(0, FINISHED, 0.8, count=1)
    first.evaluations[0]["training_seconds"] = seconds
    run = make_run(first, *(TrialRecord(config, final=True) for config in finals))
    request = replace(run.request, searcher="prior", finals=2, time_budget=600.0)
    run.plan = replace(run.plan, requests=(request,))
    told = []
    for config in finals:
        target = console()
        run.trials[config.digest].outcome = RUNNING
        PlainLines(target).show(run, {"event": "start", "trial": config.digest})
        told.append(target.file.getvalue())
    assert told[0].startswith("  2 finals: teacher_spread, logits only, fixed 0.5, ")
    assert told[0].endswith(
        f"seed 1. For a search before them the time was too short, {short} are needed.\n"
        if short
        else "seed 1.\n"
    )
    assert told[1] == ""


def test_plain_lines_tell_the_whole_every_half_minute(clock):
    target = console()
    lines = PlainLines(target)
    running, ended = record(1, RUNNING, 0.7, count=2), record(0, FINISHED, 0.8, count=10)
    run, told = make_run(ended, running), []
    for seconds in (10.0, HEARTBEAT_SECONDS - 10.1, 0.2, HEARTBEAT_SECONDS - 1, 1.0):
        clock[0] += seconds
        for trial in (ended, running):  # as one ends, the next has yet to begin in its slot
            lines.show(run, {"event": "start", "trial": trial.config.digest})
            told.append(target.file.getvalue().count("1 of 2 ended"))
    assert told == [0, 0, 0, 0, 0, 1, 1, 1, 1, 2]


def test_rows_have_numbers_and_states_running_ones_first_then_the_best_that_ended():
    run = make_run(
        record(0, PENDING),
        record(1, STOPPED, 0.7),
        record(2, RUNNING, 0.81234, count=4),
        record(3, FINISHED, 0.9),
        record(4, FAILED),
    )
    rows = [line.split() for line in drawn(run) if "T=" in line]
    assert [row[5] for row in rows] == [f"T={3 + number}" for number in (2, 3, 1, 4, 0)]
    assert rows[0][-6:] == ["4", "of", "10", "0.8123", "0.8123", RUNNING]
    assert rows[-1][-6:] == ["0", "of", "10", "-", "-", PENDING]


@pytest.mark.parametrize(("height", "hidden"), [(5, 26), (31, 0)])
def test_what_does_not_fit_is_counted_and_hides_no_running_trial(height, hidden):
    ended = [record(number, FINISHED, 0.9) for number in range(30)]
    lines = drawn(make_run(*ended, record(40, RUNNING, 0.1)), height)
    assert "T=43" in lines[1]
    assert sum("T=" in line for line in lines) == 31 - hidden
    assert any(f"... and {hidden} more" in line for line in lines) == (hidden > 0)
    assert "30 of 31 ended" in lines[-1]


def test_live_table_fits_the_terminal_and_leaves_the_last_state_standing():
    target = console(force_terminal=True, height=12, color_system=None)
    table = LiveTable(target)
    others = [record(number, FINISHED, 0.5) for number in range(1, 40)]
    table.start()
    running = record(0, RUNNING, 0.25)
    started = {"event": "start", "trial": running.config.digest}
    table.show(make_run(*others, running), started)
    table.show(make_run(*others, record(0, FINISHED, 0.75)), {"event": "evaluation"})
    table.stop()
    last = target.file.getvalue().rpartition("state")[2]  # below the last header
    assert "0.7500" in last
    assert "0.2500" not in last
    assert "... and 34 more" in last
    assert len(last.splitlines()) <= 12
    assert type(make_display(console(force_terminal=True))) is LiveTable
    assert type(make_display(console())) is PlainLines
