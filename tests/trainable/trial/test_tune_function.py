"""The trainable in anyone's own Tuner, on real Ray; and what it reports within a sweep, without."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import psutil
import pytest
import ray
import torch
from ray import tune
from ray.tune.schedulers import FIFOScheduler, PopulationBasedTraining

import trainable
from tests.scripts.killed_tuner import SEEDS, SPACE
from trainable.common import pause
from trainable.common.errors import TrainingDivergedError, UserError
from trainable.common.files import verified_values
from trainable.common.pause import PAUSE
from trainable.engine.metrics import without_predictions
from trainable.trial import checkpoint, tune_function
from trainable.trial.checkpoint import STATE
from trainable.trial.messages import MESSAGE, Message
from trainable.trial.training_loop import Trial
from trainable.trial.tune_function import SAVED_STEP, Sweep, train_student

TINY = {"student_layers": 2, "batch_size": 8, "epochs": 2, "evaluations": 6, "precision": "fp32"}
CONFIG = {**TINY, "alpha": 0.5, "learning_rate": 3e-3}
TIMINGS = {"training_seconds", "evaluation_seconds"}


@pytest.fixture(scope="module")
def cluster():
    """Two cores of Ray, quiet; a trial that asks for `turn` has no other beside it that does."""
    os.environ |= {"RAY_AIR_NEW_OUTPUT": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
    quiet = {"include_dashboard": False, "logging_level": "ERROR", "log_to_driver": False}
    ray.init("local", num_cpus=2, num_gpus=0, resources={"turn": 1}, **quiet)
    yield
    ray.shutdown()


@pytest.fixture
def fit(cluster, inputs, tmp_path):
    """Runs a Tuner of tiny trials to its end; gives its results by trial, in order."""

    def run(space, *, save_share=tune_function.SAVE_SHARE, running=None, **tuning):
        place = {"storage_path": str(tmp_path), "name": "run", "verbose": 0}
        grid = tune.Tuner(
            trainable.student(inputs, save_share=save_share),
            param_space=space,
            tune_config=tune.TuneConfig(metric="accuracy", mode="max", **tuning),
            run_config=tune.RunConfig(**place, **(running or {})),
        ).fit()
        assert not grid.errors
        return grid

    return run


def rows(result):
    """All that a trial reported, in order."""
    lines = (Path(result.path) / "result.json").read_text().splitlines()
    return [json.loads(line) for line in lines]


def reported(found):
    """A trial's evaluations by their number, without clocks; what was said last of each holds."""
    keys = ("step", "accuracy", "best5_accuracy", "loss", "loss_kl", "alpha", "learning_rate")
    return {row["training_iteration"]: [row[key] for key in keys] for row in found}


def result_of(evaluation):
    """What Tune is given of an evaluation."""
    return {**evaluation.scalars("accuracy"), "training_iteration": evaluation.evaluations}


def alone(inputs, settings):
    """What is reported of a trial in this process, without Ray."""
    trial = Trial.start(inputs.config(settings), inputs, torch.device("cpu"))
    return reported(map(result_of, trial.run()))


class Counts(tune.Callback):
    """The numbers of each trial's evaluations as they came: Ray's files may lose some of a trial
    that is paused."""

    def __init__(self):
        self.of = {}

    def on_trial_result(self, iteration, trials, trial, result, **info):
        self.of.setdefault(trial.trial_id, []).append(result["training_iteration"])


@pytest.mark.slow
def test_population_based_training_clones_and_ends(fit):
    """Three trials on two cores: they are paused, also after their last evaluation."""
    rates = tune.loguniform(1e-4, 1e-2)
    every = {"time_attr": "training_iteration", "perturbation_interval": 1}
    mutations = {"hyperparam_mutations": {"learning_rate": rates}}
    scheduler = PopulationBasedTraining(**every, quantile_fraction=0.5, **mutations)
    space = {**TINY, "evaluations": 4, "alpha": 1.0, "learning_rate": rates}
    counts = Counts()
    how = {"scheduler": scheduler, "num_samples": 3, "reuse_actors": True}
    fit(space, **how, save_share=1.0, running={"callbacks": [counts]})
    assert scheduler._num_perturbations > 0
    assert len(counts.of) == 3
    assert max(max(numbers) for numbers in counts.of.values()) == 4
    assert all(1 not in numbers[1:] for numbers in counts.of.values())  # nobody starts again


def stopped_with_whole_files(process, folder):
    """Stops a Tuner's process; whether it was not in the midst of writing Ray's own files.

    Those it copies anew again and again, and not in one piece: a kill in between leaves some empty,
    from which Ray restores nothing.
    """
    process.send_signal(signal.SIGSTOP)
    time.sleep(0.05)
    states = [path.read_text() for path in folder.glob("experiment_state-*.json")]
    results = [path.read_text() for path in folder.glob("*/result.json")]
    try:
        whole = [json.loads(state) for state in states]
    except ValueError:
        return False
    return bool(whole) and len(results) == len(SEEDS) and all(r.endswith("\n") for r in results)


@pytest.mark.slow
def test_a_killed_tuner_is_restored_to_the_same_evaluations(cluster, inputs, tmp_path, repository):
    """Killed in the midst of the second of its trials."""
    (tmp_path / "inputs.json").write_text(json.dumps(asdict(inputs)))
    command = [sys.executable, str(repository / "tests" / "scripts" / "killed_tuner.py")]
    silent = dict.fromkeys(("stdout", "stderr"), subprocess.DEVNULL)
    command += [str(tmp_path / "inputs.json"), str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(repository)}
    process = subprocess.Popen(command, **silent, env=environment)
    pattern = f"killed/train_*seed={SEEDS[1]}*/checkpoint_000005"
    while not list(tmp_path.glob(pattern)):
        assert process.poll() is None
        time.sleep(0.02)
    while not stopped_with_whole_files(process, tmp_path / "killed"):
        process.send_signal(signal.SIGCONT)
        time.sleep(0.05)
    process.kill()
    process.wait()
    again = trainable.student(inputs, save_share=1.0)
    grid = tune.Tuner.restore(str(tmp_path / "killed"), again).fit()
    assert not grid.errors
    by_seed = {result.config["seed"]: result for result in grid}
    assert by_seed.keys() == set(SEEDS)
    for result in grid:
        assert reported(rows(result)) == alone(inputs, result.config)
    assert by_seed[SEEDS[1]].metrics["iterations_since_restore"] < SPACE["evaluations"]


@pytest.fixture
def tuned(monkeypatch, inputs, tmp_path):
    """Trains as a Tuner would, without Ray; gives results and an error, and the folder of the
    `newest` checkpoint of `count`. `checkpoint` is what Tune hands back to the trial."""
    tune_function._waiting.cache_clear()
    state = SimpleNamespace(checkpoint=None, newest=None, count=0)
    resources = SimpleNamespace(required_resources={"CPU": 1})
    context = SimpleNamespace(get_trial_resources=lambda: resources)

    def train(config, on_report=None, **keywords):
        results = []

        def report(metrics, checkpoint=None):
            results.append(dict(metrics))
            if checkpoint is not None:
                state.count += 1
                state.newest = tmp_path / f"checkpoint_{state.count}"
                shutil.copytree(checkpoint.path, state.newest)
            if on_report is not None:
                on_report(len(results))

        folder = state.checkpoint and tune.Checkpoint(str(state.checkpoint))
        monkeypatch.setattr(tune, "report", report)
        monkeypatch.setattr(tune, "get_checkpoint", lambda: folder)
        monkeypatch.setattr(tune, "get_context", lambda: context)
        try:
            train_student(config, asdict(inputs), **keywords)
        except Exception as error:
            return results, error
        return results, None

    return SimpleNamespace(train=train, state=state)


@pytest.fixture
def sweep(tmp_path):
    (tmp_path / "run").mkdir()
    return Sweep(str(tmp_path / "run"))


def numbers(results):
    """Results without clocks and messages."""
    ignored = {*TIMINGS, "saving_seconds", MESSAGE}
    return [{k: v for k, v in result.items() if k not in ignored} for result in results]


def recorded(results):
    """What their messages have for the record, without clocks."""
    return numbers(result[MESSAGE].evaluation for result in results)


@pytest.mark.parametrize("step", [1, 10, 12, 13])
def test_a_paused_trial_goes_on_as_if_never_paused(tuned, inputs, sweep, monkeypatch, step):
    """Evaluated after 4, 8, 12, ... steps; a sweep gets the predictions of each."""
    advance = Trial.advance
    evaluations = list(Trial.start(inputs.config(CONFIG), inputs, torch.device("cpu")).run())
    metrics = numbers(map(result_of, evaluations))
    records = numbers(evaluation.recorded() for evaluation in evaluations)
    assert all(record["predictions"] for record in records)

    def pause_at_step(trial):
        if trial.step + 1 == step:
            (Path(sweep.run) / PAUSE).touch()
        return advance(trial)

    monkeypatch.setattr(pause, "POLL_SECONDS", 0.0)
    monkeypatch.setattr(Trial, "advance", pause_at_step)
    (*before, stopped), error = tuned.train(CONFIG, save_share=0.0, sweep=sweep)
    known = step // 4
    assert error is None
    assert (numbers(before), recorded(before)) == (metrics[:known], records[:known])
    assert stopped[SAVED_STEP] == verified_values(tuned.state.newest)["step"] == step
    last = {**metrics[known - 1], SAVED_STEP: step}
    assert numbers([stopped]) == [last] or not known
    assert MESSAGE not in stopped  # it only brings a checkpoint
    assert tuned.train(CONFIG, sweep=sweep) == ([], None)

    (Path(sweep.run) / PAUSE).unlink()
    monkeypatch.setattr(Trial, "advance", advance)
    tuned.state.checkpoint = tuned.state.newest
    after, error = tuned.train(CONFIG, save_share=0.0, sweep=sweep)
    assert error is None
    assert [result[MESSAGE].restored for result in after] == [n < known for n in range(6)]
    assert numbers(after) == metrics
    lost = max(known - 1, 0)  # of evaluations before the last one, the bits are not kept
    assert recorded(after)[lost:] == records[lost:]
    bare, expected = ([*map(without_predictions, each)] for each in (recorded(after), records))
    assert bare == expected


@pytest.mark.parametrize("at", ["the storage's address", "the inputs"])
def test_a_node_that_cannot_reach_the_storage_pauses_the_sweep(tuned, sweep, monkeypatch, at):
    """Its trials would fail one after the other."""

    fail = Mock(side_effect=(UserError if at == "the inputs" else OSError)("no route"))
    if at == "the inputs":
        sweep = replace(sweep, localise=fail)
    else:
        monkeypatch.setattr(tune_function, "PauseRequest", fail)
    reports, error = tuned.train(CONFIG, sweep=sweep)
    assert reports == [{MESSAGE: Message(failure="disk", reason="no route")}]
    assert type(error) is OSError


class CompilationError(Exception):
    __module__ = "triton.compiler.errors"


@pytest.mark.parametrize(
    ("error", "failure_kind"),
    [
        (TrainingDivergedError("loss is nan"), "diverged"),
        (OSError(28, "No space left on device"), "disk"),
        (torch.OutOfMemoryError("CUDA out of memory"), "out of GPU memory"),
        (RuntimeError("CUBLAS_STATUS_ALLOC_FAILED"), "out of GPU memory"),
        (CompilationError("no such instruction"), "not captured"),
        (ValueError("a fault of ours"), None),
    ],
)
def test_a_sweep_is_told_why_a_retry_would_not_help(tuned, sweep, monkeypatch, error, failure_kind):
    monkeypatch.setattr(Trial, "advance", Mock(side_effect=error))
    message = Message(failure=failure_kind, reason=str(error))
    reports = [{MESSAGE: message}] if failure_kind else []
    assert tuned.train(CONFIG, sweep=sweep) == (reports, error)
    assert tuned.train(CONFIG) == ([], error)


@pytest.mark.parametrize(
    ("save_at", "save_share", "counts"),
    [
        ((2, 3), 0.0, [0, 1, 2, 2, 2, 3]),
        (None, 0.0, [1, 1, 1, 1, 1, 2]),
        (None, 1.0, [1, 2, 3, 4, 5, 6]),
    ],
)
def test_which_evaluations_bring_a_checkpoint(tuned, sweep, save_at, save_share, counts):
    """Those after which a trial may have to wait, in any other Tuner the first, and the last."""
    saved, within = [], save_at and replace(sweep, save_at=save_at)
    on_report = {"on_report": lambda _: saved.append(tuned.state.count)}
    tuned.train(CONFIG, **on_report, save_share=save_share, sweep=within)
    assert saved == counts


class StopError(Exception):
    """As Tune ends a trial's function within a report."""


def stopped_at(count):
    """For `on_report`: ends the trial at its result of this number."""

    def end(number):
        if number == count:
            raise StopError

    return end


@pytest.fixture
def dear(monkeypatch):
    """Checkpoints that cost more than all training here."""
    monkeypatch.setattr(checkpoint, "FIRST_SAVE_BYTES", 1.0)


def test_a_trial_that_waited_in_memory_goes_on_as_if_it_never_had(tuned, sweep, dear, monkeypatch):
    whole, _ = tuned.train(CONFIG, sweep=sweep)
    within = replace(sweep, save_at=(2,), waiting_bytes=10**9)
    before, error = tuned.train(CONFIG, sweep=within, on_report=stopped_at(2))
    assert isinstance(error, StopError)
    assert (numbers(before), tuned.state.count) == (numbers(whole[:2]), 1)
    tuned.train({**CONFIG, "seed": 1}, sweep=within)  # another trial in the same process
    begun, advance = [], Trial.advance
    monkeypatch.setattr(Trial, "advance", lambda t: begun.append(t.step) or advance(t))
    after, error = tuned.train(CONFIG, sweep=within)
    assert error is None
    assert begun[0] == 8
    assert [result[MESSAGE].restored for result in after] == [True] * 2 + [False] * 4
    assert numbers(after) == numbers(whole)
    assert tuned.state.count == 3  # the last of each that ended


def test_a_trial_with_a_checkpoint_writes_another_where_it_waits(tuned, sweep, dear):
    """Should it be stopped there, the older one would be its student."""
    within = replace(sweep, save_at=(2, 4), waiting_bytes=10**9)
    tuned.train(CONFIG, sweep=sweep, save_share=1.0, on_report=stopped_at(1))
    tuned.state.checkpoint = tuned.state.newest
    tuned.train(CONFIG, sweep=within, on_report=stopped_at(3))  # the first is restored
    assert verified_values(tuned.state.newest)["step"] == 8
    tuned.train(CONFIG, sweep=within, on_report=stopped_at(5))  # from memory
    assert verified_values(tuned.state.newest)["step"] == 16


def test_a_checkpoint_that_is_due_does_not_wait_for_the_first_evaluation(tuned, sweep):
    (saved, *_), _ = tuned.train(CONFIG, sweep=sweep, save_share=1.0)
    assert (saved["training_iteration"], MESSAGE in saved) == (0, False)
    assert saved[SAVED_STEP] < 4


def test_a_trial_that_waited_in_memory_is_saved_by_a_pause_before_its_next_step(
    tuned, sweep, dear, monkeypatch
):
    within = replace(sweep, save_at=(2,), waiting_bytes=10**9)
    tuned.train(CONFIG, sweep=within, on_report=stopped_at(2))
    monkeypatch.setattr(pause, "POLL_SECONDS", 0.0)
    requested = lambda number: (Path(sweep.run) / PAUSE).touch()  # noqa: E731
    *_, last = tuned.train(CONFIG, sweep=within, on_report=requested)[0]
    assert last[SAVED_STEP] == verified_values(tuned.state.newest)["step"] == 8
    assert tuned.state.count == 1


def test_what_was_trained_before_a_wait_in_memory_counts_at_the_next_rung(
    tuned, sweep, dear, monkeypatch
):
    within = replace(sweep, save_at=(2, 4), waiting_bytes=10**9)
    tuned.train(CONFIG, sweep=within, save_share=0.0, on_report=stopped_at(2))
    monkeypatch.setattr(Trial, "seconds", 1e12)  # longer than three checkpoints take
    tuned.train(CONFIG, sweep=within, save_share=0.0, on_report=stopped_at(3))
    assert tuned.state.count == 0  # no rung
    tuned.train(CONFIG, sweep=within, save_share=0.0, on_report=stopped_at(2))
    tuned.train(CONFIG, sweep=within, save_share=0.0, on_report=stopped_at(4))
    assert verified_values(tuned.state.newest)["step"] == 16


def test_of_the_trials_that_wait_the_latest_fit_into_memory_the_others_have_checkpoints(
    tuned, inputs, sweep, dear
):
    trial = Trial.start(inputs.config(CONFIG), inputs, torch.device("cpu"))
    trial.advance()
    size = checkpoint.copied_state(trial).bytes
    within = replace(sweep, save_at=(1,), waiting_bytes=2 * size)
    for seed in range(3):
        tuned.train({**CONFIG, "seed": seed}, sweep=within, on_report=stopped_at(1))
    assert tuned.state.count == 0
    of_seeds = [inputs.config({**CONFIG, "seed": seed}) for seed in range(3)]
    kept = [tune_function._waiting().take(config) is not None for config in of_seeds]
    assert kept == [False, True, True]
    tuned.train(CONFIG, sweep=within)  # one that goes on is not kept; at its end it is saved
    assert tune_function._waiting().take(inputs.config(CONFIG)) is None
    within = replace(sweep, save_at=(1,), waiting_bytes=size - 1)
    tuned.train(CONFIG, sweep=within, on_report=stopped_at(1))
    assert tuned.state.count == 2
    assert tune_function._waiting().take(inputs.config(CONFIG)) is None


class Waits(FIFOScheduler):
    """Has each trial wait after its second evaluation until no other can begin."""

    def __init__(self):
        super().__init__()
        self.waited = set()

    def on_trial_result(self, controller, trial, result):
        if result["training_iteration"] == 2 and trial.trial_id not in self.waited:
            self.waited.add(trial.trial_id)
            return self.PAUSE
        return self.CONTINUE

    def choose_trial_to_run(self, controller):
        trials = sorted(controller.get_trials(), key=lambda trial: trial.status != "PENDING")
        assert all(t.checkpoint is None for t in trials if t.status == "PAUSED")
        return next((t for t in trials if t.status in ("PENDING", "PAUSED")), None)


@pytest.mark.slow
def test_tune_has_trials_wait_without_a_checkpoint(cluster, inputs, sweep, tmp_path):
    """In one process, one after the other; what they report is what they report alone."""
    given, within = asdict(inputs), replace(sweep, save_at=(2,), waiting_bytes=10**9)
    log = tmp_path / "steps.txt"

    def train(config):
        def advance(trial, advance=Trial.advance):
            with log.open("a") as file:
                print(trial.config.seed, trial.step, file=file)
            return advance(trial)

        checkpoint.FIRST_SAVE_BYTES, Trial.advance = 1.0, advance
        try:
            train_student(config, given, sweep=within)
        finally:
            Trial.advance = advance.__defaults__[0]

    class Reports(tune.Callback):
        def on_trial_result(self, iteration, trials, trial, result, **info):
            result.pop(MESSAGE)

    grid = tune.Tuner(
        tune.with_resources(train, {"cpu": 1, "turn": 1}),
        param_space={**CONFIG, "seed": tune.grid_search([0, 1])},
        tune_config=tune.TuneConfig(scheduler=Waits(), reuse_actors=True),
        run_config=tune.RunConfig(
            storage_path=str(tmp_path), name="run", verbose=0, callbacks=[Reports()]
        ),
    ).fit()
    assert not grid.errors
    for result in grid:
        seed = result.config["seed"]
        assert reported(rows(result)) == alone(inputs, {**CONFIG, "seed": seed})
    parts = [(seed, steps) for steps in (range(8), range(8, 24)) for seed in (0, 1)]
    expected = [f"{seed} {step}" for seed, steps in parts for step in steps]
    assert log.read_text().split("\n")[:-1] == expected


@pytest.mark.parametrize("damage", ["a byte", "all of it"])
def test_a_useless_checkpoint_restarts_the_trial(tuned, capsys, inputs, tmp_path, damage):
    whole, _ = tuned.train(CONFIG, save_share=1.0)
    tuned.state.checkpoint = folder = tmp_path / "checkpoint_3"
    assert numbers(tuned.train(CONFIG)[0]) == numbers(whole)[3:]
    if damage == "a byte":
        content = bytearray((folder / STATE).read_bytes())
        content[-1] ^= 1
        (folder / STATE).write_bytes(content)
    else:
        shutil.rmtree(folder)
    capsys.readouterr()
    again, error = tuned.train(CONFIG)
    assert error is None
    assert numbers(again) == numbers(whole)
    assert capsys.readouterr().out.count("the trial starts again") == 1


def test_a_trial_paused_after_its_last_step_has_nothing_left_to_do(tuned):
    tuned.train(CONFIG)
    tuned.state.checkpoint = tuned.state.newest
    assert tuned.train(CONFIG) == ([], None)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator is the one that keeps it")
def test_a_trial_gives_back_the_memory_that_those_before_it_freed(tuned):
    """Blocks too small for the allocator to map each by itself, below one that is still in use."""
    resident = psutil.Process().memory_info
    blocks = [torch.ones(16_000) for _ in range(4_000)]  # 256 MB
    del blocks[:-1]
    freed = resident().rss
    tuned.train(CONFIG)
    assert resident().rss < freed - 150e6
    assert blocks[0].sum() == 16_000


def test_the_package_loads_neither_ray_nor_torch(printed_by):
    modules = "trainable, spaces, trainable.config.options, trainable.config.training_inputs"
    (loaded,) = printed_by(f"import sys, {modules}; print(*sys.modules)")
    assert "trainable" in loaded.split()
    assert not {*loaded.split()} & {"torch", "ray", "transformers", "datasets"}
