"""Ray's events as lines of the record, with small trial objects in the place of Ray's."""

import io
import pickle
from dataclasses import asdict
from types import SimpleNamespace

import pytest
from ray.tune.experiment import Trial
from rich.console import Console
from search.sweep.callbacks.recorder import FORGIVEN_NODE_LOSSES, Recorder, failure_reason

from search.policy.seed_groups import DECISION, STOP, WAIT
from search.record.events import RECORD
from search.record.run import read_run
from search.record.storage import RecordCopy, local_runs
from search.record.trial_record import (
    FAILED,
    FINISHED,
    GIVE_UP,
    PENDING,
    RETRY,
    RETRY_ALONE,
    RUNNING,
    STOPPED,
    WAITING,
)
from search.sweep.processes.signals import Interruption
from tests.made_runs import asked, evaluated, made_run
from trainable.common.pause import PAUSE
from trainable.config.trial_config import TrialConfig
from trainable.trial.training_loop import EVALUATION_KEYS
from trainable.trial.tune_function import (
    DISK,
    DIVERGED,
    FAILURE_KIND,
    OUT_OF_MEMORY,
    REASON,
    RESTORED,
    SAVED_STEP,
)

CONFIGS = [TrialConfig(alpha=alpha, evaluations=3) for alpha in (0.25, 0.5)]
FIRST, SECOND = (config.digest for config in CONFIGS)
FULL = "[Errno 28] No space left on device"


class Shown:
    """A display that remembers what it was told, and how the trial stood then.

    It fails with `error`, as a closed terminal does, or what rich makes of a closed pipe.
    """

    error = None

    def __init__(self):
        self.events = []

    def start(self):
        self.events.append("start")

    def stop(self):
        self.events.append("stop")

    def show(self, run, event):
        on_disk = read_run(run.folder).trials[event["trial"]]
        assert on_disk == run.trials[event["trial"]]
        self.events.append((event["event"], on_disk.outcome))
        if self.error is not None:
            raise self.error


def make_trial(number=0, error_file=None, status=Trial.RUNNING):
    return SimpleNamespace(
        trial_id=f"ab_{number:05}",
        config=asdict(CONFIGS[number]),
        error_file=error_file,
        max_failures=2,
        status=status,
    )


def result(n, **more):
    """What Ray hands over: an evaluation among keys of Ray's own."""
    values = {key: float(n) for key in (*EVALUATION_KEYS, "saving_seconds")}
    values |= {"evaluations": n, "correct": "gA==", "full_correct": "wA=="}
    return {**values, "training_iteration": n, "pid": 1, "hostname": "here", **more}


def trouble(kind, reason="it is so"):
    return {FAILURE_KIND: kind, REASON: reason, "training_iteration": 1, "done": False}


@pytest.fixture
def run(tmp_path):
    return made_run(tmp_path / "run", CONFIGS, asked(keep=1))


@pytest.fixture
def interruption(run, monkeypatch):
    """One that counts how often it was to leave Ray's loop."""
    with Interruption(Console(file=io.StringIO())) as made:
        made.attach(run.folder)
        made.left = []
        monkeypatch.setattr(made, "leave_loop", lambda: made.left.append(1))
        yield made


@pytest.fixture
def make_recorder(run, interruption):
    def make(*, sharing=False, of=run):
        return Recorder(of, Shown(), interruption, RecordCopy(of.folder), sharing=sharing)

    return make


@pytest.fixture
def recorder(make_recorder):
    return make_recorder()


def tell(recorder, hook, trial, *result):
    """By name, as Ray does."""
    more = dict(zip(["result"], result, strict=False))
    getattr(recorder, f"on_trial_{hook}")(iteration=1, trials=[trial], trial=trial, **more)


def told(run):
    """The events on disk as they were appended, and the plan left out."""
    return [
        {key: value for key, value in event.items() if key not in ("number", "time")}
        for event in read_run(run.folder).events[1:]
    ]


def kinds(run):
    return [event["event"] for event in told(run)]


def state(run, digest=FIRST):
    return read_run(run.folder).trials[digest]


# Evaluations.


def test_what_is_recorded_is_in_the_runs_storage_before_the_next(make_recorder, tmp_path):
    uri = f"file://{tmp_path}/storage"
    stored = made_run(local_runs(uri) / "mine", CONFIGS, asked(keep=1))
    recorder, trial = make_recorder(of=stored), make_trial()
    with recorder._copy:
        for number, hook in enumerate(("start", "result")):
            tell(recorder, hook, trial, *([result(1)] if hook == "result" else []))
            there = (tmp_path / "storage" / "mine" / RECORD).read_bytes()
            assert there == (stored.folder / RECORD).read_bytes()
            assert there.count(b"\n") == number + 2  # with the plan


@pytest.mark.parametrize("error", [None, OSError(5, "Input/output error"), SystemExit(1)])
def test_events_of_a_trial_that_finishes_whether_or_not_they_can_be_shown(recorder, run, error):
    trial = make_trial()
    recorder._display.error = error
    recorder.setup()
    tell(recorder, "start", trial)
    for n in (1, 2, 3):
        tell(recorder, "result", trial, result(n, done=n == 3))
    tell(recorder, "complete", trial)
    recorder.on_experiment_end(trials=[trial])
    names = {"trial": FIRST, "tune_trial": "ab_00000"}
    keys = (*EVALUATION_KEYS, "saving_seconds")
    values = [{key: result(n)[key] for key in keys} for n in (1, 2, 3)]
    assert told(run) == [
        {"event": "start", **names},
        *(
            {"event": "evaluation", "decision": decision, "evaluation": one, **names}
            for decision, one in zip(("continue", "continue", "stop"), values, strict=True)
        ),
    ]
    assert state(run).outcome == FINISHED
    shown = [("start", RUNNING), *[("evaluation", RUNNING)] * 2, ("evaluation", FINISHED)]
    assert recorder._display.events == ["start", *shown, "stop"]
    assert recorder.__getstate__() == vars(pickle.loads(pickle.dumps(recorder))) == {}


def test_bits_are_taken_out_of_rays_result_in_place(recorder, run):
    """So that Tune's tables, files and callbacks have scalars only; the record has the bits."""
    for number, more in ((1, {}), (1, {RESTORED: True}), (1, {SAVED_STEP: 7})):
        values = result(number, **more)
        tell(recorder, "result", make_trial(), values)
        assert not {"correct", "full_correct"} & values.keys()
        assert values["accuracy"] == float(number)
    ((evaluation,),) = [trial.evaluations for trial in run.trials.values() if trial.evaluations]
    assert (evaluation["correct"], evaluation["full_correct"]) == ("gA==", "wA==")


def test_rows_that_repeat_what_a_checkpoint_knows_are_taken_only_where_the_record_lacks_them(
    recorder, run
):
    trial = make_trial()
    tell(recorder, "result", trial, result(1))
    for n in (1, 2):  # killed after the second evaluation was saved, and before it was recorded
        tell(recorder, "result", trial, result(n, **{RESTORED: True}))
    tell(recorder, "result", trial, result(2, **{SAVED_STEP: 17}))
    tell(recorder, "result", trial, result(2, **{SAVED_STEP: 17, "accuracy": 0.1}))
    tell(recorder, "result", trial, {SAVED_STEP: 3, "training_iteration": 2})
    assert kinds(run) == ["evaluation", "evaluation"]
    assert [e["evaluations"] for e in state(run).evaluations] == [1, 2]


@pytest.mark.parametrize("clock", ["training_seconds", "evaluation_seconds", "saving_seconds"])
def test_evaluation_made_again_with_equal_values_is_repeated_whatever_its_clocks(
    make_recorder, run, clock
):
    for n in (1, 2):
        tell(make_recorder(), "result", make_trial(), result(n))
    before = list(run.trials[FIRST].evaluations)
    again = make_recorder(of=read_run(run.folder))
    tell(again, "result", make_trial(), result(2, **{clock: 99.0}))
    assert told(run)[-1]["event"] == "repeated"
    assert (state(run).evaluations, state(run).repeated) == (before, 1)
    tell(again, "result", make_trial(), result(3))
    assert state(run).outcome == FINISHED


@pytest.mark.parametrize("key", ["accuracy", "loss", "step", "correct"])
def test_evaluation_made_again_with_another_value_counts_from_there_on(recorder, run, key):
    trial, other = make_trial(), "/w==" if key == "correct" else 0.125
    for values in (result(1), result(2), result(1, **{key: other}), result(2)):
        tell(recorder, "result", trial, values)
    assert [e[key] for e in state(run).evaluations] == [other, result(2)[key]]
    assert (kinds(run), state(run).repeated) == (["evaluation"] * 4, 0)


def test_a_trial_waits_goes_on_and_is_stopped_as_the_scheduler_rules(recorder, run, interruption):
    trial, other = make_trial(0), make_trial(1)
    for each in (trial, other):
        setattr(each, DECISION, WAIT)
        tell(recorder, "result", each, result(1, done=False))
        assert state(run, CONFIGS[each is other].digest).outcome == WAITING
    tell(recorder, "start", trial)
    assert state(run).outcome == RUNNING
    setattr(trial, DECISION, WAIT)
    tell(recorder, "result", trial, result(2))
    setattr(trial, DECISION, STOP)
    for _ in range(2):
        tell(recorder, "complete", trial)
        assert (kinds(run)[-1], state(run).outcome) == ("stop", STOPPED)
    interruption.pause()
    setattr(other, DECISION, STOP)
    tell(recorder, "complete", other)  # decided on again by the next session
    assert (kinds(run).count("stop"), state(run, SECOND).outcome) == (1, WAITING)


def test_checkpoints_of_trials_that_ended_are_pruned_and_of_one_that_paused_kept(recorder, run):
    folders = [run.folder / config.folder_name / "checkpoint_000000" for config in CONFIGS]
    for folder in folders:
        folder.mkdir(parents=True)
    tell(recorder, "result", make_trial(0), result(1, best5_accuracy=0.5))
    tell(recorder, "complete", make_trial(0))  # as Ray tells of a trial that returned
    assert [folder.exists() for folder in folders] == [True, True]
    tell(recorder, "result", make_trial(1), result(1, best5_accuracy=0.6, done=True))
    tell(recorder, "result", make_trial(0), result(2, best5_accuracy=0.5, done=True))
    tell(recorder, "complete", make_trial(0))
    assert [folder.exists() for folder in folders] == [False, True]  # keep 1


# Failures.


@pytest.mark.parametrize("sharing", [True, False])
@pytest.mark.parametrize("kind", [DIVERGED, OUT_OF_MEMORY, None])
def test_only_memory_that_ran_out_beside_others_is_tried_again_alone_and_once(
    make_recorder, run, kind, sharing
):
    recorder, trial = make_recorder(sharing=sharing), make_trial()
    alone = kind == OUT_OF_MEMORY and sharing
    for attempt in range(2):
        tell(recorder, "start", trial)
        if kind is not None:
            tell(recorder, "result", trial, trouble(kind))
            assert trial.max_failures == 0  # Ray does not try it again by itself
        tell(recorder, "error", trial)
        again = alone and attempt == 0
        assert told(run)[-1]["then"] == (RETRY_ALONE if again else GIVE_UP)
        assert (state(run).outcome, state(run).alone) == (PENDING if again else FAILED, alone)
        recorder = make_recorder(sharing=sharing, of=read_run(run.folder))
    tell(recorder, "error", make_trial(1))
    assert state(run, SECOND).outcome == FAILED  # one trial's trouble is not another's


def every_event(recorder, trial):
    """All that Ray can tell of a trial."""
    tell(recorder, "start", trial)
    tell(recorder, "result", trial, result(1))
    tell(recorder, "recover", trial)
    tell(recorder, "complete", trial)
    tell(recorder, "error", trial)


@pytest.mark.parametrize("broken", ["the trial's disk", "the record", "the copy"])
def test_what_can_not_be_written_pauses_the_sweep_and_nothing_more_is_recorded(
    recorder, run, interruption, monkeypatch, broken
):
    trial, other = make_trial(0), make_trial(1)
    for each in (trial, other):
        tell(recorder, "start", each)
    before = kinds(run)

    def fail(*arguments):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        values = result(1)
        if broken == "the trial's disk":
            values = trouble(DISK, FULL)
        elif broken == "the record":
            patched.setattr(run, "append", fail)
        else:
            patched.setattr(recorder._copy, "copy", fail)
        tell(recorder, "result", trial, values)
    assert (interruption.requested, interruption.problem) == (True, FULL)
    assert (run.folder / PAUSE).exists()
    before += ["evaluation"] if broken == "the copy" else []
    for each in (trial, other):  # there is room again; what the record lacks, checkpoints have
        every_event(recorder, each)
    assert kinds(run) == before
    assert len(recorder._display.events) == 2


# Interruptions.


def test_while_pausing_results_are_recorded_and_starts_and_failures_are_not(
    recorder, run, interruption
):
    """A closed terminal makes Ray's own printing fail, which Ray takes for the trial's failure."""
    trial, other = make_trial(0), make_trial(1)
    tell(recorder, "start", trial)
    interruption.pause()
    tell(recorder, "start", other)
    tell(recorder, "result", trial, result(1, done=True))
    tell(recorder, "recover", trial)
    tell(recorder, "error", other)
    assert kinds(run) == ["start", "evaluation"]
    assert [trial.outcome for trial in read_run(run.folder).trials.values()] == [STOPPED, PENDING]


@pytest.mark.parametrize(
    ("statuses", "left"),
    [
        ((Trial.RUNNING, Trial.PENDING), 0),
        ((Trial.PENDING, Trial.TERMINATED), 1),
        ((Trial.PAUSED, Trial.ERROR), 1),
        ((), 1),
    ],
)
def test_loop_is_left_once_no_trial_runs_and_at_once_after_a_problem(
    recorder, interruption, statuses, left
):
    trials = [make_trial(number, status=status) for number, status in enumerate(statuses)]
    recorder.on_step_end(iteration=1, trials=trials)
    assert len(interruption.left) == 0  # nobody asked
    interruption.pause()
    recorder.on_step_end(iteration=2, trials=trials)
    assert len(interruption.left) == left
    interruption.pause(FULL)
    recorder.on_step_end(iteration=3, trials=trials)
    assert len(interruption.left) == left + 1


# Reasons.

FAILURE = "Failure # 1 (occurred at 2026-11-23_23-00-00)\n"
START = FAILURE + 'ray::ImplicitFunc.train()\n  File "/x/trial.py", line 1, in run\n    x\n'
CUDA = "torch.AcceleratorError: CUDA error: device-side assert\nFor debugging consider\nCompile\n"
LOST = "The actor died unexpectedly.\n\tpid: 1\nThe actor died because its node has died. Node Id\n"
CRASHED = "The actor died: x.\n\tclass_name: y\n"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (START + "trainable.common.errors.TrainingDivergedError: loss is nan: 7", "loss is nan: 7"),
        (START + "ValueError: bad: value\n\n", "ValueError: bad: value"),
        (START + "AssertionError\n  \n", "AssertionError"),
        (START + "ValueError: first\n" + START + "ValueError: second", "ValueError: second"),
        (FAILURE + CRASHED, "The actor died: x."),
        (START + CUDA, "torch.AcceleratorError: CUDA error: device-side assert"),
        (FAILURE, "unknown"),
        ("", "unknown"),
    ],
)
def test_reason_is_one_line_that_says_what_went_wrong(error, reason):
    assert failure_reason(error) == reason


# Nodes that are lost.


def fail_with(tmp_path, *errors):
    """A trial with what Ray keeps of these failures."""
    (tmp_path / "error.txt").write_text("".join(FAILURE + error for error in errors))
    return make_trial(error_file=str(tmp_path / "error.txt"))


def test_what_a_lost_node_left_over_is_run_again_when_nothing_else_can_be(
    recorder, run, interruption, tmp_path
):
    """Other seeds may wait for it for ever: the loop ends, so that the next Tuner takes it up."""
    waits, lost = make_trial(1, status=Trial.PAUSED), fail_with(tmp_path, CRASHED, LOST)
    tell(recorder, "error", lost)
    assert (state(run).outcome, recorder.left_over) == (PENDING, True)
    lost.status = Trial.ERROR
    for status in (Trial.RUNNING, Trial.PENDING):
        recorder.on_step_end(iteration=1, trials=[waits, lost, make_trial(0, status=status)])
        assert not interruption.left
    recorder.on_step_end(iteration=1, trials=[waits, lost])
    assert (len(interruption.left), interruption.requested) == (1, False)


def test_losses_in_a_row_end_in_giving_up_also_over_several_tuners(make_recorder, run, tmp_path):
    """The trial itself may take its nodes down; then nothing that it does is recorded between."""
    left_over = []
    for _ in range(FORGIVEN_NODE_LOSSES + 1):
        recorder = make_recorder()
        tell(recorder, "error", fail_with(tmp_path, LOST))
        left_over.append(recorder.left_over)
    assert left_over == [True] * FORGIVEN_NODE_LOSSES + [False]
    assert [event["then"] for event in told(run)] == [RETRY] * FORGIVEN_NODE_LOSSES + [GIVE_UP]


@pytest.mark.parametrize("between", ["evaluation", "session"])
def test_losses_are_counted_anew_after_an_evaluation_and_in_a_new_session(
    recorder, run, tmp_path, between
):
    trial = fail_with(tmp_path, LOST)
    other = make_trial(1, error_file=trial.error_file)
    for n in (1, 2):
        for _ in range(FORGIVEN_NODE_LOSSES + 1):
            tell(recorder, "recover", trial)
            tell(recorder, "recover", other)
        event = {"event": "session", "provenance": {}}
        run.append(event if between == "session" else evaluated(CONFIGS[0], n))
    assert trial.max_failures == 2 + 2 * FORGIVEN_NODE_LOSSES
    assert other.max_failures == 2 + (2 if between == "session" else 1) * FORGIVEN_NODE_LOSSES
