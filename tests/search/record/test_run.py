"""The run's own record: what is written is read back, whatever the process died of."""

import json
import os
import time
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from search.plan.plan import FORMAT, Plan
from search.policy.still_to_come import is_complete
from search.record.events import RECORD, decode, encode, rewrite
from search.record.plan_file import SWEEP
from search.record.run import create_run, read_run, repair
from search.record.trial_record import GIVE_UP, RETRY, RETRY_ALONE
from tests.conftest import user_error
from tests.made_runs import asked, evaluated, failed, made_run, searched_run, started, told
from trainable.common.files import read_checked_json, write_checked_json
from trainable.config.fields import from_plain
from trainable.config.trial_config import TrialConfig

CONFIGS = [TrialConfig(alpha=alpha, evaluations=3) for alpha in (0.25, 0.5)]
FIRST, SECOND = CONFIGS
LATER = [TrialConfig(alpha=0.75, evaluations=3, seed=seed) for seed in (1, 2)]
SESSION = {"event": "session", "provenance": {"command": "python -m search.run --space x"}}
REPEATED = {"event": "repeated", "evaluations": 1, "trial": FIRST.digest}
ENDED = {"event": "stop", "trial": FIRST.digest}
STORY = [  # an event of every kind, of two trials side by side
    SESSION,
    started(FIRST),
    started(SECOND),
    evaluated(FIRST, 1),
    failed(SECOND, RETRY, 'KeyError: "é"'),
    REPEATED,
    started(SECOND),
    failed(SECOND, RETRY_ALONE),
    SESSION,
    evaluated(FIRST, 2, decision="stop", full_predictions="gA=="),
    failed(SECOND, GIVE_UP),
]


@pytest.fixture
def run(tmp_path):
    return made_run(tmp_path / "mine", CONFIGS)


@pytest.fixture
def story(tmp_path, monkeypatch):
    """A run of two trials with all of that in its record; in memory, where there is such a folder,
    as its files are replaced thousands of times."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    memory = Path("/dev/shm")
    with TemporaryDirectory(dir=memory if memory.is_dir() else tmp_path) as folder:
        run = made_run(Path(folder) / "mine", CONFIGS)
        for event in STORY:
            run.append(event)
        yield run


def files(folder):
    found = [path for path in folder.rglob("*") if path.is_file()]
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in found}


def lines_of(path):
    return path.read_bytes().splitlines(keepends=True)


def copy_of(run, config):
    return run.folder / config.folder_name / RECORD


def without_bits(trials):
    bare = {"predictions": "", "full_predictions": None}
    return {
        digest: replace(trial, evaluations=[{**e, **bare} for e in trial.evaluations])
        for digest, trial in trials.items()
    }


def test_plan_stands_in_both_files_and_nothing_else_is_there(tmp_path):
    request = asked(overrides=(("epochs", 1),), against="depth", samples=3)
    more = {"parameters": {FIRST.digest: {"alpha": 0.25}}, "costs": {"3": 1.5}}
    run = made_run(tmp_path / "mine", CONFIGS, request, **more)
    wanted = json.loads(json.dumps(asdict(run.plan)))
    assert wanted["format"] == FORMAT
    assert read_checked_json(run.folder / SWEEP) == wanted
    found = read_run(run.folder)
    (event,) = found.events
    assert (event["event"], event["number"], event["plan"]) == ("plan", 0, wanted)
    assert sorted(path.name for path in run.folder.iterdir()) == [RECORD, SWEEP]
    assert (found, from_plain(Plan, wanted)) == (run, run.plan)
    assert found.request == request
    assert found.plan.compare_within == ("initialisation", "student_layers")


@pytest.mark.parametrize("older", [SWEEP, RECORD])
def test_new_plan_adds_trials_and_counts_whichever_file_has_it(story, older):
    """Killed between the two, or with one of them put back from a copy."""
    before = (story.folder / older).read_bytes()
    had = dict(story.trials)
    story.replan({"requests": (replace(story.request, keep=1),)}, LATER)
    assert (story.plan.revision, story.request.keep) == (1, 1)
    assert list(story.trials) == [*had, *(config.digest for config in LATER)]
    assert read_run(story.folder) == story
    (story.folder / older).write_bytes(before)
    found = read_run(story.folder)
    assert (found.plan, found.trials) == (story.plan, story.trials)
    repair(found)
    (story.folder / older).rename(story.folder / "lost")
    assert read_run(story.folder).plan == story.plan


@pytest.mark.parametrize("kept", [(SWEEP, RECORD), (SWEEP,), (RECORD,)], ids="+".join)
@pytest.mark.parametrize(("written", "age"), [(FORMAT + 1, "a newer"), (1, "an older")])
def test_another_format_is_refused_in_one_line_and_nothing_changes(story, kept, written, age):
    (event, *others), plan = read_run(story.folder).events, asdict(story.plan) | {"format": written}
    rewrite(story.folder / RECORD, [{**event, "plan": plan}, *others])
    write_checked_json(story.folder / SWEEP, plan)
    for name in {SWEEP, RECORD}.difference(kept):
        (story.folder / name).unlink()
    before = files(story.folder)
    said = user_error(read_run, story.folder)
    assert said.startswith(f"RUN {story.folder}: written by {age} version")
    assert files(story.folder) == before


def test_read_run_equals_the_run_that_took_in_the_events_live(story):
    before = files(story.folder)
    found = read_run(story.folder)
    assert (found, repair(found)) == (story, [])
    assert files(story.folder) == before
    assert told(story.folder) == STORY
    assert [event["number"] for event in found.events] == list(range(1 + len(STORY)))
    moved = story.folder.rename(story.folder.parent / "moved")
    assert read_run(moved) == replace(story, folder=moved)


def test_an_event_that_is_appended_while_the_record_is_read_is_no_damage(story, monkeypatch):
    read, event = Path.read_bytes, STORY[-1]

    def read_while_it_grows(path):
        content = read(path)
        if path.parent == story.folder and path.name == RECORD:
            story.append(event)
        return content

    monkeypatch.setattr(Path, "read_bytes", read_while_it_grows)
    assert read_run(story.folder).damage == []


def test_what_a_machine_sleeps_or_its_clock_is_set_by_is_no_time_of_the_run(story, monkeypatch):
    before, wall = story.seconds, time.time
    monkeypatch.setattr(time, "time", lambda: wall() + 3600)
    story.append(STORY[-1])
    assert story.seconds - before < 60


def test_bits_stand_once_and_each_trials_folder_has_the_rest(story):
    for config in CONFIGS:
        mine = [event for event in story.events if event.get("trial") == config.digest]
        copies = [decode(line.rstrip()) for line in lines_of(copy_of(story, config))]
        for event, copy in zip(mine, copies, strict=True):
            if event["event"] == "evaluation":
                assert event["evaluation"]["predictions"] == "gA=="
                bare = event["evaluation"] | {"predictions": "", "full_predictions": None}
                event = {**event, "evaluation": bare}  # noqa: PLW2901
            assert copy == event
    assert read_run(story.folder).trials[FIRST.digest].has_predictions


def test_event_that_cannot_be_written_is_an_error_and_in_no_file(run):
    copy_of(run, FIRST).parent.write_text("")
    with pytest.raises(OSError, match=FIRST.folder_name):
        run.append(started(FIRST))  # it stands in the record, its copy does not
    run.append(started(SECOND))
    assert told(run.folder) == [started(FIRST), started(SECOND)]
    (run.folder / RECORD).unlink()
    (run.folder / RECORD).mkdir()
    with pytest.raises(OSError, match=RECORD):
        run.append(evaluated(SECOND, 1))
    assert run.next_number == 3  # with the plan
    assert len(lines_of(copy_of(run, SECOND))) == 1


S, E1, E2, E3 = started(FIRST), *(evaluated(FIRST, number) for number in (1, 2, 3))
AGAIN, ALONE, OVER = (failed(FIRST, then) for then in (RETRY, RETRY_ALONE, GIVE_UP))
WAITS = evaluated(FIRST, 1, decision="wait")


@pytest.mark.parametrize(
    ("events", "state", "count"),
    [
        ([], ("pending", "", False), 0),
        ([S], ("running", "", False), 0),
        ([S, AGAIN], ("pending", "it broke", False), 0),
        ([S, AGAIN, S], ("running", "it broke", False), 0),
        ([S, AGAIN, S, E1], ("running", "", False), 1),
        ([S, ALONE], ("pending", "it broke", True), 0),
        ([S, ALONE, S, OVER], ("failed", "it broke", True), 0),
        ([S, E1, OVER], ("failed", "it broke", False), 1),
        ([S, E1, evaluated(FIRST, 2, decision="stop")], ("stopped", "", False), 2),
        ([S, WAITS], ("waiting", "", False), 1),
        ([S, WAITS, REPEATED], ("waiting", "", False), 1),
        ([S, WAITS, S], ("running", "", False), 1),
        ([S, WAITS, ENDED], ("stopped", "", False), 1),
        ([S, E1, E2, evaluated(FIRST, 3, decision="stop")], ("finished", "", False), 3),
        ([S, E2, E3], ("running", "", False), 0),  # one before them is lost: all are made again
        ([S, E1, E2, S, E1], ("running", "", False), 1),  # it went back, and counts as it goes on
        ([S, E1, SESSION], ("pending", "", False), 1),  # killed, and not yet begun again
        ([ENDED], ("pending", "", False), 0),  # its evaluations are all lost
    ],
)
def test_state_of_a_trial_is_what_its_events_tell(run, events, state, count):
    for event in events:
        run.append(event)
    found = read_run(run.folder)
    assert found == run
    trial, other = found.trials.values()
    assert (trial.outcome, trial.reason, trial.alone) == state
    assert [e["evaluations"] for e in trial.evaluations] == list(range(1, count + 1))
    assert (trial.seconds, trial.best5) == (2.5 * count, 0.5 if count else None)
    assert other.outcome == "pending"
    run.append(failed(SECOND, GIVE_UP))
    assert is_complete(run) == (state[0] in ("finished", "stopped", "failed"))


T = started(SECOND)


@pytest.mark.parametrize(
    ("events", "slots"),
    [
        ([S, T], 2),
        ([S, WAITS, T], 1),
        ([S, WAITS, T, S], 2),
        ([S, WAITS, ENDED, T], 1),
        ([S, AGAIN, T], 1),
        ([S, E1, E2, E3, T], 1),
        ([S, SESSION, T], 1),  # killed while the first ran
        ([{**S, "slots": 4}, T], 4),
        ([{**S, "slots": 4}, SESSION, {**T, "slots": 1}], 1),  # goes on on fewer cores
    ],
)
def test_trials_that_wait_or_have_ended_take_no_slot(run, events, slots):
    """Before, whatever began before the first trial's end counted."""
    for event in events:
        run.append(event)
    assert run.slots == slots


def test_record_cut_at_any_byte_loses_no_event_of_a_trial_but_bits(story):
    main = story.folder / RECORD
    whole = main.read_bytes()
    first, bare = whole.index(b"\n"), without_bits(story.trials)
    ends = [n + step for n in range(first, len(whole)) if whole[n] == 10 for step in (-1, 0, 1, 2)]
    for length in sorted({*range(0, first, 297), *range(first, len(whole), 37), *ends}):
        main.write_bytes(whole[:length])
        found = read_run(story.folder)
        assert found.plan == story.plan
        assert without_bits(found.trials) == bare
        lost = len(STORY) - whole[first + 1 : length + 1].count(b"\n")
        assert bool(repair(found)) == (length < first or lost > 0)
        again = read_run(story.folder)
        assert (again.plan, again.trials) == (found.plan, found.trials)
        assert all("per-example results" in line for line in repair(again))
        again.append(SESSION)
        assert read_run(story.folder) == again


def test_lost_line_is_put_back_without_its_bits_which_is_said(story):
    main = story.folder / RECORD
    lines = lines_of(main)
    place = next(n for n, line in enumerate(lines) if b'"event": "evaluation"' in line)
    for damaged in (b"", bytes(len(lines[place]) - 1) + b"\n", lines[place][:30] + b"\n"):
        main.write_bytes(b"".join([*lines[:place], damaged, *lines[place + 1 :]]))
        lacking = f"{RECORD} lacks the per-example results of 1 evaluation"
        damage = f"{RECORD} was damaged: 1 event taken from the trials' copies"
        assert repair(read_run(story.folder)) == [damage, lacking]
        again = read_run(story.folder)
        assert again.damage == [lacking]
        trial = again.trials[FIRST.digest]
        assert [evaluation["predictions"] for evaluation in trial.evaluations] == ["", "gA=="]
        assert not trial.has_predictions
        assert bytes(1) not in main.read_bytes()


def test_the_night_before_a_session_whose_line_is_lost_is_no_time_of_the_run(run):
    start, night = started(FIRST), 9e4
    for event, after in ((SESSION, 0), (start, 10), (SESSION, night), (start, night)):
        run.append({**event, "time": run.last_time + after})
    main = run.folder / RECORD
    lines = lines_of(main)
    main.write_bytes(b"".join([*lines[:-2], bytes(20) + b"\n", lines[-1]]))
    repair(found := read_run(run.folder))
    assert found == read_run(run.folder)
    assert found.seconds == pytest.approx(10)


def test_until_the_first_start_with_other_slots_no_trial_has_run(run):
    slots = {"event": "slots", "slots": 2}
    for event, after in ((SESSION, 0), (slots, 5), (started(FIRST), 7), (started(SECOND), 11)):
        run.append({**event, "time": run.last_time + after})
    assert (run.starting_seconds, run.slot_seconds) == pytest.approx((5 + 7, 2 * 11))


def test_a_plan_that_is_put_back_counts_at_once(tmp_path):
    request = asked(space="recipe", searcher="random", samples=2)
    run = searched_run(tmp_path / "mine", request)
    run.append({"event": "decided"})
    run.replan({"requests": (replace(request, samples=9),)}, [])
    run.append(SESSION)
    main = run.folder / RECORD
    lines = lines_of(main)
    main.write_bytes(b"".join([*lines[:-2], bytes(20) + b"\n", lines[-1]]))
    repair(found := read_run(run.folder))
    assert found == read_run(run.folder)
    assert not found.decided


def test_last_line_cut_short_had_not_been_acted_upon(story):
    main = story.folder / RECORD
    whole = main.read_bytes()
    main.write_bytes(whole + b'{"number": 12, "time": 1.0, "event": "evalua')
    found = read_run(story.folder)
    assert (found, repair(found)) == (story, [])
    assert main.read_bytes() == whole
    main.write_bytes(whole + b'{"number": 12, "time"')  # or another session goes on at once
    found.append(REPEATED)
    assert told(story.folder) == [*STORY, REPEATED]


def test_plan_file_cut_anywhere_is_put_back_from_the_record(story):
    path, before = story.folder / SWEEP, files(story.folder)
    whole, said = path.read_bytes(), f"{SWEEP} was damaged: its plan taken from {RECORD}"
    for length in range(0, len(whole) - 1, 97):
        path.write_bytes(whole[:length])
        found = read_run(story.folder)
        assert (found, repair(found)) == (story, [said])
        assert path.read_bytes() == whole
    path.unlink()
    assert read_run(story.folder).damage == [said]
    del before[path]
    assert before.items() <= files(story.folder).items()


def test_the_plan_of_another_run_is_corruption_whatever_its_revision(story, tmp_path):
    other = create_run(tmp_path / "other", replace(story.plan, trials=story.plan.trials[:1]))
    other.replan({}, LATER)
    (story.folder / SWEEP).write_bytes((other.folder / SWEEP).read_bytes())
    found = read_run(story.folder)
    assert (found.plan, found.trials) == (story.plan, story.trials)
    assert repair(found) == [f"{SWEEP} is another run's: its plan taken from {RECORD}"]
    assert read_checked_json(story.folder / SWEEP) == json.loads(json.dumps(asdict(story.plan)))


@pytest.mark.parametrize("differing", ["copy", "plan", "record itself"])
def test_where_two_files_check_and_differ_it_is_said_and_neither_is_changed(story, differing):
    path = copy_of(story, FIRST) if differing == "copy" else story.folder / RECORD
    events = [decode(line.rstrip()) for line in lines_of(path)]
    changed = [{**event, "time": 0.0} for event in events[:3]]
    if differing == "copy":
        rewrite(path, [*changed, *events[3:]])
        said = f"{path} differs from {RECORD} in event {events[0]['number']} and 2 more, and both"
    elif differing == "plan":
        write_checked_json(story.folder / SWEEP, asdict(story.plan) | {"grace_evaluations": 3})
        said = f"{SWEEP} differs from {RECORD}, both intact: {RECORD} counts"
    else:  # it has two events of one number
        rewrite(path, [*events, changed[2]])
        said = f"{path} differs from itself in event 2, and both pass their checksums: the first co"
    before = files(story.folder)
    for _ in range(2):
        found = read_run(story.folder)
        assert (found.plan, found.trials) == (story.plan, story.trials)
        (line,) = repair(found)
        assert line.startswith(said)
        assert files(story.folder) == before


def test_plan_lost_from_both_files_is_a_users_error_and_nothing_changes(story):
    main, path = story.folder / RECORD, story.folder / SWEEP
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    main.write_bytes(b"".join([b"\n", *lines_of(main)[1:]]))
    before = files(story.folder)
    said = f"RUN {story.folder}: {SWEEP} and the plan in {RECORD} are damaged"
    assert user_error(read_run, story.folder).startswith(said)
    assert files(story.folder) == before
    assert "no run there" in user_error(read_run, story.folder.parent)


def test_scores_alone_may_be_below_0():
    correlations = {"score": -1.0, "best5": -0.5, "teacher_agreement": -0.25}
    valid = [correlations, {"full_score": -0.5, "full_predictions": "gA=="}]
    invalid = [{"score": -1.5}, {"training_seconds": -0.5}, {"predictions": "é"}]
    for changes in [*valid, *invalid]:
        event = {"number": 1, "time": 1.0, **evaluated(FIRST, 1, **changes)}
        assert (decode(encode(event).rstrip(b"\n")) is not None) == (changes in valid), changes
