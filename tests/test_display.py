"""What a sweep shows while it runs, read from a console that writes into a string."""

import io

import pytest
from rich.console import Console

from search import display
from search.display import LiveTable, PlainLines, draw, ended_line, make_display
from search.record import (
    FAILED,
    FINISHED,
    GIVE_UP,
    PENDING,
    RETRY,
    RETRY_ALONE,
    RUNNING,
    STOPPED,
    Run,
    TrialRecord,
)
from trainable.config import TrialConfig


def record(number, outcome=PENDING, best5=None, *, last=None, count=1, reason="", alone=False):
    """A trial told apart by its temperature; 10 evaluations are a whole one."""
    config = TrialConfig(alpha=0.5, temperature=3.0 + number, evaluations=10)
    one = {"best5_accuracy": best5, "accuracy": last if last is not None else best5}
    one |= {"training_seconds": 2.0, "evaluation_seconds": 1.0}
    return TrialRecord(config, outcome, reason, alone, [] if best5 is None else [one] * count)


def make_run(*trials):
    return Run(None, {"scheduler": "fifo"}, {trial.config.digest: trial for trial in trials})


def console(**settings):
    return Console(file=io.StringIO(), width=120, **settings)


def drawn(run, height=50):
    target = console()
    target.print(draw(run, 1, height))
    return target.file.getvalue().splitlines()


def position(lines, words):
    (place,) = [index for index, line in enumerate(lines) if words in line]
    return place


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until it is moved."""
    now = [100.0]
    monkeypatch.setattr(display.time, "monotonic", lambda: now[0])
    return now


def test_ended_line_has_what_a_reader_needs():
    line = ended_line(record(0, STOPPED, best5=0.81234, count=4), "random, lr 3e-05")
    for part in ("stopped", "0.8123", "4 of 10 evaluations", "12 s", "random, lr 3e-05"):
        assert part in line


def test_ended_line_of_a_failure_before_any_evaluation_has_its_reason():
    line = ended_line(record(0, FAILED, reason="[enforce fail] no [/memory]"), "random")
    for part in ("failed", "best5      -", "0 of 10", "([enforce fail] no [/memory])"):
        assert part in line


def test_ended_lines_stand_below_one_another():
    trials = [record(0, FAILED), record(1, STOPPED, 0.5), record(2, FINISHED, 0.5, count=10)]
    assert len({ended_line(trial, "random").index("best5") for trial in trials}) == 1
    assert len({ended_line(trial, "random").index(" of 10") for trial in trials}) == 1


def shown(event, trial, **more):
    """What plain lines print of an event after which the trial stands so."""
    target = console()
    lines = PlainLines(target, 1)
    lines.start()
    lines.show(make_run(trial), {"event": event, "trial": trial.config.digest, **more})
    lines.stop()
    return target.file.getvalue()


@pytest.mark.parametrize("outcome", [FINISHED, STOPPED])
def test_evaluation_that_ends_a_trial_is_told_as_its_end(clock, outcome):
    trial = record(0, outcome, 0.8, reason="[red]x[/red]")
    assert shown("evaluation", trial) == ended_line(trial, trial.config.words()) + "\n"


def test_a_trial_that_is_ended_while_it_waited_is_told_as_its_end(clock):
    trial = record(0, STOPPED, 0.8)
    assert shown("stop", trial) == ended_line(trial, trial.config.words()) + "\n"


def test_failure_for_good_is_told_as_the_trials_end(clock):
    trial = record(0, FAILED, reason="no [/memory]")
    said = shown("failure", trial, reason="no [/memory]", then=GIVE_UP)
    assert said == ended_line(trial, trial.config.words()) + "\n"


@pytest.mark.parametrize("then", [RETRY, RETRY_ALONE])
def test_failure_that_is_tried_again_is_told_with_its_reason(clock, then):
    trial = record(0, PENDING, 0.8, reason="no [/memory]", alone=then == RETRY_ALONE)
    said = shown("failure", trial, reason="no [/memory]", then=then)
    assert said == f"{then} after no [/memory]: {trial.config.words()}\n"


@pytest.mark.parametrize(
    ("event", "outcome"),
    [("start", RUNNING), ("evaluation", RUNNING), ("repeated", RUNNING), ("repeated", FINISHED)],
)
def test_nothing_else_is_told(clock, event, outcome):
    assert shown(event, record(0, outcome, 0.8)) == ""


def test_each_end_is_told_once(clock):
    target = console()
    lines = PlainLines(target, 1)
    for outcome, event in ((RUNNING, "start"), (RUNNING, "evaluation"), (STOPPED, "evaluation")):
        trial = record(0, outcome, 0.8)
        lines.show(make_run(trial), {"event": event, "trial": trial.config.digest})
    assert target.file.getvalue() == ended_line(trial, trial.config.words()) + "\n"


@pytest.mark.parametrize("outcome", [FAILED, PENDING])
def test_plain_lines_are_never_broken(clock, outcome):
    reason = "because " * 40
    then = GIVE_UP if outcome == FAILED else RETRY
    text = shown("failure", record(0, outcome, reason=reason), reason=reason, then=then)
    assert text.count("\n") == 1
    assert len(text) > 300


def test_plain_lines_tell_the_whole_every_half_minute(clock):
    target = console()
    lines = PlainLines(target, 1)
    running = record(1, RUNNING, 0.7, count=2)
    run = make_run(record(0, FINISHED, 0.8, count=10), running)
    told = []
    for seconds in (10.0, 19.9, 0.2, 29.0, 1.0):
        clock[0] += seconds
        lines.show(run, {"event": "evaluation", "trial": running.config.digest})
        told.append(len(target.file.getvalue().splitlines()))
    assert told == [0, 0, 1, 1, 2]
    wanted = "1 of 2 ended (1 finished, 0 stopped early), 1 running, about 24 s left"
    assert {line.strip() for line in target.file.getvalue().splitlines()} == {wanted}


def test_drawn_row_has_numbers_and_state():
    lines = drawn(make_run(record(0, RUNNING, best5=0.81234, last=0.79, count=4)))
    row = lines[position(lines, "T=3")]
    assert row.split()[-6:] == ["4", "of", "10", "0.8123", "0.7900", RUNNING]


def test_drawn_row_before_the_first_evaluation_has_dashes():
    lines = drawn(make_run(record(0, PENDING)))
    assert lines[position(lines, "T=3")].split()[-6:] == ["0", "of", "10", "-", "-", PENDING]


def test_running_trials_come_first_then_the_ended_by_falling_score_then_the_pending():
    run = make_run(
        record(0, PENDING),
        record(1, STOPPED, 0.7),
        record(2, RUNNING, 0.5),
        record(3, FINISHED, 0.9),
        record(4, FAILED),
        record(5, RUNNING, 0.6),
    )
    lines = drawn(run)
    places = [position(lines, f"T={3 + number} ") for number in (5, 2, 3, 1, 4, 0)]
    assert places == sorted(places)


@pytest.mark.parametrize(("height", "hidden"), [(5, 25), (29, 1), (30, 0), (31, 0)])
def test_more_trials_than_height_are_counted(height, hidden):
    run = make_run(*[record(number, FINISHED, 0.5) for number in range(30)])
    lines = drawn(run, height)
    assert sum("T=" in line for line in lines) == min(height, 30)
    assert sum(f"... and {hidden} more" in line for line in lines) == (hidden > 0)
    assert len(lines) == 1 + min(height, 30) + (hidden > 0) + 1
    assert "30 of 30 ended" in lines[-1]


def test_running_trials_are_not_hidden_by_better_ones():
    ended = [record(number, FINISHED, 0.9) for number in range(30)]
    lines = drawn(make_run(*ended, record(40, RUNNING, 0.1)), height=5)
    assert position(lines, "T=43") == 1


@pytest.mark.parametrize("height", [9, 12, 24])
def test_live_table_fits_the_terminal(height):
    target = console(force_terminal=True, height=height, color_system=None)
    table = LiveTable(target, 2)
    run = make_run(*[record(number, FINISHED, 0.5) for number in range(40)])
    table.start()
    try:
        table.show(run, {"event": "evaluation"})
    finally:
        table.stop()
    text = target.file.getvalue()
    rows = max(height - 6, 5)
    assert f"... and {40 - rows} more" in text
    assert "40 of 40 ended (40 finished, 0 stopped early)" in text
    assert len(drawn(run, rows)) <= height


def test_live_table_leaves_the_last_state_standing():
    target = console(force_terminal=True, height=24, color_system=None)
    table = LiveTable(target, 1)
    table.start()
    table.show(make_run(record(0, RUNNING, 0.5)), {"event": "start"})
    table.show(make_run(record(0, FINISHED, 0.75)), {"event": "evaluation"})
    table.stop()
    last = target.file.getvalue().rpartition("state")[2]  # below the last header
    assert "0.7500" in last
    assert "0.5000" not in last


@pytest.mark.parametrize(("terminal", "kind"), [(True, LiveTable), (False, PlainLines)])
def test_live_table_only_at_a_terminal(terminal, kind):
    assert type(make_display(console(force_terminal=terminal), 1)) is kind
