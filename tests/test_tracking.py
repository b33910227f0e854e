"""SwanLab beside a sweep: what it writes is the record's, and its failures stay its own."""

import io
import json
import sys
import threading
import time
from pathlib import Path

import pytest
from rich.console import Console
from search.swanlab_writer import DONE, follow, metrics, project_name, run_id, write_ended
from search.tracking import Tracking
from swanlab.proto.swanlab.record.v1.record_pb2 import Record
from swanlab.proto.swanlab.run.v1.run_pb2 import RunState
from swanlab.sdk.internal.core_python.store import DataStoreReader

from search import tracking
from search.record import FAILED, FINISHED, GIVE_UP, STOPPED, create_run, read_run
from search.tracking_modes import CLOUD, OFF, OFFLINE
from tests.sweeps import run as run_command
from trainable.config import TrialConfig

CONFIGS = {
    outcome: TrialConfig(alpha=0.5, evaluations=3, seed=seed)
    for seed, outcome in enumerate((FINISHED, STOPPED, FAILED, "running"))
}


def evaluated(name, n, decision="continue"):
    values = {
        "evaluations": n,
        "step": 10 * n,
        "accuracy": n / 10,
        "best5_accuracy": n / 20,
        "alpha": 0.5,
        "learning_rate": 1e-4,
        "loss": 1.0 / n,
        "correct": "AA==",
        "training_seconds": 2.5,
        "whole_accuracy": None,
        "whole_correct": None,
    }
    event = {"event": "evaluation", "decision": decision, "evaluation": values}
    return {**event, "trial": CONFIGS[name].digest}


@pytest.fixture
def run(tmp_path):
    """A trial of each outcome."""
    sweep = {"started": "2026-11-24", "command": "python -m search.run"}
    made = create_run(tmp_path / "runs" / "mine", sweep, list(CONFIGS.values()))
    for n in (1, 2, 3):
        made.append(evaluated(FINISHED, n))
    made.append(evaluated(STOPPED, 1))
    made.append(evaluated(STOPPED, 2, "stop"))
    made.append(evaluated(FAILED, 1))
    failure = {"event": "failure", "reason": "loss is nan", "then": GIVE_UP}
    made.append({**failure, "trial": CONFIGS[FAILED].digest})
    made.append(evaluated("running", 1))
    return made


class Output:
    def __init__(self):
        self.file = io.StringIO()
        self.console = Console(file=self.file, width=300)

    def lines(self):
        return self.file.getvalue().splitlines()


@pytest.fixture
def output():
    return Output()


def swanlab_folder(run, name, mode=OFFLINE):
    return run.folder / "swanlab" / mode / CONFIGS[name].folder_name


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


def values_logged(found):
    return {
        (record.scalar.key, record.scalar.step): record.scalar.value.number
        for record in found
        if record.HasField("scalar")
    }


def writer(code):
    """A writer of our own; it gets folder and mode as its arguments."""
    return (sys.executable, "-c", code)


def script(run, name, told):
    """A write function that remembers, and makes a folder as SwanLab does."""

    def write(run, trial, mode, place):
        told.append(trial.config.digest)
        (place / trial.config.folder_name).mkdir(parents=True)

    return write


def test_every_evaluation_is_in_swanlabs_files_and_every_run_is_closed(run, output):
    with Tracking(run.folder, OFFLINE, output.console):
        pass
    assert output.lines() == []
    for name in (FINISHED, STOPPED, FAILED):
        found = records(swanlab_folder(run, name))
        trial = run.trials[CONFIGS[name].digest]
        logged = values_logged(found)
        expected = {
            (key, evaluation["step"]): value
            for evaluation in trial.evaluations
            for key, value in metrics(evaluation).items()
        }
        assert logged == pytest.approx(expected)
        (start,) = [record.start for record in found if record.HasField("start")]
        assert (start.project, start.id) == ("mine", run_id(run, trial))
        assert start.name == trial.config.words()
        assert list(start.tags) == [name]
        (end,) = [record.finish for record in found if record.HasField("finish")]
        crashed = name == FAILED
        assert end.state == (RunState.RUN_STATE_CRASHED if crashed else RunState.RUN_STATE_FINISHED)
        assert end.error == ("loss is nan" if crashed else "")
        assert "alpha_schedule" in (swanlab_folder(run, name) / "files/config.yaml").read_text()
    assert not swanlab_folder(run, "running").exists()


def test_a_resumed_trial_is_one_run_and_nothing_is_written_twice(run, tmp_path):
    place, told = tmp_path / "place", []
    place.mkdir()
    write = script(run, "x", told)
    write_ended(run, OFFLINE, place, write, lambda line: None)
    assert told == [CONFIGS[name].digest for name in (FINISHED, STOPPED, FAILED)]
    before = run_id(run, run.trials[CONFIGS["running"].digest])
    for n in (2, 3):
        run.append(evaluated("running", n))
    again = read_run(run.folder)
    write_ended(again, OFFLINE, place, write, lambda line: None)
    assert told[3:] == [CONFIGS["running"].digest]
    written = json.loads((place / DONE).read_text())
    assert written[CONFIGS["running"].digest] == {"id": before, "evaluations": 3}
    write_ended(again, OFFLINE, place, write, lambda line: None)
    assert len(told) == 4


def test_what_a_killed_writer_left_is_written_anew(run, tmp_path):
    left = tmp_path / "place" / CONFIGS[FINISHED].folder_name
    left.mkdir(parents=True)
    (left / "half").write_text("")
    write_ended(run, OFFLINE, tmp_path / "place", script(run, "x", []), lambda line: None)
    assert not (left / "half").exists()


def test_any_folders_name_makes_a_project(tmp_path):
    made = create_run(tmp_path / ("my run, " + 99 * "x"), {}, [])
    assert project_name(made) == "my-run--" + 92 * "x"


def test_ids_differ_between_trials_and_sweeps(run, tmp_path):
    other = create_run(tmp_path / "other", {**run.sweep, "started": "later"}, [CONFIGS[FINISHED]])
    ids = [run_id(run, trial) for trial in run.trials.values()]
    ids += [run_id(other, trial) for trial in other.trials.values()]
    assert len(set(ids)) == 5


def test_trials_are_written_as_they_end_and_the_last_after_the_end(run, tmp_path, monkeypatch):
    monkeypatch.setattr("search.swanlab_writer.LOOK_SECONDS", 0.05)
    (run.folder / "swanlab" / OFFLINE).mkdir(parents=True)
    over, told, said = threading.Event(), [], []
    arguments = (run.folder, OFFLINE, over, script(run, "x", told), said.append)
    follower = threading.Thread(target=follow, args=arguments)
    follower.start()
    for _ in range(100):
        if len(told) == 3:
            break
        time.sleep(0.05)
    assert len(told) == 3
    for n in (2, 3):
        run.append(evaluated("running", n))
    over.set()
    follower.join(10)
    assert told[3:] == [CONFIGS["running"].digest]
    assert len(said) == 4


@pytest.mark.parametrize(
    ("trouble", "line"),
    [
        (("import time; time.sleep(600)", 0.5), "SwanLab does not answer: "),
        (("import sys, time; sys.stdin.read(); time.sleep(600)", 0.5), "SwanLab does not answer: "),
        (("print('problem: no network.', flush=True)", 60.0), "SwanLab is off: no network."),
    ],
    ids=["hangs", "hangs at the end", "fails"],
)
def test_swanlabs_trouble_delays_nothing_and_is_said_once(trouble, line, run, output, monkeypatch):
    code, patience = trouble
    monkeypatch.setattr(tracking, "PATIENCE_SECONDS", patience)
    with Tracking(run.folder, OFFLINE, output.console, writer(code)) as tracked:
        start = time.monotonic()
        for n in (2, 3):
            run.append(evaluated("running", n))
        assert time.monotonic() - start < 60
        process = tracked._writer
    assert time.monotonic() - start < 120
    assert process.returncode is not None
    (said,) = output.lines()
    assert said.startswith(line)
    assert read_run(run.folder).trials[CONFIGS["running"].digest].outcome == FINISHED


def test_a_writer_that_dies_without_a_word_is_no_error(run, output):
    with Tracking(run.folder, OFFLINE, output.console, writer("raise SystemExit(3)")):
        pass


def test_a_writer_that_can_not_start_is_said(run, output):
    with Tracking(run.folder, OFFLINE, output.console, ("/no/such/program",)):
        pass
    assert output.lines()[0].startswith("SwanLab is off: ")


def test_an_error_of_the_sweep_passes_through(run, output):
    with (
        pytest.raises(KeyError),
        Tracking(run.folder, OFFLINE, output.console, writer("input()")),
    ):
        raise KeyError("mine")


def test_off_starts_nothing(run, output):
    with Tracking(run.folder, OFF, output.console, ("/no/such/program",)) as tracked:
        assert tracked._writer is None
    assert output.lines() == []
    assert not (run.folder / "swanlab").exists()


def test_the_writer_ends_with_a_sweep_that_was_killed(run, output):
    """Its input ends then, as it does here."""
    with Tracking(run.folder, OFFLINE, output.console) as tracked:
        tracked._writer.stdin.close()
        assert tracked._writer.wait(30) == 0
    assert swanlab_folder(run, FINISHED).exists()


@pytest.mark.parametrize("key", [None, "a-key"])
def test_no_login_and_no_network_are_one_line(key, run, output, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SWANLAB_API_HOST", "http://127.0.0.1:9")
    monkeypatch.setattr(tracking, "PATIENCE_SECONDS", 20.0)
    monkeypatch.delenv("SWANLAB_API_KEY", raising=False)
    if key is not None:
        monkeypatch.setenv("SWANLAB_API_KEY", key)
    with Tracking(run.folder, CLOUD, output.console):
        pass
    (said,) = output.lines()
    assert said.startswith("SwanLab ")
    if key is None:
        assert said == "SwanLab is off: no login here; `swanlab login` makes one."


@pytest.mark.slow
def test_a_sweep_with_asha_is_tracked_and_so_is_what_is_added(make_command, tmp_path):
    command = make_command(tmp_path)
    done = run_command(
        [*command, "--space", "logits", "--name", "mine", "--swanlab", "offline"],
        *("--set", "epochs=1", "--set", "evaluations=4", "--samples", "3"),
    )
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "runs" / "mine"
    resume = [*command[:3], "--storage", str(tmp_path / "runs"), "--resume", "mine"]
    assert run_command(resume, "--samples", "4").returncode == 0
    run = read_run(folder)
    assert run.sweep["swanlab"] == "offline"
    for trial in run.trials.values():
        place = folder / "swanlab" / "offline" / trial.config.folder_name
        steps = {step for _, step in values_logged(records(place))}
        assert steps == {evaluation["step"] for evaluation in trial.evaluations}
    assert len(list(Path(place.parent).glob("*/*.swanlab"))) == 4
