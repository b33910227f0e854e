"""A dry run refuses what a sweep refuses, and leaves nothing behind."""

import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub import HfApi
from search.remote_runs import local_runs

from search import dry_run
from search.plan import plan_trials
from search.record import create_run, read_run
from search.request import Request
from search.run import main
from tests.sweeps import run
from trainable.teacher_outputs import ARRAY


def tree(folder):
    """Each path below a folder, with when it was changed."""
    return {path: path.lstat().st_mtime_ns for path in [folder, *folder.rglob("*")]}


@pytest.fixture
def typed(make_command, tmp_path):
    """The words of the command line after `python -m search.run`."""
    return make_command(tmp_path)[3:]


@pytest.mark.parametrize(
    "mistake",
    [
        ["--set", "evaluations=1000"],
        ["--max-length", "1"],
        ["--max-length", "500"],
        ["--against", "depth"],
        ["--set", "temperature=0"],
        ["--eval-subset", "999"],
        ["--compare-within", "nothing"],
        ["--teacher", "no/such"],
    ],
)
def test_bad_requests_are_refused_in_the_same_words(typed, mistake, capsys, tmp_path, monkeypatch):
    def unreachable(self, name, timeout):
        raise ConnectionError("no route")

    monkeypatch.setattr(HfApi, "model_info", unreachable)
    command = [*typed, "--space", "baselines", *mistake]
    codes, errors = [], []
    for flags in ([], ["--dry-run"]):
        codes.append(main([*command, *flags]))
        errors.append(capsys.readouterr().err)
    assert codes == [2, 2]
    assert errors[0] == errors[1]
    assert not (tmp_path / "cache").exists() or not list((tmp_path / "cache").rglob("*.npy"))


def test_name_that_is_taken_is_refused(typed, capsys, tmp_path):
    (tmp_path / "runs" / "mine").mkdir(parents=True)
    (tmp_path / "runs" / "mine" / "sweep.json").write_text("{}")
    assert main([*typed, "--space", "baselines", "--name", "mine", "--dry-run"]) == 2
    assert "mine" in capsys.readouterr().err


def test_run_that_is_not_there_is_refused(capsys, tmp_path):
    asked = ["--resume", "none", "--storage", str(tmp_path), "--dry-run"]
    assert main(asked) == 2
    assert "--resume none" in capsys.readouterr().err


@pytest.fixture
def resumed(task, tmp_path, monkeypatch):
    """What is told of a run of two trials whose teacher and tokens are here, and its data gone."""
    monkeypatch.setattr("trainable.environment.best_device", lambda: torch.device("cpu"))
    told, cache = [], tmp_path / "cache"
    request = Request(
        *("schedules", "mini", str(cache)),
        dataset=str(tmp_path / "gone"),
        overrides={"student_layers": 2, "batch_size": 8, "precision": "fp32"},
        samples=2,
    )
    plan = {"requests": [request.to_dict()], "trials_per_gpu": 1}
    plan |= {"gpu_sharing": None, "max_concurrent": None}

    def tell(run, prepared, session):
        told.append((run, prepared))
        return 0

    monkeypatch.setattr(dry_run, "_tell", tell)

    def resume(*more, of=task):
        plan["task"] = of.to_dict()
        folder = create_run(tmp_path / "runs" / "mine", plan, plan_trials(request)).folder
        code = main(["--resume", str(folder), *more, "--dry-run"])
        return code, *(told.pop() if told else ())

    return resume


def test_more_trials_are_told_with_what_is_there(resumed, task):
    code, run, prepared = resumed("--seeds", "2")
    assert (code, len(run.trials)) == (0, 4)
    assert (prepared.found.task, prepared.found.outputs_missing) == (task, ())


@pytest.mark.parametrize("gone", [False, True])
def test_outputs_that_are_lacking_are_of_the_teacher_that_there_is(resumed, task, tmp_path, gone):
    """A pool that only the new trials look at, or a folder that is gone; as `task_again` has it."""
    outputs = {kind: place for kind, place in task.outputs.items() if gone or kind != "mean"}
    if gone:
        outputs["mean"] = str(tmp_path / "not there")
    code, _, prepared = resumed("--set", "hidden_pool=mean", of=replace(task, outputs=outputs))
    found = prepared.found
    assert (code, found.teacher_missing, found.outputs_missing) == (0, False, ("mean",))
    assert found.task.teacher == task.teacher
    assert found.task.outputs | {"mean": ""} == task.outputs | {"mean": ""}
    assert found.bytes_missing == np.load(Path(task.outputs["mean"]) / ARRAY).nbytes


def test_more_trials_than_can_be_trained_on_it_are_refused(resumed, capsys):
    assert resumed("--set", "batch_size=64") == (2,)
    assert "evaluations: 8 are more than the trial's 4 steps" in capsys.readouterr().err


@pytest.fixture
def make_run(tmp_path, task):
    """An interrupted run in this folder."""

    def make(folder):
        fitting = {"student_layers": 2, "batch_size": 8, "precision": "fp32"}
        cache = str(tmp_path / "cache")
        request = Request("baselines", "mini", cache=cache, samples=2, overrides=fitting)
        sweep = {"requests": [request.to_dict()], "task": task.to_dict(), "keep": 5}
        return create_run(folder, sweep, plan_trials(request))

    return make


@pytest.fixture
def storage(tmp_path, make_run):
    """The folder of an interrupted run, `mine`."""
    return make_run(tmp_path / "runs" / "mine").folder.parent


@pytest.mark.parametrize(
    "mistake",
    [
        ["--address", "nonsense"],
        ["--set", "evaluations=4"],
        ["--space", "recipe"],
    ],
)
def test_what_a_run_cannot_go_on_with_is_refused_in_the_same_words(storage, mistake, capsys):
    command = ["--resume", "mine", "--storage", str(storage), *mistake]
    codes, errors = [], []
    for flags in (["--dry-run"], []):
        codes.append(main([*command, *flags]))
        errors.append(capsys.readouterr().err)
    assert codes == [2, 2]
    assert errors[0] == errors[1]
    assert mistake[1].partition("=")[0] in errors[0]


# Runs that lie in a storage.


@pytest.fixture
def contents(tmp_path):
    """Of all files, and None for folders, of this machine and the storage."""

    def look():
        files = {path: path.is_file() and path.read_bytes() for path in tmp_path.rglob("*")}
        return {str(path.relative_to(tmp_path)): content for path, content in files.items()}

    return look


@pytest.fixture
def uri(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    return f"file://{tmp_path}/storage/deep"


@pytest.fixture
def stored(make_run, tmp_path):
    """An interrupted run in that storage, as the folder that it is there."""
    return make_run(tmp_path / "storage" / "deep" / "mine")


@pytest.fixture
def told(monkeypatch):
    """What a dry run is told of: its run's folder, and how far the run's trials are."""
    calls = []

    def tell_new(request, folder, *others):
        calls.append(folder)
        return 0

    def tell(run, prepared, session):
        calls.append([len(trial.evaluations) for trial in run.trials.values()])
        return 0

    monkeypatch.setattr(dry_run, "tell_new_sweep", tell_new)
    monkeypatch.setattr(dry_run, "_tell", tell)
    monkeypatch.setattr(dry_run, "settle_again", lambda *of_run: {})
    return calls


def test_a_storage_that_is_not_there_is_not_made(typed, uri, told, contents):
    before = contents()
    command = [*typed, "--space", "baselines", "--name", "mine", "--storage", uri, "--dry-run"]
    assert main(command) == 0
    assert [folder.name for folder in told] == ["mine"]
    assert contents() == before


@pytest.mark.usefixtures("stored")
def test_a_name_that_is_taken_in_the_storage_is_refused(typed, uri, contents, capsys):
    before = contents()
    command = [*typed, "--space", "baselines", "--name", "mine", "--storage", uri, "--dry-run"]
    assert main(command) == 2
    assert f"--name mine: {uri}/mine exists" in capsys.readouterr().err
    assert contents() == before


@pytest.mark.parametrize("copied", ["not at all", "as it was", "as it is", "and more"])
def test_a_run_in_a_storage_is_seen_and_its_copy_here_stays(stored, uri, told, contents, copied):
    """The newer of the two counts, as where it is gone on with."""
    copy = local_runs(uri) / "mine" if copied != "not at all" else None
    if copied == "as it was":
        shutil.copytree(stored.folder, copy)
    evaluate(stored)
    if copied in ("as it is", "and more"):
        shutil.copytree(stored.folder, copy)
    if copied == "and more":
        evaluate(read_run(copy))
    before = contents()
    assert main(["--resume", f"{uri}/mine", "--dry-run"]) == 0
    assert main(["--resume", "mine", "--storage", uri, "--dry-run"]) == 0
    assert told == [[2 if copied == "and more" else 1, 0]] * 2
    assert contents() == before


def evaluate(run):
    """The next evaluation of its first trial."""
    trial = next(iter(run.trials.values()))
    number = len(trial.evaluations) + 1
    values = {"evaluations": number, "accuracy": 0.5, "best5_accuracy": 0.5}
    event = {"event": "evaluation", "decision": "continue", "evaluation": values}
    run.append(event | {"trial": trial.config.digest})


@pytest.mark.slow
def test_new_sweep_is_told_and_nothing_is_left_behind(make_command, tmp_path):
    before = tree(tmp_path)
    command = [*make_command(tmp_path), "--space", "recipe", "--samples", "10", "--dry-run"]
    told = run(command)
    assert told.returncode == 0, told.stderr
    assert tree(tmp_path) == before
    for said in (
        r"then 6 more suggested by optuna",
        r"Time: about .* \(asha\), about .* \(fifo\), \d+ trial",
        r"Before that, estimated: about .* to fine-tune and score the teacher",
        r"Memory: \d+ x .*B = .*B of .*B free",
        r"Disk: at most .*B in .*; .*B more in the cache, which has 0 MB",
    ):
        assert re.search(said, told.stdout), told.stdout
    last = told.stdout.strip().splitlines()[-2:]
    assert last[0] == "Nothing was run. Start with:"
    assert last[1].split() == ["python", *command[1:-1]]
    assert sys.executable not in last[1]


@pytest.mark.slow
def test_what_is_left_of_a_run_is_told_and_it_stays_as_it_is(make_command, tmp_path):
    command = [*make_command(tmp_path), "--space", "baselines", "--name", "b"]
    done = run(command)
    assert done.returncode == 0, done.stderr
    storage = ["--storage", str(tmp_path / "runs")]
    resume = [*command[:3], "--resume", "b", *storage, "--dry-run"]
    before = tree(tmp_path)
    complete = run(resume)
    assert complete.returncode == 0, complete.stderr
    assert "complete; nothing left to run" in complete.stdout
    more = run(resume, "--seeds", "2")
    assert more.returncode == 0, more.stderr
    assert "5 more trial(s)" in more.stdout
    assert "seed 1" in more.stdout
    assert "Before that" not in more.stdout  # teacher and outputs are in the cache
    assert more.stdout.strip().splitlines()[-1].endswith("--seeds 2")
    assert tree(tmp_path) == before
