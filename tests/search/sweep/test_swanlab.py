"""SwanLab beside a sweep: what it gets is the record's, and its failures stay its own."""

import io
import json
from types import SimpleNamespace

import pytest
from rich.console import Console
from swanlab.proto.swanlab.record.v1.record_pb2 import Record
from swanlab.proto.swanlab.run.v1.run_pb2 import RunState
from swanlab.sdk.internal.core_python.store import DataStoreReader

from search.record.trial_record import FAILED, FINISHED, GIVE_UP, RUNNING, STOPPED
from search.sweep import swanlab as tracker
from search.sweep.swanlab import tracked
from tests.clusters import wait_until
from tests.made_runs import asked, evaluated, failed, finish, made_run, started
from tests.sweeps import PATIENCE
from trainable.config.trial_config import TrialConfig

CONFIGS = {
    outcome: TrialConfig(alpha=0.5, evaluations=3, seed=seed)
    for seed, outcome in enumerate((FINISHED, STOPPED, FAILED, RUNNING))
}
# Takes the place of SwanLab in the writer's process.
FAKE = """
import json, os, time

class Settings:
    def __init__(self, run, **given): self.folder = run["dir"]
    Run = Terminal = Probe = dict

def tell(*what):
    with open({path!r}, "a") as file:
        file.write(json.dumps(what) + "\\n")

class Active:
    def log(self, values, step): tell(step, values["score"])
    def finish(self, state, error=None): tell(state, error)

def init(**given):
    {trouble}
    os.makedirs(os.path.join(given["log_dir"], given["settings"].folder))
    tell(given["mode"], given["id"][:8])
    return Active()
"""


@pytest.fixture
def make_run(tmp_path):
    """A run with a trial of each outcome."""

    def make(mode):
        run = made_run(tmp_path / "my run", list(CONFIGS.values()), asked(swanlab=mode))
        finish(run, CONFIGS[FINISHED], 0.75)
        run.append(evaluated(CONFIGS[STOPPED], 1, 0.5, "stop"))
        run.append(evaluated(CONFIGS[FAILED], 1, 0.25))
        run.append(failed(CONFIGS[FAILED], GIVE_UP, "loss is nan"))
        run.append(started(CONFIGS[RUNNING]))
        return run

    return make


@pytest.fixture
def fake_swanlab(tmp_path, monkeypatch, repository):
    """Puts a fake in its place that first runs this code; returns what it was called with."""
    monkeypatch.setattr(tracker, "cloud_problem", lambda: "")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'modules'}:{repository}")
    (tmp_path / "modules").mkdir()
    path = tmp_path / "calls.jsonl"
    path.touch()

    def put(trouble=""):
        code = FAKE.format(path=str(path), trouble=trouble)
        (tmp_path / "modules" / "swanlab.py").write_text(code)
        return lambda: [json.loads(line) for line in path.read_text().splitlines()]

    return put


def session(run, during=lambda: None, interrupted=False):
    """A session of the sweep; returns what it prints of SwanLab."""
    console = Console(file=io.StringIO(), width=300)
    with tracked(run, console, SimpleNamespace(requested=interrupted)):
        during()
    return console.file.getvalue()


def records(folder):
    """What SwanLab's own reader finds in a run's file."""
    (file,) = folder.glob("*.swanlab")
    reader, found = DataStoreReader(), []
    reader.open(file)
    while (line := reader.scan()) is not None:
        found.append(Record())
        found[-1].ParseFromString(line)
    return found


def test_every_evaluation_of_a_trial_that_ended_is_in_swanlabs_files_once(make_run):
    run = make_run("offline")
    place = run.folder / "swanlab" / "offline"
    (place / f".{CONFIGS[FINISHED].folder_name}").mkdir(parents=True)  # a killed writer's
    assert session(run) == ""
    for outcome in (FINISHED, STOPPED, FAILED):
        config, crashed = CONFIGS[outcome], outcome == FAILED
        found, trial = records(place / config.folder_name), run.trials[config.digest]
        scalars = [record.scalar for record in found if record.HasField("scalar")]
        skipped = ("step", "predictions", "full_predictions", "full_score")
        told = [
            e | {"accuracy": e["score"], "best5_accuracy": e["best5"]} for e in trial.evaluations
        ]
        assert {(s.key, s.step): s.value.number for s in scalars} == pytest.approx(
            {(k, e["step"]): e[k] for e in told for k in e if k not in skipped}
        )
        (start,) = [record.start for record in found if record.HasField("start")]
        assert (start.project, start.id) == ("my-run", config.digest + run.plan.identity[:12])
        (end,) = [record.finish for record in found if record.HasField("finish")]
        assert end.state == (RunState.RUN_STATE_CRASHED if crashed else RunState.RUN_STATE_FINISHED)
        assert end.error == ("loss is nan" if crashed else "")
    before = {path: path.stat().st_mtime_ns for path in place.rglob("*.swanlab")}
    assert len(before) == 3
    finish(run, CONFIGS[RUNNING])  # in the next session
    assert session(run) == ""
    after = {path: path.stat().st_mtime_ns for path in place.rglob("*.swanlab")}
    assert before.items() < after.items()
    assert len(after) == 4


def test_trials_reach_the_cloud_as_they_end(make_run, fake_swanlab, monkeypatch):
    run, calls = make_run("cloud"), fake_swanlab()
    monkeypatch.setattr(tracker, "POLL_SECONDS", 0.1)

    def during():
        wait_until(lambda: len(calls()) == 5 + 3 + 3, PATIENCE)
        finish(run, CONFIGS[RUNNING])

    assert session(run, during) == ""
    first, last = CONFIGS[FINISHED].digest[:8], CONFIGS[RUNNING].digest[:8]
    assert calls()[:5] == [["online", first], [10, 0.75], [20, 0.75], [30, 0.75], ["success", None]]
    assert ["crashed", "loss is nan"] in calls()
    assert calls()[-5] == ["online", last]


@pytest.mark.parametrize("trouble", ["time.sleep(600)", "raise OSError('far')"])
def test_swanlabs_trouble_is_one_line_and_the_next_session_tries_again(
    make_run, fake_swanlab, trouble
):
    run, calls = make_run("cloud"), fake_swanlab(f"import signal; signal.alarm(1); {trouble}")
    log = run.folder / "swanlab" / "log.txt"
    assert session(run) == f"SwanLab is off: not all could be written; see {log}.\n"
    assert session(run, interrupted=True) == ""  # which does not wait
    fake_swanlab()
    assert session(run) == ""
    assert len(calls()) == 5 + 3 + 3


def test_without_a_login_it_is_off_in_one_line(make_run, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SWANLAB_API_KEY", raising=False)
    line = "SwanLab is off: no login here; `swanlab login` makes one.\n"
    assert session(make_run("cloud")) == line
