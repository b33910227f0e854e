"""Ray's events as lines of the record, with small trial objects in the place of Ray's."""

import pickle
import traceback
from types import SimpleNamespace

import pytest
from ray.exceptions import RayTaskError
from ray.train._internal.storage import StorageContext
from ray.tune.experiment import Trial

from search.record import FAILED, FINISHED, RUNNING, STOPPED, create_run, read_events, read_run
from search.recorder import Recorder, failure_reason
from trainable.config import TrialConfig
from trainable.errors import TrainingDivergedError
from trainable.trial import EVALUATION_KEYS

CONFIGS = [TrialConfig(alpha=alpha, evaluations=3) for alpha in (0.25, 0.5)]
TRACEBACK = """\
Failure # 1 (occurred at 2026-11-23_23-00-00)
ray::ImplicitFunc.train() (pid=1, ip=127.0.0.1)
  File "/x/trial.py", line 158, in run
    raise TrainingDivergedError(text)
trainable.errors.TrainingDivergedError: loss is nan by step 7 (learning rate 1, alpha 0.50)
"""


def make_trial(number=0, error_file=None):
    return SimpleNamespace(
        trial_id=f"ab_{number:05}", config=CONFIGS[number].to_dict(), error_file=error_file
    )


def result(n, **more):
    """What Ray hands over: an evaluation among keys of Ray's own."""
    values = {key: float(n) for key in EVALUATION_KEYS}
    values |= {"evaluations": n, "correct": "AA==", "best5_accuracy": 0.5 + n / 100}
    return values | {"training_iteration": n, "pid": 1, "hostname": "here", **more}


@pytest.fixture
def folder(tmp_path):
    return create_run(tmp_path / "run", {"scheduler": "asha"}, CONFIGS).folder


@pytest.fixture
def recorder(folder):
    return Recorder(folder, concurrency=2)


def tell(recorder, hook, trial, *more):
    getattr(recorder, f"on_trial_{hook}")(1, [trial], trial, *more)


def test_events_of_a_trial_that_finishes(recorder, folder):
    trial = make_trial()
    tell(recorder, "start", trial)
    for n in (1, 2, 3):
        tell(recorder, "result", trial, result(n))
    tell(recorder, "complete", trial)
    names = {"trial": CONFIGS[0].digest, "tune_trial": "ab_00000"}
    values = [{key: result(n)[key] for key in EVALUATION_KEYS} for n in (1, 2, 3)]
    assert read_events(folder) == [
        {"event": "start"} | names,
        *({"event": "evaluation", "evaluation": one} | names for one in values),
        {"event": "end", "outcome": FINISHED} | names,
    ]


@pytest.mark.parametrize("evaluations", [0, 1, 2])
def test_trial_that_completes_before_its_last_evaluation_was_stopped(recorder, folder, evaluations):
    trial = make_trial()
    tell(recorder, "start", trial)
    for n in range(1, evaluations + 1):
        tell(recorder, "result", trial, result(n))
    tell(recorder, "complete", trial)
    assert read_run(folder).trials[CONFIGS[0].digest].outcome == STOPPED


def test_each_event_is_on_disk_before_the_next(recorder, folder):
    trial, other = make_trial(0), make_trial(1)
    tell(recorder, "start", trial)
    assert [t.outcome for t in read_run(folder).trials.values()] == [RUNNING, "pending"]
    tell(recorder, "start", other)
    tell(recorder, "result", other, result(1))
    assert [len(t.evaluations) for t in read_run(folder).trials.values()] == [0, 1]


def test_evaluation_made_twice_counts_once(recorder, folder):
    trial = make_trial()
    for n in (1, 2, 1, 2):
        tell(recorder, "result", trial, result(n))
    tell(recorder, "complete", trial)
    found = read_run(folder).trials[CONFIGS[0].digest]
    assert [e["evaluations"] for e in found.evaluations] == [1, 2]
    assert found.outcome == STOPPED


def test_result_without_an_evaluation_is_not_recorded(recorder, folder):
    tell(recorder, "result", make_trial(), {"training_iteration": 1, "done": True})
    assert read_events(folder) == []


def test_failure_is_recorded_with_its_reason(recorder, folder, tmp_path):
    (tmp_path / "error.txt").write_text(TRACEBACK)
    tell(recorder, "error", make_trial(error_file=str(tmp_path / "error.txt")))
    found = read_run(folder).trials[CONFIGS[0].digest]
    wanted = "loss is nan by step 7 (learning rate 1, alpha 0.50)"
    assert (found.outcome, found.reason) == (FAILED, wanted)


def test_new_recorder_goes_on_with_what_is_recorded(recorder, folder):
    trial = make_trial()
    for n in (1, 2):
        tell(recorder, "result", trial, result(n))
    again = Recorder(folder, concurrency=2)
    tell(again, "result", trial, result(3))
    tell(again, "complete", trial)
    assert read_run(folder).trials[CONFIGS[0].digest].outcome == FINISHED


def test_pickled_recorder_finds_the_run_as_it_is_when_unpickled(recorder, folder):
    saved = pickle.dumps(recorder)
    trial = make_trial()
    for n in (1, 2):
        tell(recorder, "result", trial, result(n))
    restored = pickle.loads(saved)
    tell(restored, "result", trial, result(3))
    tell(restored, "complete", trial)
    assert read_run(folder).trials[CONFIGS[0].digest].outcome == FINISHED
    assert len(read_events(folder)) == 4


def test_failure_without_an_error_file_is_recorded(recorder, folder):
    tell(recorder, "error", make_trial())
    found = read_run(folder).trials[CONFIGS[0].digest]
    assert (found.outcome, found.reason) == (FAILED, "unknown")


def test_ended_trials_are_told_on_the_console(folder, capsys):
    recorder = Recorder(folder, concurrency=2)
    recorder.setup()
    tell(recorder, "complete", make_trial())
    recorder.on_experiment_end([])
    assert capsys.readouterr().out.startswith("stopped")


FAILURE = "Failure # 1 (occurred at 2026-11-23_23-00-00)\n"
CUDA = """\
torch.AcceleratorError: CUDA error: device-side assert triggered
For debugging consider passing CUDA_LAUNCH_BLOCKING=1
Compile with `TORCH_USE_CUDA_DSA` to enable device-side assertions.
"""
START = FAILURE + 'ray::ImplicitFunc.train()\n  File "/x/trial.py", line 1, in run\n    x\n'


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (TRACEBACK, "loss is nan by step 7 (learning rate 1, alpha 0.50)"),
        (START + "ValueError: bad: value\n\n", "ValueError: bad: value"),
        (START + "torch.OutOfMemoryError: CUDA", "torch.OutOfMemoryError: CUDA"),
        (START + "KeyError: 'pool'\n", "KeyError: 'pool'"),
        (START + "trainable.errors.UserError: a.b: c", "a.b: c"),
        (START + "AssertionError\n  \n", "AssertionError"),
        (START + "ValueError: first\n" + START + "ValueError: second", "ValueError: second"),
        (FAILURE + "The actor died: x.\n\tclass_name: y\n\tpid: 1\n", "The actor died: x."),
        (START + CUDA, "torch.AcceleratorError: CUDA error: device-side assert triggered"),
        (FAILURE, "unknown"),
        ("", "unknown"),
        (" \n\n", "unknown"),
    ],
)
def test_reason_is_one_line_that_says_what_went_wrong(error, reason):
    assert failure_reason(error) == reason


def test_reason_of_a_real_trial_of_rays(recorder, folder, tmp_path, monkeypatch):
    """When the hook is called, Ray has the error in its staging folder and not yet in the run's."""
    session = "ray.train._internal.storage._get_ray_train_session_dir"
    monkeypatch.setattr(session, lambda: str(tmp_path / "session"))
    storage = StorageContext(tmp_path, "run", trial_dir_name="trial")
    trial = Trial("unknown", config=CONFIGS[0].to_dict(), stub=True, storage=storage)
    trial.init_local_path()
    try:
        raise TrainingDivergedError("loss is nan by step 7")
    except TrainingDivergedError as error:
        raised = RayTaskError("train", traceback.format_exc(), error, pid=1, ip="127.0.0.1")
    trial.handle_error(raised)
    tell(recorder, "error", trial)
    assert read_run(folder).trials[CONFIGS[0].digest].reason == "loss is nan by step 7"
