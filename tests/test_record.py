"""The run's own record: what is written is read back, whatever the process died of."""

import json
import shlex
import subprocess
import sys

import pytest

from search.record import (
    FAILED,
    FINISHED,
    PENDING,
    RECORD,
    RUNNING,
    STOPPED,
    SWEEP,
    Run,
    TrialRecord,
    append_event,
    create_run,
    find_run,
    read_events,
    read_run,
)
from trainable.config import TrialConfig
from trainable.errors import UserError

CONFIGS = [
    TrialConfig(initialisation=initialisation, alpha=alpha, learning_rate=3e-5)
    for initialisation in ("random", "teacher_lower")
    for alpha in (0.5, 1.0)
]
FIRST, SECOND = CONFIGS[0].digest, CONFIGS[1].digest


def evaluated(trial, n, accuracy=0.5, best5=0.4):
    values = {
        "evaluations": n,
        "accuracy": accuracy,
        "best5_accuracy": best5,
        "training_seconds": 2.0,
        "evaluation_seconds": 0.25,
    }
    return {"event": "evaluation", "trial": trial, "evaluation": values}


def started(trial):
    return {"event": "start", "trial": trial}


def ended(trial, outcome, **more):
    return {"event": "end", "trial": trial, "outcome": outcome, **more}


@pytest.fixture
def run(tmp_path):
    return create_run(tmp_path / "runs" / "mine", {"space": "baselines", "seed": 3}, CONFIGS)


def record(run, *events):
    for event in events:
        append_event(run.folder, event)
    return read_run(run.folder)


def cut(run, count):
    """Takes the last `count` bytes off the record, as a killed process leaves it."""
    path = run.folder / RECORD
    path.write_bytes(path.read_bytes()[:-count])


def test_create_then_read_gives_the_same_run(run):
    found = read_run(run.folder)
    assert found == run
    assert list(found.trials) == [config.digest for config in CONFIGS]
    assert [trial.config for trial in found.trials.values()] == CONFIGS
    assert {trial.outcome for trial in found.trials.values()} == {PENDING}


def test_sweep_file_is_plain_json_and_alone(run):
    found = json.loads((run.folder / SWEEP).read_text())
    trials = [config.to_dict() for config in CONFIGS]
    assert found == {"format": 1, "space": "baselines", "seed": 3, "trials": trials}
    assert [path.name for path in run.folder.iterdir()] == [SWEEP]


def test_events_are_read_in_the_order_written(run):
    events = [started(FIRST), evaluated(FIRST, 1), ended(FIRST, FAILED, reason="é [x]: \u2028")]
    record(run, *events)
    assert read_events(run.folder) == events
    assert len((run.folder / RECORD).read_bytes().splitlines()) == 3


def test_no_record_yet_is_no_event(run):
    assert read_events(run.folder) == []


def test_run_is_what_its_events_tell(run):
    found = record(
        run,
        started(FIRST),
        started(SECOND),
        evaluated(FIRST, 1, best5=0.6),
        evaluated(FIRST, 2, best5=0.7),
        ended(FIRST, STOPPED),
    )
    first, second, third, _ = found.trials.values()
    assert (first.outcome, first.best5, first.seconds) == (STOPPED, 0.7, 4.5)
    assert (second.outcome, second.best5, second.seconds) == (RUNNING, None, 0.0)
    assert third.outcome == PENDING


def test_read_run_equals_the_run_that_took_in_the_events_live(run):
    events = [started(FIRST), evaluated(FIRST, 1), evaluated(FIRST, 1), ended(FIRST, FINISHED)]
    for event in events:
        run.apply(event)
    assert record(run, *events) == run


def test_a_trial_that_went_back_counts_as_it_went_on(run):
    """On a GPU the second time is not bit for bit the first; its history goes on from it."""
    found = record(
        run,
        evaluated(FIRST, 1, accuracy=0.5),
        evaluated(FIRST, 2, accuracy=0.6),
        started(FIRST),
        evaluated(FIRST, 1, accuracy=0.9),
        evaluated(FIRST, 2, accuracy=0.9),
        evaluated(FIRST, 3, accuracy=0.7),
    )
    trial = found.trials[FIRST]
    assert [e["accuracy"] for e in trial.evaluations] == [0.9, 0.9, 0.7]
    assert trial.seconds == 3 * 2.25


def test_start_after_a_failure_forgets_its_reason(run):
    found = record(run, ended(FIRST, FAILED, reason="out of memory"))
    assert found.trials[FIRST].reason == "out of memory"
    found = record(run, started(FIRST), ended(FIRST, FINISHED))
    assert (found.trials[FIRST].outcome, found.trials[FIRST].reason) == (FINISHED, "")


def test_run_is_interrupted_until_every_trial_has_ended(run):
    outcomes = (FINISHED, STOPPED, FAILED, FINISHED)
    assert read_run(run.folder).interrupted
    for config, outcome in zip(CONFIGS[:-1], outcomes, strict=False):
        assert record(run, ended(config.digest, outcome)).interrupted
    assert not record(run, ended(CONFIGS[-1].digest, outcomes[-1])).interrupted


@pytest.mark.parametrize("left", [1, 2, 15, 40, 80])
def test_last_line_cut_short_is_left_out(run, left):
    record(run, started(FIRST), evaluated(FIRST, 1), evaluated(FIRST, 2))
    line = (run.folder / RECORD).read_bytes().splitlines()[-1]
    cut(run, len(line) + 1 - left)
    assert read_events(run.folder) == [started(FIRST), evaluated(FIRST, 1)]
    assert len(read_run(run.folder).trials[FIRST].evaluations) == 1


def test_last_line_that_lacks_only_its_end_is_kept(run):
    record(run, started(FIRST), evaluated(FIRST, 1))
    cut(run, 1)
    assert read_events(run.folder) == [started(FIRST), evaluated(FIRST, 1)]


@pytest.mark.parametrize("left", [1, 15, 80])
def test_event_after_a_line_cut_short_is_not_lost(run, left):
    record(run, started(FIRST), evaluated(FIRST, 1))
    line = (run.folder / RECORD).read_bytes().splitlines()[-1]
    cut(run, len(line) + 1 - left)
    record(run, evaluated(FIRST, 1), evaluated(FIRST, 2))
    assert read_events(run.folder) == [started(FIRST), evaluated(FIRST, 1), evaluated(FIRST, 2)]


def test_event_after_a_line_that_lacks_only_its_end_is_not_lost(run):
    record(run, started(FIRST), evaluated(FIRST, 1))
    cut(run, 1)
    found = record(run, evaluated(FIRST, 2))
    assert [e["evaluations"] for e in found.trials[FIRST].evaluations] == [1, 2]


@pytest.mark.parametrize("name", ["mine", "my run"])
def test_existing_name_is_refused_with_the_command_to_resume(tmp_path, name):
    run = create_run(tmp_path / name, {}, CONFIGS)
    before = {path: path.read_bytes() for path in run.folder.iterdir()}
    with pytest.raises(UserError) as caught:
        create_run(run.folder, {"space": "other"}, [])
    message = str(caught.value)
    assert message.startswith(f"--name {name}: ")
    assert "\n" not in message
    command = shlex.split(message[message.index("python -m") :])
    assert command == ["python", "-m", "search.run", "--resume", str(run.folder)]
    assert {path: path.read_bytes() for path in run.folder.iterdir()} == before


def test_newer_format_is_refused_in_one_line(run):
    sweep = json.loads((run.folder / SWEEP).read_text()) | {"format": 2}
    (run.folder / SWEEP).write_text(json.dumps(sweep))
    with pytest.raises(UserError, match=r"newer version \(format 2\)") as caught:
        read_run(run.folder)
    assert str(run.folder) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_run_is_found_by_name_and_by_path(run, monkeypatch):
    storage = run.folder.parent
    assert find_run("--resume", "mine", storage) == run.folder
    assert find_run("--resume", str(run.folder), storage / "elsewhere") == run.folder
    monkeypatch.chdir(storage.parent)
    assert find_run("--resume", "runs/mine", storage / "elsewhere") == run.folder
    assert find_run("--resume", "runs/mine/", storage / "elsewhere").is_absolute()


def test_unknown_name_lists_what_is_there(run):
    storage = run.folder.parent
    create_run(storage / "another", {}, [])
    (storage / "no run").mkdir()
    for name in ("yours", "no run"):
        with pytest.raises(UserError) as caught:
            find_run("--resume", name, storage)
        message = str(caught.value)
        assert f"--resume {name}: " in message
        assert message.endswith("there: another, mine")


@pytest.mark.parametrize("made", [True, False])
def test_unknown_name_where_there_is_no_run(tmp_path, made):
    storage = tmp_path / "runs"
    if made:
        storage.mkdir()
    with pytest.raises(UserError, match="there: none"):
        find_run("--resume", "mine", storage)


def test_trials_do_not_share_their_lists():
    run = Run(None, {}, {config.digest: TrialRecord(config) for config in CONFIGS})
    run.apply(evaluated(FIRST, 1))
    assert [len(trial.evaluations) for trial in run.trials.values()] == [1, 0, 0, 0]


def test_reading_needs_neither_ray_nor_torch(repository):
    code = "import sys, search.record; print({'ray', 'torch', 'transformers'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=repository, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"
