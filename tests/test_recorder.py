"""Ray's events as lines of the record, with small trial objects in the place of Ray's."""

import io
import pickle
import time
import traceback
from types import SimpleNamespace

import pytest
from ray.exceptions import RayTaskError
from ray.train._internal.storage import StorageContext
from ray.tune.experiment import Trial
from rich.console import Console
from trainable.ray_adapter import DISK, DIVERGED, OUT_OF_MEMORY, REASON, TROUBLE

from search import recorder as recorder_module
from search.interruption import Interruption
from search.record import (
    FAILED,
    FINISHED,
    GIVE_UP,
    PENDING,
    RECORD,
    RETRY,
    RETRY_ALONE,
    RUNNING,
    STOPPED,
    WAITING,
    create_run,
    read_events,
    read_run,
)
from search.recorder import FORGIVEN_LOSSES, LOOK_SECONDS, Recorder, failure_reason
from search.units import RULING, STOP, WAIT
from trainable.checkpoint import STATE
from trainable.config import TrialConfig
from trainable.errors import TrainingDivergedError
from trainable.pause import PAUSE
from trainable.trial import EVALUATION_KEYS

CONFIGS = [TrialConfig(alpha=alpha, evaluations=3) for alpha in (0.25, 0.5)]
FIRST, SECOND = (config.digest for config in CONFIGS)
KEYS = (*EVALUATION_KEYS, "saving_seconds")
FULL = "[Errno 28] No space left on device"
TRACEBACK = """\
Failure # 1 (occurred at 2026-11-23_23-00-00)
ray::ImplicitFunc.train() (pid=1, ip=127.0.0.1)
  File "/x/trial.py", line 158, in run
    raise TrainingDivergedError(text)
trainable.errors.TrainingDivergedError: loss is nan by step 7 (learning rate 1, alpha 0.50)
"""


class Shown:
    """A display that remembers what it was told, and how the trial stood then."""

    def __init__(self):
        self.events = []

    def start(self):
        self.events.append("start")

    def stop(self):
        self.events.append("stop")

    def show(self, run, event):
        self.events.append((event["event"], run.trials[event["trial"]].outcome))


def make_trial(number=0, error_file=None, status=Trial.RUNNING):
    return SimpleNamespace(
        trial_id=f"ab_{number:05}",
        config=CONFIGS[number].to_dict(),
        error_file=error_file,
        max_failures=2,
        status=status,
    )


def result(n, **more):
    """What Ray hands over: an evaluation among keys of Ray's own."""
    values = {key: float(n) for key in KEYS}
    values |= {"evaluations": n, "correct": "AA==", "best5_accuracy": 0.5 + n / 100}
    return values | {"training_iteration": n, "pid": 1, "hostname": "here", **more}


def trouble(kind, reason="it is so"):
    return {TROUBLE: kind, REASON: reason, "training_iteration": 1, "done": False}


@pytest.fixture
def run(tmp_path):
    return create_run(tmp_path / "run", {"scheduler": "asha", "keep": 1}, CONFIGS)


@pytest.fixture
def interruption(run, monkeypatch):
    """One that counts how often it was to leave Ray's loop."""
    made = Interruption(Console(file=io.StringIO()))
    made.attach(run.folder)
    made.left = 0

    def leave():
        made.left += 1

    monkeypatch.setattr(made, "leave_loop", leave)
    return made


@pytest.fixture
def make_recorder(run, interruption):
    def make(*, sharing=False, of=run):
        return Recorder(of, Shown(), interruption, sharing=sharing)

    return make


@pytest.fixture
def recorder(make_recorder):
    return make_recorder()


def tell(recorder, hook, trial, *more):
    getattr(recorder, f"on_trial_{hook}")(1, [trial], trial, *more)


def told(run):
    """The events on disk as they were appended, and the plan left out."""
    return [
        {key: value for key, value in event.items() if key not in ("number", "time")}
        for event in read_events(run.folder)[1:]
    ]


def kinds(run):
    return [event["event"] for event in told(run)]


# Evaluations.


def test_events_of_a_trial_that_finishes(recorder, run):
    trial = make_trial()
    tell(recorder, "start", trial)
    for n in (1, 2, 3):
        tell(recorder, "result", trial, result(n, done=n == 3))
    tell(recorder, "complete", trial)
    names = {"trial": FIRST, "tune_trial": "ab_00000"}
    values = [{key: result(n)[key] for key in KEYS} for n in (1, 2, 3)]
    decisions = ("continue", "continue", "stop")
    assert told(run) == [
        {"event": "start"} | names,
        *(
            {"event": "evaluation", "decision": decision, "evaluation": one} | names
            for decision, one in zip(decisions, values, strict=True)
        ),
    ]
    assert run.trials[FIRST].outcome == FINISHED
    assert read_run(run.folder) == run


@pytest.mark.parametrize(
    ("said", "decision", "outcome"),
    [
        ({}, "continue", RUNNING),
        ({"done": False}, "continue", RUNNING),
        ({"done": True}, "stop", STOPPED),
    ],
)
def test_done_in_the_result_is_the_schedulers_stop(recorder, run, said, decision, outcome):
    trial = make_trial()
    tell(recorder, "start", trial)
    tell(recorder, "result", trial, result(1, **said))
    assert told(run)[-1]["decision"] == decision
    assert read_run(run.folder).trials[FIRST].outcome == outcome
    tell(recorder, "complete", trial)
    assert read_run(run.folder).trials[FIRST].outcome == outcome


def rule(trial, ruling):
    """As the scheduler leaves it to the recorder."""
    setattr(trial, RULING, ruling)
    return trial


def test_a_trial_that_is_to_wait_does_until_it_starts_again(recorder, run):
    trial = rule(make_trial(), WAIT)
    tell(recorder, "start", trial)
    tell(recorder, "result", trial, result(1, done=False))
    assert told(run)[-1]["decision"] == "wait"
    assert read_run(run.folder).trials[FIRST].outcome == WAITING
    tell(recorder, "start", trial)
    assert read_run(run.folder).trials[FIRST].outcome == RUNNING


def test_a_trial_that_is_ended_while_it_waits_is_stopped(recorder, run):
    trial = rule(make_trial(), WAIT)
    tell(recorder, "result", trial, result(1))
    tell(recorder, "complete", rule(trial, STOP))
    assert told(run)[-1] == {"event": "stop", "trial": FIRST, "tune_trial": "ab_00000"}
    assert read_run(run.folder).trials[FIRST].outcome == STOPPED
    tell(recorder, "complete", trial)
    assert kinds(run) == ["evaluation", "stop"]


def test_a_trial_that_still_waits_as_the_sweep_pauses_goes_on_waiting(recorder, run, interruption):
    trial = rule(make_trial(), WAIT)
    tell(recorder, "result", trial, result(1))
    tell(recorder, "complete", trial)
    interruption.pause()
    tell(recorder, "complete", rule(trial, STOP))  # decided on again by the next session
    assert kinds(run) == ["evaluation"]
    assert read_run(run.folder).trials[FIRST].outcome == WAITING


def test_each_event_is_on_disk_before_it_is_shown(recorder, run, monkeypatch):
    on_disk = []
    show = lambda shown, event: on_disk.append(read_run(run.folder))  # noqa: E731
    monkeypatch.setattr(recorder._display, "show", show)
    trial, other = make_trial(0), make_trial(1)
    tell(recorder, "start", trial)
    tell(recorder, "start", other)
    tell(recorder, "result", other, result(1))
    outcomes = [[trial.outcome for trial in found.trials.values()] for found in on_disk]
    assert outcomes == [[RUNNING, PENDING], [RUNNING, RUNNING], [RUNNING, RUNNING]]
    assert [len(found.trials[SECOND].evaluations) for found in on_disk] == [0, 0, 1]


def test_display_is_told_of_each_event_after_the_run_took_it_in(recorder):
    trial = make_trial()
    recorder.setup()
    tell(recorder, "start", trial)
    tell(recorder, "result", trial, result(1, done=True))
    recorder.on_experiment_end([trial])
    shown = [("start", RUNNING), ("evaluation", STOPPED)]
    assert recorder._display.events == ["start", *shown, "stop"]


@pytest.mark.parametrize("clock", ["training_seconds", "evaluation_seconds", "saving_seconds"])
def test_evaluation_made_again_with_equal_values_is_repeated_whatever_its_clocks(
    recorder, run, clock
):
    trial = make_trial()
    for n in (1, 2):
        tell(recorder, "result", trial, result(n))
    before = list(run.trials[FIRST].evaluations)
    tell(recorder, "result", trial, result(2, **{clock: 99.0}))
    assert told(run)[-1] == {
        "event": "repeated",
        "evaluations": 2,
        "trial": FIRST,
        "tune_trial": "ab_00000",
    }
    found = read_run(run.folder).trials[FIRST]
    assert (found.evaluations, found.repeated) == (before, 1)


@pytest.mark.parametrize(
    "key", [k for k in KEYS if k not in ("evaluations", "saving_seconds") and "seconds" not in k]
)
def test_evaluation_made_again_with_another_value_counts_from_there_on(recorder, run, key):
    trial = make_trial()
    for n in (1, 2):
        tell(recorder, "result", trial, result(n))
    other = "/w==" if key == "correct" else 0.125
    tell(recorder, "result", trial, result(1, **{key: other}))
    found = read_run(run.folder).trials[FIRST]
    assert [e[key] for e in found.evaluations] == [other]
    assert kinds(run) == ["evaluation"] * 3
    tell(recorder, "result", trial, result(2))
    found = read_run(run.folder).trials[FIRST]
    assert [e[key] for e in found.evaluations] == [other, result(2)[key]]
    assert found.repeated == 0


def test_result_without_an_evaluation_is_not_recorded(recorder, run):
    tell(recorder, "result", make_trial(), {"training_iteration": 1, "done": True})
    assert told(run) == []


def test_new_recorder_goes_on_with_what_is_recorded(recorder, make_recorder, run):
    trial = make_trial()
    for n in (1, 2):
        tell(recorder, "result", trial, result(n))
    again = make_recorder(of=read_run(run.folder))
    tell(again, "result", trial, result(2))
    tell(again, "result", trial, result(3))
    found = read_run(run.folder).trials[FIRST]
    assert (found.outcome, len(found.evaluations), found.repeated) == (FINISHED, 3, 1)


def test_recorder_that_ray_pickles_into_the_run_has_nothing_of_it(recorder):
    """Displays and consoles can't be pickled; a resumed run makes a recorder of its own."""
    assert recorder.__getstate__() == {}
    assert vars(pickle.loads(pickle.dumps(recorder))) == {}


def test_ended_trials_are_pruned(recorder, run):
    """The best student of two is kept, and no state of a trial that ended."""
    for number, config in enumerate(CONFIGS):
        folder = run.folder / config.folder_name
        folder.mkdir()
        for name in (STATE, "student-1.safetensors"):
            (folder / name).write_text("")
        tell(
            recorder,
            "result",
            make_trial(number),
            result(1, best5_accuracy=0.5 + number, done=True),
        )
        tell(recorder, "complete", make_trial(number))
    left = [path.relative_to(run.folder) for path in run.folder.glob("*/*.safetensors")]
    assert [str(path) for path in left] == [f"{CONFIGS[1].folder_name}/student-1.safetensors"]


def test_trial_that_paused_keeps_its_state(recorder, run):
    trial = make_trial()
    tell(recorder, "start", trial)
    tell(recorder, "result", trial, result(1))
    state = run.folder / CONFIGS[0].folder_name / STATE
    state.write_text("")
    tell(recorder, "complete", trial)  # as Ray tells of a trial that returned
    assert state.exists()
    assert read_run(run.folder).trials[FIRST].outcome == RUNNING


# Failures.


def test_failure_is_recorded_with_its_reason(recorder, run, tmp_path):
    (tmp_path / "error.txt").write_text(TRACEBACK)
    trial = make_trial(error_file=str(tmp_path / "error.txt"))
    tell(recorder, "error", trial)
    wanted = "loss is nan by step 7 (learning rate 1, alpha 0.50)"
    assert told(run)[-1] == {
        "event": "failure",
        "reason": wanted,
        "then": GIVE_UP,
        "trial": FIRST,
        "tune_trial": "ab_00000",
    }
    found = read_run(run.folder).trials[FIRST]
    assert (found.outcome, found.reason) == (FAILED, wanted)


def test_failure_without_an_error_file_is_recorded(recorder, run):
    tell(recorder, "error", make_trial())
    found = read_run(run.folder).trials[FIRST]
    assert (found.outcome, found.reason) == (FAILED, "unknown")


def test_trial_that_ray_tries_again_is_recorded_as_waiting(recorder, run):
    trial = make_trial()
    tell(recorder, "start", trial)
    tell(recorder, "recover", trial)
    assert told(run)[-1]["then"] == RETRY
    assert read_run(run.folder).trials[FIRST].outcome == PENDING
    tell(recorder, "start", trial)
    assert read_run(run.folder).trials[FIRST].outcome == RUNNING
    assert trial.max_failures == 2


@pytest.mark.parametrize("kind", [DIVERGED, OUT_OF_MEMORY, DISK])
def test_announced_failure_is_not_tried_again_by_ray(recorder, run, tmp_path, kind):
    storage = StorageContext(tmp_path, "run", trial_dir_name="trial")
    configs = {"config": CONFIGS[0].to_dict(), "storage": storage, "max_failures": 2}
    trials = [Trial("unknown", stub=True, **configs) for _ in range(2)]
    tell(recorder, "result", trials[0], trouble(kind))
    for trial in trials:
        trial.run_metadata.num_failures = 1
    assert [trial.should_recover() for trial in trials] == [False, True]
    assert told(run) == []


@pytest.mark.parametrize("sharing", [True, False])
@pytest.mark.parametrize("kind", [DIVERGED, OUT_OF_MEMORY, None])
def test_only_memory_that_ran_out_beside_others_is_tried_again_alone(
    make_recorder, run, kind, sharing
):
    recorder, trial = make_recorder(sharing=sharing), make_trial()
    tell(recorder, "start", trial)
    if kind is not None:
        tell(recorder, "result", trial, trouble(kind))
    tell(recorder, "error", trial)
    alone = kind == OUT_OF_MEMORY and sharing
    assert kinds(run) == ["start", "failure"]
    assert told(run)[-1]["then"] == (RETRY_ALONE if alone else GIVE_UP)
    found = read_run(run.folder).trials[FIRST]
    assert (found.outcome, found.alone) == ((PENDING, True) if alone else (FAILED, False))


@pytest.mark.parametrize("session", ["same", "next"])
def test_trial_is_tried_alone_once(make_recorder, run, session):
    trial, recorder = make_trial(), make_recorder(sharing=True)
    for _ in range(2):
        tell(recorder, "result", trial, trouble(OUT_OF_MEMORY))
        tell(recorder, "error", trial)
        if session == "next":
            recorder = make_recorder(sharing=True, of=read_run(run.folder))
    assert [event["then"] for event in told(run)] == [RETRY_ALONE, GIVE_UP]
    assert read_run(run.folder).trials[FIRST].outcome == FAILED


def test_one_trials_trouble_is_not_anothers(make_recorder, run):
    recorder, trial, other = make_recorder(sharing=True), make_trial(0), make_trial(1)
    tell(recorder, "result", trial, trouble(OUT_OF_MEMORY))
    tell(recorder, "error", other)
    assert read_run(run.folder).trials[SECOND].outcome == FAILED
    assert other.max_failures == 2


def every_event(recorder, trial):
    """All that Ray can tell of a trial."""
    tell(recorder, "start", trial)
    tell(recorder, "result", trial, result(1))
    tell(recorder, "recover", trial)
    tell(recorder, "complete", trial)
    tell(recorder, "error", trial)


def test_full_disk_pauses_the_sweep_and_nothing_more_is_recorded(recorder, run, interruption):
    trial, other = make_trial(0), make_trial(1)
    tell(recorder, "start", trial)
    tell(recorder, "start", other)
    shown = len(recorder._display.events)
    tell(recorder, "result", trial, trouble(DISK, FULL))
    assert (interruption.requested, interruption.problem) == (True, FULL)
    assert (run.folder / PAUSE).exists()
    every_event(recorder, trial)
    every_event(recorder, other)
    assert kinds(run) == ["start", "start"]
    assert len(recorder._display.events) == shown
    assert {trial.outcome for trial in read_run(run.folder).trials.values()} == {RUNNING}


def test_record_that_cannot_be_written_pauses_the_sweep(recorder, run, interruption, monkeypatch):
    trial = make_trial()
    tell(recorder, "start", trial)

    def fail(event):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(run, "append", fail)
        tell(recorder, "result", trial, result(1))
    assert (interruption.requested, interruption.problem) == (True, FULL)
    assert (run.folder / PAUSE).exists()
    every_event(recorder, trial)  # there is room again; what the record lacks, checkpoints have
    assert kinds(run) == ["start"]
    assert recorder._display.events == [("start", RUNNING)]
    assert run.trials[FIRST].outcome == RUNNING


def test_record_that_is_a_folder_pauses_the_sweep(recorder, run, interruption):
    (run.folder / RECORD).unlink()
    (run.folder / RECORD).mkdir()
    tell(recorder, "start", make_trial())
    assert RECORD in interruption.problem


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), SystemExit(1)])
def test_display_that_nobody_reads_any_more_does_not_end_the_sweep(
    recorder, run, interruption, monkeypatch, error
):
    """A closed terminal, and what rich makes of a closed pipe."""

    def fail(run, event):
        raise error

    monkeypatch.setattr(recorder._display, "show", fail)
    trial = make_trial()
    tell(recorder, "start", trial)
    tell(recorder, "result", trial, result(1))
    assert kinds(run) == ["start", "evaluation"]
    assert (interruption.requested, interruption.problem) == (False, "")


# Interruptions.


def test_trial_that_starts_while_pausing_is_not_recorded(recorder, run, interruption):
    interruption.pause()
    tell(recorder, "start", make_trial())
    assert told(run) == []


def test_what_running_trials_report_while_pausing_is_recorded(recorder, run, interruption):
    trial, other = make_trial(0), make_trial(1)
    for each in (trial, other):
        tell(recorder, "start", each)
    interruption.pause()
    tell(recorder, "result", trial, result(1))
    tell(recorder, "result", other, result(1, done=True))
    assert kinds(run) == ["start", "start", "evaluation", "evaluation"]
    assert [trial.outcome for trial in read_run(run.folder).trials.values()] == [RUNNING, STOPPED]


@pytest.mark.parametrize(
    ("statuses", "left"),
    [
        ((Trial.RUNNING, Trial.PENDING), 0),
        ((Trial.TERMINATED, Trial.RUNNING), 0),
        ((Trial.PENDING, Trial.TERMINATED), 1),
        ((Trial.PAUSED, Trial.ERROR), 1),
        ((), 1),
    ],
)
def test_loop_is_left_once_no_trial_runs(recorder, interruption, statuses, left):
    trials = [make_trial(number, status=status) for number, status in enumerate(statuses)]
    recorder.on_step_end(1, trials)
    assert interruption.left == 0  # nobody asked
    interruption.pause()
    recorder.on_step_end(2, trials)
    assert interruption.left == left


def test_loop_is_left_at_once_after_a_problem(recorder, interruption):
    interruption.pause(FULL)
    recorder.on_step_end(1, [make_trial(status=Trial.RUNNING)])
    assert interruption.left == 1


def test_a_failure_while_pausing_is_left_to_the_next_session(recorder, interruption, run):
    """A closed terminal makes Ray's own printing fail, which Ray takes for the trial's failure."""
    trial = make_trial()
    tell(recorder, "start", trial)
    tell(recorder, "result", trial, result(1))
    before = told(run)
    interruption.pause()
    tell(recorder, "recover", trial)
    tell(recorder, "error", trial)
    assert told(run) == before
    tell(recorder, "result", trial, result(2))
    assert len(told(run)) == len(before) + 1


@pytest.mark.parametrize(("alive", "left"), [([True, False], 0), ([False], 1), ([], 1)])
def test_loop_is_left_where_ray_has_died(recorder, interruption, monkeypatch, alive, left):
    """Tune itself would wait for ever for a new actor."""
    monkeypatch.setattr(recorder_module.ray, "nodes", lambda: [{"Alive": one} for one in alive])
    now = time.monotonic()
    monkeypatch.setattr(recorder_module.time, "monotonic", lambda: now + LOOK_SECONDS + 1)
    recorder.on_step_end(1, [make_trial(status=Trial.PENDING)])
    assert interruption.left == left
    assert ("Ray's own processes have died" in interruption.problem) is bool(left)


# Reasons.


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


# Nodes that are lost. What Ray says of one:

LOST = """\
The actor died unexpectedly before finishing this task.
\tclass_name: ImplicitFunc
\tpid: 6886
The actor died because its node has died. Node Id: cf22dff0b91d59bf42f8c4aff630e974e29b8c22
\tthe actor's node was terminated unexpectedly: health check failed
"""
CRASHED = "The actor died: x.\n\tclass_name: y\n"


def fail_with(tmp_path, *errors):
    """A trial with what Ray keeps of these failures."""
    (tmp_path / "error.txt").write_text("".join(FAILURE + error for error in errors))
    return make_trial(error_file=str(tmp_path / "error.txt"))


def test_a_lost_node_does_not_use_up_a_retry(recorder, run, tmp_path):
    trial = fail_with(tmp_path, CRASHED, LOST)
    tell(recorder, "recover", trial)
    assert trial.max_failures == 3
    assert [(e["reason"], e["then"]) for e in told(run)] == [("its node was lost", "retry")]
    assert run.trials[FIRST].outcome == PENDING


def test_a_crash_uses_up_a_retry_also_after_a_lost_node(recorder, run, tmp_path):
    trial = fail_with(tmp_path, LOST, CRASHED)
    tell(recorder, "recover", trial)
    assert trial.max_failures == 2
    assert told(run)[-1]["reason"] == "The actor died: x."


@pytest.mark.parametrize(
    ("error", "expected"), [(LOST, (PENDING, True)), (CRASHED, (FAILED, False))]
)
def test_a_lost_node_is_no_end_where_no_retry_is_left(recorder, run, tmp_path, error, expected):
    assert not recorder.left_over
    tell(recorder, "error", fail_with(tmp_path, CRASHED, error))
    assert (run.trials[FIRST].outcome, recorder.left_over) == expected


def test_what_a_lost_node_left_over_is_run_when_nothing_else_can_be(
    recorder, interruption, tmp_path, monkeypatch
):
    """Other seeds may wait for it for ever: the loop ends, so that the next Tuner takes it up."""
    monkeypatch.setattr(recorder_module.ray, "nodes", lambda: [{"Alive": True}])
    waits, lost = make_trial(1, status=Trial.PAUSED), fail_with(tmp_path, CRASHED, LOST)
    recorder.on_step_end(1, [waits])
    assert interruption.left == 0
    tell(recorder, "error", lost)
    lost.status = Trial.ERROR
    for status in (Trial.RUNNING, Trial.PENDING):
        recorder.on_step_end(1, [waits, lost, make_trial(0, status=status)])
        assert interruption.left == 0
    recorder.on_step_end(1, [waits, lost])
    assert (interruption.left, interruption.requested) == (1, False)


def test_losses_in_a_row_use_up_retries_and_end_in_giving_up(make_recorder, run, tmp_path):
    """The trial itself may take its nodes down; then nothing that it does is recorded between."""
    trial = fail_with(tmp_path, LOST)
    recorder = make_recorder()
    for _ in range(FORGIVEN_LOSSES):
        tell(recorder, "start", trial)
        tell(recorder, "recover", trial)
    assert trial.max_failures == 2 + FORGIVEN_LOSSES
    again = make_recorder()  # as for what is left over
    tell(again, "recover", trial)
    assert trial.max_failures == 2 + FORGIVEN_LOSSES
    tell(again, "error", trial)
    assert (told(run)[-1]["then"], again.left_over) == (GIVE_UP, False)
    assert run.trials[FIRST].outcome == FAILED


def test_what_is_left_over_again_and_again_ends(make_recorder, run, tmp_path):
    """With --retries 0 each loss ends Tune's trial, which a new Tuner runs again."""
    left_over = []
    for _ in range(FORGIVEN_LOSSES + 1):
        recorder = make_recorder()
        tell(recorder, "error", fail_with(tmp_path, LOST))
        left_over.append(recorder.left_over)
    assert left_over == [True] * FORGIVEN_LOSSES + [False]
    assert [event["then"] for event in told(run)] == [RETRY] * FORGIVEN_LOSSES + [GIVE_UP]


@pytest.mark.parametrize("between", ["evaluation", "session"])
def test_losses_are_counted_anew_after_an_evaluation_and_in_a_new_session(
    recorder, run, tmp_path, between
):
    trial = fail_with(tmp_path, LOST)
    other = make_trial(1, error_file=trial.error_file)
    for n in (1, 2):
        for _ in range(FORGIVEN_LOSSES):
            tell(recorder, "recover", trial)
            tell(recorder, "recover", other)
        if between == "evaluation":
            tell(recorder, "result", trial, result(n))
        else:
            run.append({"event": "session", "provenance": {}})
    assert trial.max_failures == 2 + 2 * FORGIVEN_LOSSES
    expected = 1 if between == "evaluation" else 2
    assert other.max_failures == 2 + expected * FORGIVEN_LOSSES


def test_reason_of_a_real_trial_of_rays(recorder, run, tmp_path, monkeypatch):
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
    assert read_run(run.folder).trials[FIRST].reason == "loss is nan by step 7"
