"""The run's own record: what is written is read back, whatever the process died of."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from search.record import (
    FAILED,
    FINISHED,
    FORMAT,
    GIVE_UP,
    PENDING,
    RECORD,
    RETRY,
    RETRY_ALONE,
    RUNNING,
    STOPPED,
    SWEEP,
    WAITING,
    create_run,
    mend,
    read_events,
    read_run,
)
from trainable.config import TrialConfig
from trainable.errors import UserError

CONFIGS = [
    TrialConfig(initialisation=initialisation, alpha=alpha, learning_rate=3e-5, evaluations=3)
    for initialisation in ("random", "teacher_lower")
    for alpha in (0.5, 1.0)
]
FIRST, SECOND, THIRD, FOURTH = (config.digest for config in CONFIGS)
LATER = [TrialConfig(alpha=0.25, learning_rate=3e-5, evaluations=3, seed=s) for s in (1, 2)]


def evaluated(trial, n, accuracy=0.5, best5=0.4, *, decision="continue"):
    values = {
        "evaluations": n,
        "accuracy": accuracy,
        "best5_accuracy": best5,
        "training_seconds": 2.0,
        "evaluation_seconds": 0.25,
    }
    return {"event": "evaluation", "decision": decision, "evaluation": values, "trial": trial}


def started(trial):
    return {"event": "start", "trial": trial}


def failed(trial, then, reason="out of memory"):
    return {"event": "failure", "reason": reason, "then": then, "trial": trial}


def repeated(trial, n):
    return {"event": "repeated", "evaluations": n, "trial": trial}


def ended(trial):
    return {"event": "stop", "trial": trial}


def waits(trial, n):
    return evaluated(trial, n, decision="wait")


SESSION = {"event": "session", "provenance": {"command": "python -m search.run --space x"}}
STORY = [  # an event of every kind, of two trials side by side
    SESSION,
    started(FIRST),
    started(SECOND),
    evaluated(FIRST, 1),
    failed(SECOND, RETRY, 'KeyError: "é"'),
    repeated(FIRST, 1),
    started(SECOND),
    failed(SECOND, RETRY_ALONE),
    SESSION,
    evaluated(FIRST, 2, decision="stop"),
    failed(SECOND, GIVE_UP),
]


@pytest.fixture
def run(tmp_path):
    return create_run(tmp_path / "runs" / "mine", {"space": "baselines", "seed": 3}, CONFIGS)


@pytest.fixture
def quick_folder(tmp_path, monkeypatch):
    """In memory, where the system has such a folder: files are replaced thousands of times."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    memory = Path("/dev/shm")
    with TemporaryDirectory(dir=memory if memory.is_dir() else tmp_path) as folder:
        yield Path(folder)


@pytest.fixture
def story(quick_folder):
    """A run of two trials with all of that in its record, as small as can be."""
    run = create_run(quick_folder / "mine", {"keep": 5}, CONFIGS[:2])
    for event in STORY:
        run.append(event)
    return run


def append(run, *events):
    for event in events:
        run.append(event)
    return read_run(run.folder)


def told(folder):
    """The events as they were appended, and the plans left out."""
    return [
        {key: value for key, value in event.items() if key not in ("number", "time")}
        for event in read_events(folder)
        if event["event"] != "plan"
    ]


def files(folder):
    """All files with their contents, and when they were written."""
    found = [path for path in folder.rglob("*") if path.is_file()]
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in found}


def copy_of(run, trial):
    return run.trial_folder(run.trials[trial]) / RECORD


def surviving(whole, length):
    """Lines that are whole before a cut of the record, and those that a trial's folder has too."""
    kept, end = [], 0
    for line in whole.split(b"\n")[:-1]:
        end += len(line)
        if end <= length or b'"trial": "' in line:
            kept.append(line)
        end += 1
    return kept


def number_of(line):
    return json.loads(line)["number"]


# What is written is read back.


def test_create_then_read_gives_the_same_run(run):
    found = read_run(run.folder)
    assert found == run
    assert list(found.trials) == [config.digest for config in CONFIGS]
    assert [trial.config for trial in found.trials.values()] == CONFIGS
    assert {trial.outcome for trial in found.trials.values()} == {PENDING}


def test_plan_stands_in_both_files_and_nothing_else_is_there(run):
    sweep = json.loads((run.folder / SWEEP).read_text())
    trials = [config.to_dict() for config in CONFIGS]
    wanted = {"format": FORMAT, "revision": 0, "space": "baselines", "seed": 3, "trials": trials}
    assert sweep == run.sweep == wanted
    (line,) = (run.folder / RECORD).read_text().splitlines()
    event = json.loads(line)
    assert (event["event"], event["number"], event["sweep"]) == ("plan", 0, sweep)
    assert sorted(path.name for path in run.folder.iterdir()) == [RECORD, SWEEP]


def test_events_are_numbered_in_the_order_written(story):
    events = read_events(story.folder)
    assert [event["number"] for event in events] == list(range(1 + len(STORY)))
    assert told(story.folder) == STORY
    assert all(abs(event["time"] - time.time()) < 60 for event in events)
    assert (story.folder / RECORD).read_bytes().isascii()  # so no line break within a line


def test_each_trials_folder_has_its_lines_byte_for_byte(story):
    lines = (story.folder / RECORD).read_bytes().splitlines(keepends=True)
    for config in CONFIGS[:2]:
        copy = story.folder / config.folder_name / RECORD
        mine = [line for line in lines if json.loads(line).get("trial") == config.digest]
        assert mine
        assert copy.read_bytes() == b"".join(mine)


def test_read_run_equals_the_run_that_took_in_the_events_live(story):
    assert read_run(story.folder) == story


def test_no_file_at_all_is_no_event(tmp_path):
    assert read_events(tmp_path) == []


def test_event_is_on_disk_before_append_returns_the_record_first(run, monkeypatch):
    flushed, flush = [], os.fsync

    def watched(descriptor):
        flushed.append((os.fstat(descriptor).st_ino, os.fstat(descriptor).st_size))
        flush(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    run.append(started(FIRST))
    paths = [path.stat() for path in (run.folder / RECORD, copy_of(run, FIRST))]
    assert flushed == [(found.st_ino, found.st_size) for found in paths]


def test_event_that_cannot_be_written_is_not_taken_in(run):
    (run.folder / RECORD).unlink()
    (run.folder / RECORD).mkdir()
    with pytest.raises(OSError, match=RECORD):
        run.append(started(FIRST))
    assert run.trials[FIRST].outcome == PENDING
    assert run.next_number == 1
    assert not copy_of(run, FIRST).exists()


def test_event_whose_copy_cannot_be_written_stands_in_the_record(run):
    folder = run.trial_folder(run.trials[FIRST])
    folder.write_text("")
    with pytest.raises(OSError, match=folder.name):
        run.append(started(FIRST))
    assert run.trials[FIRST].outcome == PENDING
    run.append(started(SECOND))  # under a number of its own
    assert told(run.folder) == [started(FIRST), started(SECOND)]


# What the events tell.


START = (started,)
MEMORY = "out of memory"


@pytest.mark.parametrize(
    ("events", "outcome", "reason", "alone"),
    [
        ([], PENDING, "", False),
        ([START], RUNNING, "", False),
        ([START, (failed, RETRY)], PENDING, MEMORY, False),
        ([START, (failed, RETRY), START], RUNNING, MEMORY, False),
        ([START, (failed, RETRY), START, (evaluated, 1)], RUNNING, "", False),
        ([START, (failed, RETRY_ALONE)], PENDING, MEMORY, True),
        ([START, (failed, RETRY_ALONE), START, (evaluated, 1)], RUNNING, "", True),
        ([START, (failed, RETRY_ALONE), START, (failed, RETRY)], PENDING, MEMORY, True),
        ([START, (failed, RETRY_ALONE), START, (failed, GIVE_UP)], FAILED, MEMORY, True),
        ([START, (failed, GIVE_UP)], FAILED, MEMORY, False),
        ([START, (evaluated, 1), (failed, GIVE_UP)], FAILED, MEMORY, False),
        ([START, (evaluated, 1), (repeated, 1)], RUNNING, "", False),
        ([START, (waits, 1)], WAITING, "", False),
        ([START, (waits, 1), (repeated, 1)], WAITING, "", False),
        ([START, (waits, 1), START], RUNNING, "", False),
        ([START, (waits, 1), (ended,)], STOPPED, "", False),
        ([START, (evaluated, 1), (evaluated, 2), (evaluated, 3)], FINISHED, "", False),
    ],
)
def test_state_of_a_trial_is_what_its_events_tell(run, events, outcome, reason, alone):
    told = [kind(FIRST, *more) for kind, *more in events]
    found = append(run, *told).trials[FIRST]
    assert (found.outcome, found.reason, found.alone) == (outcome, reason, alone)
    assert found.repeated == sum(event["event"] == "repeated" for event in told)
    assert len(found.evaluations) == sum(event["event"] == "evaluation" for event in told)
    assert {trial.outcome for digest, trial in run.trials.items() if digest != FIRST} == {PENDING}


@pytest.mark.parametrize(
    ("n", "decision", "outcome"),
    [
        (2, "continue", RUNNING),
        (2, "stop", STOPPED),
        (2, "wait", WAITING),
        (3, "continue", FINISHED),
        (3, "stop", FINISHED),
    ],
)
def test_decision_ends_a_trial_and_its_last_evaluation_finishes_it(run, n, decision, outcome):
    for number in range(1, n):
        run.append(evaluated(FIRST, number))
    found = append(run, evaluated(FIRST, n, decision=decision))
    assert found.trials[FIRST].outcome == outcome


def test_scores_and_seconds_are_those_of_the_evaluations(run):
    found = append(run, evaluated(FIRST, 1, best5=0.6), evaluated(FIRST, 2, best5=0.7))
    first, second, *_ = found.trials.values()
    assert (first.best5, first.seconds) == (0.7, 4.5)
    assert (second.best5, second.seconds) == (None, 0.0)


def test_a_trial_that_went_back_counts_as_it_went_on(run):
    """On a GPU the second time is not bit for bit the first; its history goes on from it."""
    before = [evaluated(FIRST, 1, accuracy=0.5), evaluated(FIRST, 2, accuracy=0.6)]
    found = append(run, *before, started(FIRST), evaluated(FIRST, 1, accuracy=0.9))
    assert [e["accuracy"] for e in found.trials[FIRST].evaluations] == [0.9]
    found = append(run, evaluated(FIRST, 2, accuracy=0.8), evaluated(FIRST, 3, accuracy=0.7))
    trial = found.trials[FIRST]
    assert [e["accuracy"] for e in trial.evaluations] == [0.9, 0.8, 0.7]
    assert (trial.outcome, trial.seconds) == (FINISHED, 3 * 2.25)


@pytest.mark.parametrize("decision", ["continue", "stop"])
@pytest.mark.parametrize("n", [2, 3])
def test_evaluation_with_a_gap_before_it_is_not_taken_in(run, n, decision):
    found = append(run, started(FIRST), evaluated(FIRST, n, decision=decision))
    assert (found.trials[FIRST].outcome, found.trials[FIRST].evaluations) == (RUNNING, [])
    found = append(run, *(evaluated(FIRST, again) for again in (1, 2, 3)))
    assert [e["evaluations"] for e in found.trials[FIRST].evaluations] == [1, 2, 3]
    assert found.trials[FIRST].outcome == FINISHED


def test_run_is_interrupted_until_every_trial_has_ended(run):
    ends = [evaluated(FIRST, 1, decision="stop"), failed(SECOND, GIVE_UP)]
    ends += [waits(THIRD, 1), ended(THIRD), failed(FOURTH, GIVE_UP)]
    for end in ends:
        assert read_run(run.folder).interrupted
        append(run, end)
    assert not read_run(run.folder).interrupted
    assert not run.interrupted


# A record, a copy or a plan that is cut anywhere.


def test_record_cut_at_any_byte_loses_no_event_of_a_trial(story):
    main = story.folder / RECORD
    whole, read_again = main.read_bytes(), set()
    for length in range(len(whole)):
        main.write_bytes(whole[:length])
        found = read_run(story.folder)
        assert (found.trials, found.sweep) == (story.trials, story.sweep)
        mend(found)
        kept, mended = surviving(whole, length), main.read_bytes()
        if len(kept) not in read_again:
            read_again.add(len(kept))
            assert read_run(story.folder) == found
        if len(kept) == 1 + len(STORY):
            assert mended == whole
        elif number_of(kept[0]) == 0:
            assert mended == b"".join(line + b"\n" for line in kept)
        else:  # the plan is lost, and put back at the end
            *lines, last = mended.splitlines()
            assert lines == kept
            plan = json.loads(last)
            assert (plan["event"], plan["sweep"]) == ("plan", story.sweep)
            assert plan["number"] == number_of(kept[-1]) + 1


def test_record_cut_at_any_byte_is_appended_to_without_a_loss(story):
    main = story.folder / RECORD
    whole = main.read_bytes()
    for length in range(len(whole)):
        main.write_bytes(whole[:length])
        numbers = [number_of(line) for line in surviving(whole, length)]
        found = read_run(story.folder)
        found.append(SESSION)
        assert [event["number"] for event in read_events(story.folder)] == [
            *numbers,
            numbers[-1] + 1,
        ]
        assert json.loads(main.read_bytes().splitlines()[-1])["event"] == "session"


@pytest.mark.parametrize("trial", [FIRST, SECOND])
def test_copy_cut_at_any_byte_costs_nothing(story, trial):
    main, copy = story.folder / RECORD, copy_of(story, trial)
    record, whole = main.read_bytes(), copy.read_bytes()
    for length in range(len(whole)):
        copy.write_bytes(whole[:length])
        found = read_run(story.folder)
        assert found == story
        assert mend(found) == []
        assert main.read_bytes() == record


def test_event_after_a_copys_cut_line_is_not_lost_with_the_record(story):
    main, copy = story.folder / RECORD, copy_of(story, FIRST)
    record, whole = main.read_bytes(), copy.read_bytes()
    for length in range(len(whole)):
        main.write_bytes(record)
        copy.write_bytes(whole[:length])
        story.append(repeated(FIRST, 1))
        main.unlink()
        numbers = [
            event["number"] for event in read_events(story.folder) if event["trial"] == FIRST
        ]
        before = [line for line in whole[:length].split(b"\n") if line in whole.splitlines()]
        assert numbers == [*map(number_of, before), story.next_number - 1]


@pytest.mark.parametrize("left", [0.0, 0.5, 0.99])
def test_mended_run_has_every_event_twice_again(story, left):
    """A copy that was damaged, or that a kill left one event behind, counts on nobody's luck."""
    copy = copy_of(story, FIRST)
    whole = copy.read_bytes()
    copy.write_bytes(whole[: int(left * len(whole))])
    mend(read_run(story.folder))
    (story.folder / RECORD).unlink()
    assert read_run(story.folder).trials == story.trials


def test_plan_file_cut_at_any_byte_is_put_back(story):
    path, record = story.folder / SWEEP, (story.folder / RECORD).read_bytes()
    whole = path.read_bytes()
    for length in range(len(whole) - 1):
        path.write_bytes(whole[:length])
        found = read_run(story.folder)
        assert found == story
        assert mend(found) == [f"{SWEEP} was damaged: put back from {RECORD}"]
        assert path.read_bytes() == whole
        assert (story.folder / RECORD).read_bytes() == record


@pytest.mark.parametrize("lost", [RECORD, SWEEP, *(c.folder_name for c in CONFIGS[:2])])
def test_file_that_is_gone_costs_nothing_but_sessions(story, lost):
    path = story.folder / lost
    (path / RECORD if path.is_dir() else path).unlink()
    found = read_run(story.folder)
    assert (found.trials, found.sweep) == (story.trials, story.sweep)
    mend(found)
    again = read_run(story.folder)
    assert (again.trials, again.sweep) == (story.trials, story.sweep)
    wanted = [event for event in STORY if lost != RECORD or "trial" in event]
    assert told(story.folder) == wanted
    assert (story.folder / SWEEP).is_file()
    assert (story.folder / RECORD).is_file()


def test_record_whose_end_is_zeros_loses_no_event_of_a_trial(story):
    """As a file system leaves a file that grew just before the power went."""
    main = story.folder / RECORD
    whole = main.read_bytes()
    for length in range(0, len(whole), 7):
        main.write_bytes(whole[:length] + bytes(len(whole) - length))
        found = read_run(story.folder)
        mend(found)
        assert found.trials == read_run(story.folder).trials == story.trials
        assert bytes(1) not in main.read_bytes()


def test_last_line_cut_short_had_not_been_acted_upon(story):
    """A kill within an append leaves it in the record alone; its number is free."""
    main = story.folder / RECORD
    whole = main.read_bytes()
    main.write_bytes(whole + b'{"number": 12, "time": 1.0, "event": "evalua')
    found = read_run(story.folder)
    assert found == story
    assert mend(found) == []
    assert main.read_bytes() == whole
    found.append(repeated(FIRST, 2))
    assert told(story.folder) == [*STORY, repeated(FIRST, 2)]


def test_mending_says_what_was_wrong_in_a_line_each(story):
    (story.folder / RECORD).unlink()
    of_trials = sum("trial" in event for event in STORY)
    assert mend(read_run(story.folder)) == [
        f"{RECORD} was damaged: {of_trials} event(s) put back from the trials' copies",
        f"{RECORD} had lost the plan: put back from {SWEEP}",
    ]


def test_whole_run_is_left_untouched(story):
    before = files(story.folder)
    found = read_run(story.folder)
    assert mend(found) == []
    assert found == story
    assert files(story.folder) == before


def test_plan_lost_from_both_files_is_a_users_error_and_nothing_changes(story):
    main, path = story.folder / RECORD, story.folder / SWEEP
    record, sweep = main.read_bytes(), path.read_bytes()
    first = record.index(b"\n")
    for length in range(0, len(sweep) - 1, 13):
        path.write_bytes(sweep[:length])
        main.write_bytes(record[: length % first] + record[first:])
        before = files(story.folder)
        with pytest.raises(UserError) as caught:
            read_run(story.folder)
        message = str(caught.value)
        assert "\n" not in message
        assert all(said in message for said in (str(story.folder), SWEEP, RECORD))
        assert files(story.folder) == before


def test_empty_folder_is_a_users_error(tmp_path):
    with pytest.raises(UserError, match=str(tmp_path)):
        read_run(tmp_path)


# Other formats.


@pytest.mark.parametrize("kept", [(SWEEP, RECORD), (SWEEP,), (RECORD,)], ids="+".join)
@pytest.mark.parametrize(("written", "age"), [(FORMAT + 1, "a newer"), (1, "an older")])
def test_another_format_is_refused_in_one_line_and_nothing_changes(story, kept, written, age):
    for name in (SWEEP, RECORD):
        path = story.folder / name
        path.write_text(path.read_text().replace(f'"format": {FORMAT}', f'"format": {written}'))
        if name not in kept:
            path.unlink()
    before = files(story.folder)
    with pytest.raises(UserError) as caught:
        read_run(story.folder)
    message = str(caught.value)
    assert f"{age} version (format {written}" in message
    assert str(story.folder) in message
    assert "\n" not in message
    assert files(story.folder) == before


def test_run_as_the_first_version_wrote_it_is_refused(tmp_path):
    """Its events had no numbers, its plan no revision."""
    sweep = {"format": 1, "space": "x", "trials": [config.to_dict() for config in CONFIGS]}
    (tmp_path / SWEEP).write_text(json.dumps(sweep))
    (tmp_path / RECORD).write_text(json.dumps(started(FIRST)) + "\n")
    before = files(tmp_path)
    with pytest.raises(UserError, match=r"an older version \(format 1"):
        read_run(tmp_path)
    assert files(tmp_path) == before


# A plan that was extended.


def test_new_plan_adds_trials_behind_those_there_are(story):
    before = dict(story.trials)
    story.replan({"keep": 1}, LATER)
    assert story.sweep["revision"] == 1
    assert story.sweep["keep"] == 1
    assert list(story.trials) == [*before, *(config.digest for config in LATER)]
    assert {digest: story.trials[digest] for digest in before} == before
    assert [story.trials[config.digest].outcome for config in LATER] == [PENDING, PENDING]
    assert read_run(story.folder) == story
    assert json.loads((story.folder / SWEEP).read_text()) == story.sweep


@pytest.mark.parametrize("older", [SWEEP, RECORD])
def test_newest_plan_counts_whichever_file_has_it(story, older):
    """Killed between the two, or with one of them put back from a copy."""
    path = story.folder / older
    before = path.read_bytes()
    story.replan({}, LATER)
    path.write_bytes(before)
    found = read_run(story.folder)
    assert (found.sweep, found.trials) == (story.sweep, story.trials)
    mend(found)
    assert json.loads((story.folder / SWEEP).read_text()) == story.sweep
    assert read_run(story.folder).sweep == story.sweep


@pytest.mark.parametrize("lost", [SWEEP, RECORD])
def test_after_mending_either_file_has_the_newest_plan(story, lost):
    main = story.folder / RECORD
    before = main.read_bytes()
    story.replan({}, LATER)
    story.append(started(LATER[0].digest))
    main.write_bytes(before)
    mend(read_run(story.folder))
    (story.folder / lost).unlink()
    found = read_run(story.folder)
    assert (found.sweep, found.trials) == (story.sweep, story.trials)


def test_reading_needs_neither_ray_nor_torch(repository):
    code = "import sys, search.record; print({'ray', 'torch', 'transformers'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=repository, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"


def test_trial_folders_are_named_without_the_run(run):
    """So a run can be moved as a whole."""
    for digest, trial in run.trials.items():
        folder = run.trial_folder(trial)
        assert folder.parent == run.folder
        assert folder.name.endswith(digest)
    assert len({run.trial_folder(trial) for trial in run.trials.values()}) == len(CONFIGS)


def test_moved_run_reads_the_same(story):
    moved = story.folder.rename(story.folder.parent / "moved")
    found = read_run(Path(moved))
    assert (found.trials, found.sweep, found.folder) == (story.trials, story.sweep, moved)
