"""What Ray's hooks make of a run, with small trial objects in the place of Ray's."""

import io
import pickle
from dataclasses import asdict
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
from ray.tune.experiment import Trial
from ray.tune.search import Searcher
from rich.console import Console

from search.policy.failures import FORGIVEN_NODE_LOSSES
from search.policy.policy import Policy
from search.record.events import RECORD
from search.record.run import read_run
from search.record.storage import RecordCopy, TakenOverError, local_runs
from search.record.trial_record import (
    FAILED,
    FINISHED,
    GIVE_UP,
    GO,
    NODE_LOST,
    PENDING,
    RETRY,
    RETRY_ALONE,
    RUNNING,
    STOP,
    WAIT,
    WAITING,
)
from search.sweep.hooks.ray_private import error_message
from search.sweep.processes.signals import Interruption
from tests.made_runs import asked, evaluated, made_inputs, made_run, started, told
from tests.simulated_tune import CRASH, NODE, FakeTrial, make_hooks
from trainable.common.errors import UserError
from trainable.common.pause import PAUSE
from trainable.config.training_inputs import Execution
from trainable.config.trial_config import TrialConfig
from trainable.trial.messages import DISK, DIVERGED, MESSAGE, NOT_CAPTURED, OUT_OF_MEMORY, Message

CONFIGS = [TrialConfig(alpha=alpha, evaluations=3) for alpha in (0.25, 0.5)]
FIRST, SECOND = (config.digest for config in CONFIGS)
FULL = "[Errno 28] No space left on device"
CLOCKS = ("training_seconds", "evaluation_seconds", "saving_seconds")


class Shown:
    """A display that remembers what it was told, and how the trial stood then, also on disk.

    It fails with `error`, as a closed terminal does, or what rich makes of a closed pipe.
    """

    def __init__(self, error=None, storage=None):
        self.events, self.error, self.storage = [], error, storage

    def start(self):
        self.events.append("start")

    def stop(self):
        self.events.append("stop")

    def show(self, run, event):
        assert read_run(run.folder) == run
        if self.storage is not None:
            assert (self.storage / RECORD).read_bytes() == (run.folder / RECORD).read_bytes()
        trial = run.trials.get(event.get("trial"))
        self.events.append((event["event"], trial and trial.outcome))
        if self.error is not None:
            raise self.error


def make_trial(number=0, status=Trial.RUNNING):
    return FakeTrial(f"ab_{number:05}", asdict(CONFIGS[number]), status=status)


def values(number, **more):
    return evaluated(CONFIGS[0], number, float(number), **more)["evaluation"]


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
def make(run, interruption):
    """The hooks of one more Tuner, on the run as it is recorded."""

    def make(of=run, *shown):
        copy, display = RecordCopy(of.folder), Shown(*shown)
        hooks = make_hooks(of, copy=copy, interruption=interruption, display=display)
        return SimpleNamespace(**vars(hooks), run=of, interruption=interruption, copy=copy)

    return make


@pytest.fixture
def hooks(make):
    return make()


def say(hooks, trial, message):
    """As Ray hands over a result: GO, WAIT or STOP as the scheduler has it."""
    result = {"training_iteration": 1, **({} if message is None else {MESSAGE: message})}
    decision = hooks.scheduler.on_trial_result(None, trial, result)
    hooks.callback.on_trial_result(iteration=1, trials=[trial], trial=trial, result=result)
    return {"CONTINUE": GO, "PAUSE": WAIT, "STOP": STOP}[decision]


def tell(hooks, hook, trial):
    """By name, as Ray does."""
    getattr(hooks.callback, f"on_trial_{hook}")(iteration=1, trials=[trial], trial=trial)


def fail(hooks, trial, *errors):
    """By what Ray keeps of them; whether Ray restarts the trial."""
    restarted = trial.fails(hooks.run.folder, *errors)
    tell(hooks, "recover" if restarted else "error", trial)
    return restarted


def kinds(run):
    return [event["event"] for event in told(run.folder)]


def thens(run):
    """What followed each failure."""
    return [event["then"] for event in told(run.folder) if "then" in event]


def state(run, digest=FIRST):
    return read_run(run.folder).trials[digest]


# Evaluations.


@pytest.mark.parametrize("error", [None, OSError(5, "Input/output error"), SystemExit(1)])
def test_events_of_a_trial_that_finishes_whether_or_not_they_can_be_shown(
    make, tmp_path, monkeypatch, error
):
    """Each is on disk and in the run's storage before it is shown."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "machine"))
    run = made_run(local_runs(f"file://{tmp_path}/storage") / "mine", CONFIGS)
    hooks, trial = make(run, error, tmp_path / "storage" / "mine"), make_trial()
    with hooks.copy:
        hooks.callback.setup()
        tell(hooks, "start", trial)
        assert [say(hooks, trial, Message(values(n))) for n in (1, 2, 3)] == [GO, GO, STOP]
        assert say(hooks, trial, None) == GO  # which only brought a checkpoint
        hooks.callback.on_experiment_end(trials=[trial])
    names = {"trial": FIRST, "tune_trial": "ab_00000"}
    assert told(run.folder) == [
        {"event": "start", "slots": 2, **names},
        *(
            {"event": "evaluation", "decision": decision, "evaluation": values(n), **names}
            for n, decision in ((1, GO), (2, GO), (3, STOP))
        ),
    ]
    shown = [("start", RUNNING), *[("evaluation", RUNNING)] * 2, ("evaluation", FINISHED)]
    assert hooks.live.display.events == ["start", *shown, "stop"]
    for hook in (hooks.callback, hooks.scheduler, hooks.searcher):
        assert vars(pickle.loads(pickle.dumps(hook))) == {}


def test_what_a_checkpoint_knows_is_taken_only_where_the_record_lacks_it(hooks, run):
    """Killed after the second evaluation was saved, and before it was recorded."""
    trial = make_trial()
    say(hooks, trial, Message(values(1)))
    for n in (1, 2):
        say(hooks, trial, Message(values(n, loss=7.0), restored=True))
    say(hooks, trial, Message(values(2, loss=8.0), restored=True))
    assert kinds(run) == ["evaluation", "evaluation"]
    assert state(run).evaluations == [values(1), values(2, loss=7.0)]


@pytest.mark.parametrize(
    ("key", "value"),
    [*((clock, 99.0) for clock in CLOCKS), ("score", 0.125), ("predictions", "/w==")],
)
def test_an_evaluation_made_again_is_repeated_unless_more_than_its_clocks_differ(
    make, run, key, value
):
    """Where it differs it counts from there on."""
    for n in (1, 2):
        say(make(), make_trial(), Message(values(n)))
    again = make(read_run(run.folder))
    say(again, make_trial(), Message(values(1, **{key: value})))
    say(again, make_trial(), Message(values(2)))
    same = key in CLOCKS
    assert kinds(run)[2:] == (["repeated"] * 2 if same else ["evaluation"] * 2)
    assert state(run).repeated == (2 if same else 0)
    assert state(run).evaluations == [values(1) if same else values(1, **{key: value}), values(2)]


# Failures.


@pytest.mark.parametrize("share", [4, 1])
@pytest.mark.parametrize("kind", [DIVERGED, OUT_OF_MEMORY])
def test_only_memory_that_ran_out_beside_others_is_tried_again_alone_and_once(
    make, tmp_path, kind, share
):
    run, trial = on_gpu(tmp_path / "gpu", asked(trials_per_gpu=share)), make_trial()
    first = kind == OUT_OF_MEMORY and share > 1
    for attempt in range(2):
        hooks = make(run)
        tell(hooks, "start", trial)
        say(hooks, trial, Message(failure=kind))
        assert not fail(hooks, trial, CRASH)  # Ray does not try it again by itself
        again = first and attempt == 0
        assert thens(run)[-1] == (RETRY_ALONE if again else GIVE_UP)
        assert (state(run).outcome, state(run).alone) == (PENDING if again else FAILED, first)
        if attempt == 0:
            for n in (1, 2, 3):
                say(hooks, make_trial(1), Message(values(n)))
            assert hooks.searcher.suggest("a") == Searcher.FINISHED  # for this Tuner
        run = read_run(run.folder)
        assert Policy(run).exclusive == again


def test_a_session_with_fewer_slots_plans_for_these_before_anything_begins(tmp_path):
    run = made_run(tmp_path / "mine", CONFIGS)
    run.append({**started(CONFIGS[0]), "slots": 3})
    for slots in (1, 1, 2):
        make_hooks(
            run, slots, copy=RecordCopy(run.folder), interruption=SimpleNamespace(problem="")
        )
        again = read_run(run.folder)
        assert again.slots == run.slots == slots
        assert again.first_slots == 3
    assert [event["event"] for event in run.events[2:]] == ["slots"] * 2


def test_a_crash_is_retried_as_often_as_asked_in_each_session(hooks, run):
    trial = make_trial()
    tell(hooks, "start", trial)
    assert [fail(hooks, trial, CRASH) for _ in range(2)] == [True, True]
    hooks.live.record({"event": "session", "provenance": {}})
    tell(hooks, "start", trial)
    assert [fail(hooks, trial, CRASH) for _ in range(3)] == [True, True, False]
    assert thens(run) == [RETRY] * 4 + [GIVE_UP]
    tell(hooks, "start", make_trial(1))
    assert fail(hooks, make_trial(1), CRASH)  # one trial's trouble is not another's


@pytest.mark.parametrize("broken", ["the trial's disk", "the record", "the copy"])
def test_what_can_not_be_written_pauses_the_sweep_and_nothing_more_is_recorded(
    hooks, run, monkeypatch, broken
):
    trial, other = make_trial(0), make_trial(1)
    for each in (trial, other):
        tell(hooks, "start", each)
    before = kinds(run)

    raise_error = Mock(side_effect=OSError(28, "No space left on device"))
    with monkeypatch.context() as patched:
        message = Message(values(1))
        if broken == "the trial's disk":
            message = Message(failure=DISK, reason=FULL)
        elif broken == "the record":
            patched.setattr("search.record.run.append_event", raise_error)
        else:
            patched.setattr(hooks.copy, "copy", raise_error)
        say(hooks, trial, message)
    assert (hooks.interruption.requested, hooks.interruption.problem) == (True, FULL)
    assert (run.folder / PAUSE).exists()
    before += ["evaluation"] if broken == "the copy" else []
    for each in (trial, other):  # there is room again; what the record lacks, checkpoints have
        tell(hooks, "start", each)
        say(hooks, each, Message(values(1)))
        fail(hooks, each, CRASH)
        tell(hooks, "complete", each)
    assert kinds(run) == before
    assert len(hooks.live.display.events) == 2


def on_gpu(folder, request, *execution):
    """A run on a GPU with this executor, and whether with fused attention."""
    inputs = made_inputs(device="cuda", execution=Execution(*execution))
    return made_run(folder, CONFIGS, request, inputs=inputs)


@pytest.mark.parametrize(
    ("planned", "lesser", "label"),
    [
        (("graph",), Execution(), "eager"),
        (("graph", True), Execution("graph"), "plain attention instead of fused"),
    ],
)
def test_what_can_not_be_captured_is_left_to_other_processes_of_the_next_tuner(
    make, tmp_path, planned, lesser, label
):
    run = on_gpu(tmp_path / "gpu", asked(retries=0), *planned)
    hooks, trials = make(run), [make_trial(number) for number in range(2)]
    for trial in trials:
        tell(hooks, "start", trial)
        say(hooks, trial, Message(failure=NOT_CAPTURED, reason="no"))
        assert not hooks.interruption.left
        assert not fail(hooks, trial, CRASH)
    assert (run.fallbacks, run.execution) == ([f"{label}: no"], lesser)
    assert thens(run) == [RETRY] * 2
    assert ("fallback", None) in hooks.live.display.events
    assert hooks.searcher.suggest("a") is None
    for trial in trials:
        trial.status = Trial.ERROR
    hooks.callback.on_step_end(iteration=1, trials=trials)
    assert (len(hooks.interruption.left), hooks.interruption.requested) == (1, False)
    assert make(run).searcher.suggest("a") == asdict(CONFIGS[0])


def test_what_memory_was_too_small_for_is_recorded_once_and_changes_no_execution(make, tmp_path):
    run = on_gpu(tmp_path / "gpu", asked(), "graph", True)
    hooks, reason = make(run), "16 examples at a time: out of memory"
    for number in (1, 2):
        say(hooks, make_trial(), Message(values(number), fallbacks=(reason,)))
    assert (run.fallbacks, run.execution) == ([reason], Execution("graph", True))
    assert hooks.live.display.events.count(("fallback", None)) == 1


@pytest.mark.parametrize("error", [CRASH, NODE])
@pytest.mark.parametrize(("decision", "then"), [(STOP, FINISHED), (WAIT, WAITING)])
def test_what_is_decided_of_a_trial_stands_where_its_worker_dies_before_tune_acts_on_it(
    hooks, run, monkeypatch, error, decision, then
):
    """Tune stops and pauses a trial once its worker has saved; one that waits is left over."""
    trial, last = make_trial(), 3 if decision == STOP else 1
    tell(hooks, "start", trial)
    monkeypatch.setattr(hooks.live.policy, "decision", lambda *names: decision)
    for number in range(1, last):
        say(hooks, trial, Message(values(number)))
    event = evaluated(CONFIGS[0], last, 0.5, "wait" if decision == WAIT else "stop")
    monkeypatch.setattr(
        hooks.live, "receive", lambda message, **names: run.append(event) and decision
    )
    say(hooks, trial, Message(values(last)))
    before = kinds(run)
    assert not fail(hooks, trial, error)
    assert (state(run).outcome, kinds(run)) == (then, before)
    assert hooks.live.needs_next_tuner == (then == WAITING)


@pytest.mark.parametrize("kind", [OSError, UserError])
def test_a_storage_that_does_not_answer_as_a_trial_begins_pauses_the_sweep(
    hooks, monkeypatch, kind
):
    no_answer = Mock(side_effect=kind("no answer"))
    monkeypatch.setattr("search.sweep.hooks.scheduler.go_on_from_checkpoint", no_answer)
    hooks.scheduler.on_trial_add(None, make_trial())
    assert (hooks.interruption.requested, hooks.interruption.problem) == (True, "no answer")


def test_a_trial_that_paused_for_another_session_is_left_over(hooks):
    """Tune takes it for complete; one that has ended, in the record, is."""
    trial = make_trial()
    tell(hooks, "start", trial)
    hooks.callback.on_trial_complete(iteration=1, trials=[trial], trial=trial)
    assert hooks.live.needs_next_tuner


def test_a_trial_that_has_ended_is_not_left_over(hooks):
    trial = make_trial()
    tell(hooks, "start", trial)
    for number in range(1, 4):
        say(hooks, trial, Message(values(number)))
    hooks.callback.on_trial_complete(iteration=1, trials=[trial], trial=trial)
    assert not hooks.live.needs_next_tuner


def test_a_record_that_another_session_has_taken_over_is_left_to_it(hooks, run, monkeypatch):
    monkeypatch.setattr(hooks.copy, "copy", Mock(side_effect=TakenOverError("theirs")))
    tell(hooks, "start", make_trial())
    assert (hooks.interruption.requested, hooks.interruption.problem) == (True, "theirs")
    assert not (run.folder / PAUSE).exists()


# Nodes that are lost.


def test_what_a_lost_node_left_over_is_run_again_when_nothing_else_can_be(hooks, run):
    """Other seeds may wait for it for ever: the loop ends, so that the next Tuner takes it up."""
    waits, lost = make_trial(1, status=Trial.PAUSED), make_trial()
    tell(hooks, "start", lost)
    lost.max_failures = 0
    assert not fail(hooks, lost, CRASH, NODE)
    assert (state(run).outcome, state(run).reason) == (PENDING, NODE_LOST)
    lost.status = Trial.ERROR
    for status in (Trial.RUNNING, Trial.PENDING):
        hooks.callback.on_step_end(iteration=1, trials=[waits, lost, make_trial(0, status=status)])
        assert not hooks.interruption.left
    hooks.callback.on_step_end(iteration=1, trials=[waits, lost])
    assert (len(hooks.interruption.left), hooks.interruption.requested) == (1, False)


@pytest.mark.parametrize("between", ["evaluation", "session"])
def test_losses_in_a_row_are_forgiven_so_often_anew_after_an_evaluation_or_in_a_session(
    make, tmp_path, between
):
    """The trial itself may take its nodes down, over several Tuners."""
    run = made_run(tmp_path / "mine", CONFIGS, asked(retries=0))
    for n in (1, 2):
        for _ in range(FORGIVEN_NODE_LOSSES):
            fail(make(run), make_trial(), NODE)
        if n == 1 and between == "session":
            run.append({"event": "session", "provenance": {}})
        elif n == 1:
            say(make(run), make_trial(), Message(values(1)))
    fail(make(run), make_trial(), NODE)
    assert thens(run) == [*[RETRY] * 2 * FORGIVEN_NODE_LOSSES, GIVE_UP]


# Interruptions.


def test_while_pausing_results_are_recorded_and_starts_stops_and_failures_are_not(hooks, run):
    """A closed terminal makes Ray's own printing fail, which Ray takes for the trial's failure."""
    trial, other = make_trial(0), make_trial(1)
    tell(hooks, "start", trial)
    hooks.interruption.pause()
    tell(hooks, "start", other)
    for n in (1, 2):
        say(hooks, trial, Message(values(n)))
    for each in (trial, other):
        fail(hooks, each, CRASH)
    assert hooks.searcher.suggest("a") is None
    assert kinds(run) == ["start", "evaluation", "evaluation"]
    assert [state(run, digest).outcome for digest in (FIRST, SECOND)] == [RUNNING, PENDING]


def test_loop_is_left_once_no_trial_runs_and_at_once_after_a_problem(hooks):
    def left(*statuses):
        hooks.interruption.left.clear()
        trials = [make_trial(number, status) for number, status in enumerate(statuses)]
        hooks.callback.on_step_end(iteration=1, trials=trials)
        return bool(hooks.interruption.left)

    assert not left(Trial.PAUSED, Trial.ERROR)  # nobody asked
    hooks.interruption.pause()
    assert not left(Trial.RUNNING, Trial.PENDING)
    assert left(Trial.PENDING, Trial.PAUSED)
    assert left()
    hooks.interruption.pause(FULL)
    assert left(Trial.RUNNING, Trial.PENDING)


# Reasons.

FAILURE = "Failure # 1 (occurred at 2026-11-23_23-00-00)\n"
START = FAILURE + 'ray::ImplicitFunc.train()\n  File "/x/trial.py", line 1, in run\n    x\n'
CUDA = "torch.AcceleratorError: CUDA error: device-side assert\nFor debugging consider\nCompile\n"
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
    assert error_message(error) == reason
