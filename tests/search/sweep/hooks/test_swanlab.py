"""SwanLab beside a sweep: what it gets is the record's, and its failures stay its own."""

import io
import json
import time
from dataclasses import asdict
from types import SimpleNamespace

import pytest
from rich.console import Console
from swanlab.proto.swanlab.record.v1.record_pb2 import Record
from swanlab.proto.swanlab.run.v1.run_pb2 import RunState
from swanlab.sdk.internal.core_python.store import DataStoreReader

from search.record.trial_record import FAILED, FINISHED, GIVE_UP, RUNNING, STOPPED
from search.sweep.hooks import swanlab as swanlab_tracker
from search.sweep.hooks.swanlab import (
    SwanLabCallback,
    describe_trial,
    live_callbacks,
    run_id,
    write_missing,
)
from search.sweep.hooks.swanlab_writer import WRITTEN
from tests.made_runs import asked, evaluated, failed, finish, made_run, started
from trainable.config.trial_config import TrialConfig

PATIENCE = 60  # seconds that a process may take to start on a busy machine
CONFIGS = {
    outcome: TrialConfig(alpha=0.5, evaluations=3, seed=seed)
    for seed, outcome in enumerate((FINISHED, STOPPED, FAILED, RUNNING))
}


@pytest.fixture
def make_run(tmp_path):
    def make(mode, folder="mine", **changes):
        """A trial of each outcome."""
        request = asked(swanlab=mode)
        run = made_run(tmp_path / folder, list(CONFIGS.values()), request, **changes)
        finish(run, CONFIGS[FINISHED], 0.75)
        run.append(evaluated(CONFIGS[STOPPED], 1, 0.5, "stop"))
        run.append(evaluated(CONFIGS[FAILED], 1, 0.25))
        run.append(failed(CONFIGS[FAILED], GIVE_UP, "loss is nan"))
        run.append(started(CONFIGS[RUNNING]))
        return run

    return make


@pytest.fixture
def console():
    return Console(file=io.StringIO(), width=300)


def trial_of(run, outcome):
    return run.trials[CONFIGS[outcome].digest]


def written(run, mode):
    """Digests of the trials that are marked as written whole."""
    found = (run.folder / "swanlab" / mode).glob(f"*{WRITTEN}")
    return {path.stem.rpartition("-")[2] for path in found}


# Offline, with SwanLab itself.


def records(folder):
    """What SwanLab's own reader finds in a run's file."""
    (file,) = folder.glob("*.swanlab")
    reader = DataStoreReader()
    reader.open(file)
    found = []
    while (line := reader.scan()) is not None:
        record = Record()
        record.ParseFromString(line)
        found.append(record)
    return found


def test_every_evaluation_of_a_trial_that_ended_is_in_swanlabs_files_once(make_run, console):
    run = make_run("offline")
    place = run.folder / "swanlab" / "offline"
    left = place / CONFIGS[FINISHED].folder_name
    left.mkdir(parents=True)
    (left / "half").touch()  # by a writer that was killed
    write_missing(run, console)
    assert not (left / "half").exists()
    for outcome in (FINISHED, STOPPED, FAILED):
        found, trial = records(place / CONFIGS[outcome].folder_name), trial_of(run, outcome)
        scalars = [record.scalar for record in found if record.HasField("scalar")]
        logged = {(s.key, s.step): s.value.number for s in scalars}
        assert logged == pytest.approx(
            {
                (key, e["step"]): value
                for e in trial.evaluations
                for key, value in e.items()
                if key not in ("step", "correct", "full_correct", "full_accuracy")
            }
        )
        (start,) = [record.start for record in found if record.HasField("start")]
        assert (start.project, start.id) == ("mine", run_id(run, trial))
        (end,) = [record.finish for record in found if record.HasField("finish")]
        crashed = outcome == FAILED
        assert end.state == (RunState.RUN_STATE_CRASHED if crashed else RunState.RUN_STATE_FINISHED)
        assert end.error == ("loss is nan" if crashed else "")
    assert not (place / CONFIGS[RUNNING].folder_name).exists()
    assert written(run, "offline") == {CONFIGS[o].digest for o in (FINISHED, STOPPED, FAILED)}

    other = make_run("offline", "my run, " + 99 * "x", provenance={"started": "later"})
    ids = [run_id(each, trial) for each in (run, other) for trial in each.trials.values()]
    assert len(set(ids)) == 8
    assert describe_trial(other, trial_of(other, FINISHED))["project"] == "my-run--" + 92 * "x"

    before = {path: path.stat().st_mtime_ns for path in place.rglob("*.swanlab")}
    finish(run, CONFIGS[RUNNING])  # in the next session
    write_missing(run, console)
    after = {path: path.stat().st_mtime_ns for path in place.rglob("*.swanlab")}
    assert before.items() < after.items()
    assert len(after) == 4
    assert console.file.getvalue() == ""


# In the cloud, of which a module of the same name takes the place in the writers' processes.

FAKE = """
import json, os, time

PATH, TROUBLE = {path!r}, {trouble!r}

def tell(*what):
    with open(PATH, "a") as file:
        file.write(json.dumps(what) + "\\n")

class Settings:
    def __init__(self, **given): pass
    Run = Terminal = Probe = dict

class Active:
    def __init__(self, name): self.name = name
    def log(self, values, step): tell(self.name, "log", step, values)
    def finish(self, state, error=None): tell(self.name, "finish", state, error)

def init(**given):
    if TROUBLE == "dies": os._exit(3)
    if TROUBLE == "hangs": time.sleep(600)
    tell(given["id"], "init", given["mode"], given["resume"])
    return Active(given["id"])
"""


@pytest.fixture
def cloud(tmp_path, monkeypatch):
    """What the cloud was told, as a function; `trouble` is what is wrong with it."""
    path = tmp_path / "told.jsonl"
    (tmp_path / "modules").mkdir()
    monkeypatch.syspath_prepend(tmp_path / "modules")  # of this process and those that it starts
    monkeypatch.setattr(swanlab_tracker, "cloud_problem", lambda: "")

    def told():
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def fail(trouble):
        code = FAKE.format(path=str(path), trouble=trouble)
        (tmp_path / "modules" / "swanlab.py").write_text(code)

    fail("")
    told.fail = fail
    return told


def until(condition):
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def hook(callback, name, run, outcome):
    """By name, as Ray does."""
    trial = SimpleNamespace(trial_id="1", config=asdict(trial_of(run, outcome).config))
    getattr(callback, f"on_trial_{name}")(iteration=1, trials=[trial], trial=trial)


def test_evaluations_arrive_as_they_come_and_the_end_of_a_trial_ends_its_writer(
    make_run, console, cloud
):
    run = make_run("cloud")
    callback = live_callbacks(run, console)[0]
    config, name = CONFIGS[RUNNING], run_id(run, trial_of(run, RUNNING))
    run.append(evaluated(config, 1, 0.5))  # of an earlier session
    hook(callback, "start", run, RUNNING)
    until(lambda: len(cloud()) == 2)
    assert cloud()[0] == [name, "init", "online", "allow"]
    run.append(evaluated(config, 2, 0.6))
    for _ in range(2):  # as where a checkpoint is reported beside it
        hook(callback, "result", run, RUNNING)
    until(lambda: len(cloud()) == 3)
    hook(callback, "complete", run, RUNNING)  # it has paused
    run.append(evaluated(config, 3, 0.7))
    hook(callback, "result", run, RUNNING)
    hook(callback, "complete", run, RUNNING)
    until(lambda: len(cloud()) == 5)
    logged = [(step, values["accuracy"]) for _, kind, step, values in cloud() if kind == "log"]
    assert logged == [(10, 0.5), (20, 0.6), (30, 0.7)]
    assert cloud()[-1] == [name, "finish", "success", None]
    callback.on_experiment_end(trials=[])
    assert written(run, "cloud") == {config.digest}
    assert len(cloud()) == 5
    assert callback.__getstate__() == {}

    write_missing(run, console)  # what no writer has had
    assert written(run, "cloud") == {config.digest for config in CONFIGS.values()}
    ends = [state for _, kind, state, _ in cloud() if kind == "finish"]
    assert ends == ["success", "success", "success", "crashed"]


def test_what_was_not_sent_whole_is_written_again(make_run, console, cloud):
    run = make_run("cloud")
    callback = live_callbacks(run, console)[0]
    hook(callback, "start", run, FINISHED)
    (writer,) = callback._writers.values()
    writer._all_sent = False  # as where the pipe was full
    hook(callback, "complete", run, FINISHED)
    callback.on_experiment_end(trials=[])
    assert [told[1] for told in cloud()][-1] == "finish"
    assert written(run, "cloud") == set()


@pytest.mark.parametrize("end", ["the session", "the sweep"])
def test_a_trial_that_has_not_ended_is_left_open_for_the_next_session(make_run, cloud, end):
    run = make_run("cloud")
    callback = SwanLabCallback(run)
    hook(callback, "start", run, RUNNING)
    if end == "the session":
        callback.on_experiment_end(trials=[])
        assert not written(run, "cloud")
    else:  # killed: its end of the pipe is closed
        (writer,) = callback._writers.values()
        writer._pipe.close()
        writer.process.join(PATIENCE)
    assert [told[1:3] for told in cloud()][-1] == ["finish", "aborted"]


@pytest.mark.parametrize("trouble", ["dies", "hangs"])
def test_swanlabs_trouble_delays_nothing_and_is_said_once(
    make_run, console, cloud, trouble, monkeypatch
):
    run = make_run("cloud")
    cloud.fail(trouble)
    callback = SwanLabCallback(run)
    monkeypatch.setattr(swanlab_tracker, "PATIENCE_SECONDS", 0.5)
    start = time.monotonic()
    for outcome in CONFIGS:
        hook(callback, "start", run, outcome)
    for _ in range(2000):  # more than a pipe takes
        hook(callback, "result", run, FINISHED)
    for outcome in (FINISHED, STOPPED, FAILED):
        hook(callback, "complete", run, outcome)
    callback.on_experiment_end(trials=[])
    assert time.monotonic() - start < 30
    assert [w.process.join(10) or w.process.is_alive() for w in callback._writers.values()] == [
        False
    ] * 4
    write_missing(run, console)
    (said,) = console.file.getvalue().splitlines()
    assert said.startswith(f"SwanLab is off: it could not be written to; see {run.folder}")
    assert not written(run, "cloud")


def test_without_a_login_it_is_off_in_one_line(make_run, console, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SWANLAB_API_KEY", raising=False)
    run = make_run("cloud")
    assert live_callbacks(run, console) == []
    write_missing(run, console)
    line = "SwanLab is off: no login here; `swanlab login` makes one."
    assert console.file.getvalue().splitlines() == [line] * 2
    assert live_callbacks(make_run("off", "other"), console) == []
