"""Runs in a storage: their local copies, which of the two is believed, and what is taken there."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from search import remote_runs
from search.arguments import place_of_runs, storage_folder
from search.record import RECORD, create_run, read_run
from search.remote_runs import (
    SHARED,
    Mirror,
    copied_to_storage,
    fetch_run,
    is_uri,
    local_runs,
    open_storage,
    plain_uri,
    split_run,
    task_of,
    uri_of,
    where,
)
from search.runs import find_run, refuse_existing, resume_command
from trainable.config import TrialConfig
from trainable.errors import UserError
from trainable.files import write_json
from trainable.locks import locked
from trainable.remote import folder_here, share_folder
from trainable.task import Task

CONFIGS = [TrialConfig(alpha=alpha, evaluations=2) for alpha in (0.25, 0.5, 0.75)]
PLAN = {"task": {"pad_id": 0}, "keep": 1}


@pytest.fixture
def uri(tmp_path):
    return f"file://{tmp_path}/storage"


@pytest.fixture
def there(tmp_path):
    """The run in the storage, as a folder."""
    return tmp_path / "storage" / "mine"


@pytest.fixture
def on_machine(tmp_path, monkeypatch):
    """Goes to a machine of that name: one with another cache folder."""

    def go(name):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / name))

    go("first")
    return go


@pytest.fixture
def run(uri, on_machine):
    """A run of the first machine's."""
    return create_run(local_runs(uri) / "mine", PLAN, CONFIGS)


@pytest.fixture
def mirror(run, uri):
    return Mirror(run.folder, open_storage(uri).below("mine"))


def evaluate(run, config, number, accuracy=0.5):
    values = {"evaluations": number, "accuracy": accuracy, "best5_accuracy": accuracy}
    event = {"event": "evaluation", "decision": "continue", "evaluation": values}
    run.append(event | {"trial": config.digest})


def evaluations(folder):
    return [len(trial.evaluations) for trial in read_run(folder).trials.values()]


@pytest.mark.parametrize(
    ("text", "expected"),
    [("s3://b/r", True), ("file:///r", True), ("runs", False), ("/a/b", False), ("a:b", False)],
)
def test_is_uri(text, expected):
    assert is_uri(text) == expected


@pytest.mark.parametrize(
    ("text", "storage", "name"),
    [
        ("s3://bucket/runs/mine", "s3://bucket/runs", "mine"),
        ("s3://bucket/mine/?region=r", "s3://bucket?region=r", "mine"),
        ("file:///a/b/mine", "file:///a/b", "mine"),
    ],
)
def test_a_run_by_its_own_uri(text, storage, name):
    assert split_run(text) == (storage, name)


def test_a_closing_slash_makes_no_other_storage(on_machine, uri):
    assert plain_uri(uri + "/") == uri
    assert place_of_runs(uri + "/") == place_of_runs(uri) == storage_folder(uri)


def test_a_folder_of_copies_knows_its_storage(run, uri, tmp_path):
    assert uri_of(run.folder.parent) == uri
    assert uri_of(tmp_path) is None
    other = local_runs(uri + "x")
    assert (uri_of(other), other == run.folder.parent) == (uri + "x", False)


def test_where_a_run_lies_is_its_uri_and_its_copy(run, uri, tmp_path):
    assert where(run.folder) == f"{uri}/mine, a copy in {run.folder}"
    assert where(tmp_path / "runs" / "mine") == f"{tmp_path}/runs/mine"


def test_the_command_that_resumes_names_the_uri(run, uri):
    assert resume_command(run.folder) == f"python -m search.run --resume {uri}/mine"


# Which of the two is believed.


def test_another_machine_gets_the_run_as_the_storage_has_it(run, mirror, uri, on_machine):
    evaluate(run, CONFIGS[0], 1)
    mirror.sync()
    evaluate(run, CONFIGS[0], 2)  # not taken there any more
    on_machine("second")
    folder = fetch_run(uri, "mine")
    assert folder != run.folder
    assert evaluations(folder) == [1, 0, 0]
    assert read_run(folder).sweep == run.sweep


def test_a_copy_that_is_ahead_stays(run, mirror, uri):
    evaluate(run, CONFIGS[0], 1)
    mirror.sync()
    evaluate(run, CONFIGS[0], 2)
    assert fetch_run(uri, "mine") == run.folder
    assert evaluations(run.folder) == [2, 0, 0]


def test_a_copy_gives_way_where_the_run_went_on_elsewhere(run, mirror, uri, on_machine):
    evaluate(run, CONFIGS[0], 1)
    mirror.sync()
    evaluate(run, CONFIGS[0], 2)  # lost with this machine
    on_machine("second")
    elsewhere = read_run(fetch_run(uri, "mine"))
    evaluate(elsewhere, CONFIGS[1], 1)
    Mirror(elsewhere.folder, open_storage(uri).below("mine")).sync()
    on_machine("first")
    assert evaluations(fetch_run(uri, "mine")) == [1, 1, 0]


def test_a_copy_that_is_in_use_is_left_alone(run, mirror, uri, there):
    mirror.sync()
    (there / RECORD).write_bytes(b'{"event": "other"}\n')
    before = (run.folder / RECORD).read_bytes()
    with locked(run.folder, wait=False):
        assert fetch_run(uri, "mine") == run.folder
    assert (run.folder / RECORD).read_bytes() == before


def test_found_by_name_by_uri_and_by_path(run, mirror, uri, on_machine):
    mirror.sync()
    on_machine("second")
    folder = find_run("--resume", "mine", place_of_runs(uri))
    assert find_run("--resume", f"{uri}/mine", Path("runs")) == folder
    assert find_run("--resume", f"{uri}/mine/", Path("runs")) == folder
    on_machine("first")
    evaluate(run, CONFIGS[0], 1)
    mirror.sync()
    assert evaluations(find_run("--resume", str(folder), Path("runs"))) == [1, 0, 0]


def test_a_run_that_is_not_there(run, mirror, uri, on_machine):
    mirror.sync()
    on_machine("second")
    for name, storage in (("yours", place_of_runs(uri)), (f"{uri}/yours", Path("runs"))):
        with pytest.raises(UserError) as error:
            find_run("--resume", name, storage)
        assert str(error.value) == f"--resume yours: no such run in {uri}; there: mine"


def test_a_name_that_is_taken_in_the_storage_is_refused(run, mirror, uri, on_machine):
    mirror.sync()
    on_machine("second")
    with pytest.raises(UserError, match=f"--name mine: {uri}/mine exists; .*--resume {uri}/mine"):
        refuse_existing(local_runs(uri) / "mine")
    refuse_existing(local_runs(uri) / "yours")


# What is taken there.


def test_only_what_changed_is_taken_and_nothing_hidden_or_heavy(run, mirror, there, monkeypatch):
    taken, upload = [], mirror._storage.upload
    monkeypatch.setattr(
        mirror._storage, "upload", lambda path, name: (taken.append(name), upload(path, name))
    )
    folder = run.trial_folder(run.trials[CONFIGS[0].digest])
    evaluate(run, CONFIGS[0], 1)
    (run.folder / ".pause").touch()
    (folder / "state.safetensors").write_bytes(b"heavy")
    (folder / "result.json").write_text("{}\n")
    mirror.sync()
    assert taken[0] == RECORD
    assert set(taken) == {
        RECORD,
        "sweep.json",
        *(f"{folder.name}/{name}" for name in (RECORD, "result.json")),
    }
    taken.clear()
    mirror.sync()
    assert taken == []
    evaluate(run, CONFIGS[0], 2)
    mirror.sync()
    assert taken == [RECORD, f"{folder.name}/{RECORD}"]
    assert (there / RECORD).read_bytes() == (run.folder / RECORD).read_bytes()


def test_a_session_more_takes_only_what_differs(run, mirror, uri, monkeypatch):
    evaluate(run, CONFIGS[0], 1)
    (run.folder / "large.txt").write_text("x" * 1000)
    mirror.sync()
    again, taken = Mirror(run.folder, open_storage(uri).below("mine")), []
    monkeypatch.setattr(again._storage, "upload", lambda path, name: taken.append(name))
    again.sync()
    assert sorted(taken) == [RECORD, "sweep.json"]


def test_changes_are_taken_while_the_sweep_runs(run, mirror, there, monkeypatch):
    monkeypatch.setattr(remote_runs, "LOOK_SECONDS", 0.01)
    synced, sync = threading.Event(), mirror.sync

    def sync_and_tell():
        sync()
        if len((there / RECORD).read_bytes()) > before:
            synced.set()

    before = len((run.folder / RECORD).read_bytes())
    monkeypatch.setattr(mirror, "sync", sync_and_tell)
    with mirror:
        evaluate(run, CONFIGS[0], 1)
        assert synced.wait(10)
    assert (there / RECORD).read_bytes() == (run.folder / RECORD).read_bytes()


def test_weights_that_are_needed_no_more_are_removed_there(run, mirror, there, uri):
    """As `prune` has it: of trials that ended, the best student (keep is 1), and no state."""
    folders = [run.trial_folder(run.trials[config.digest]).name for config in CONFIGS]
    for name in folders:
        (there / name).mkdir(parents=True)
        for file in ("state-000000002.safetensors", "student-1.safetensors"):
            (there / name / file).write_bytes(b"weights")
    for config, accuracy in zip(CONFIGS[:2], (0.5, 0.75), strict=True):
        evaluate(run, config, 1, accuracy)
        evaluate(run, config, 2, accuracy)
    with mirror:
        pass
    left = {str(path.relative_to(there)) for path in there.glob("*/*.safetensors")}
    assert left == {
        f"{folders[1]}/student-1.safetensors",
        f"{folders[2]}/student-1.safetensors",
        f"{folders[2]}/state-000000002.safetensors",
    }
    assert (run.folder / folders[1] / "student-1.safetensors").read_bytes() == b"weights"
    assert not list(run.folder.glob("*/state*"))


def test_a_storage_that_fails_for_a_while_gets_all_in_the_end(run, mirror, there, monkeypatch):
    monkeypatch.setattr(remote_runs, "LOOK_SECONDS", 0.01)
    failed, upload, failing = threading.Event(), mirror._storage.upload, []

    def fail(path, name):
        if failing:
            failed.set()
            raise OSError("no route")
        upload(path, name)

    monkeypatch.setattr(mirror._storage, "upload", fail)
    with mirror:
        failing.append(True)
        evaluate(run, CONFIGS[0], 1)
        assert failed.wait(10)
        failing.clear()
    assert (there / RECORD).read_bytes() == (run.folder / RECORD).read_bytes()


def test_a_storage_that_fails_at_the_end_is_told(run, mirror, monkeypatch):
    def fail(path, name):
        raise OSError("no route")

    mirror.sync()
    monkeypatch.setattr(mirror._storage, "upload", fail)
    evaluate(run, CONFIGS[0], 1)
    with pytest.raises(OSError, match="no route"):
        mirror.sync()


def test_a_run_in_a_folder_is_copied_nowhere(tmp_path):
    run = create_run(tmp_path / "runs" / "mine", PLAN, CONFIGS)
    before = sorted(tmp_path.rglob("*"))
    with copied_to_storage(run.folder):
        pass
    assert sorted(tmp_path.rglob("*")) == before


# What trials share, on another machine.


def test_what_trials_share_comes_from_the_storage_where_it_is_gone(task, uri, on_machine):
    run = create_run(local_runs(uri) / "mine", {"task": task.to_dict(), "keep": 1}, CONFIGS)
    digests = {str(f): share_folder(open_storage(uri), f)[0] for f in task.folders()}
    write_json(run.folder / SHARED, digests)
    assert task_of(run) == task  # it is all here

    tokens, digest = task.tokens, digests.pop(task.tokens)
    gone = Task.from_dict({**task.to_dict(), "tokens": "/gone"})
    run.sweep["task"] = gone.to_dict()
    write_json(run.folder / SHARED, {**digests, "/gone": digest})
    found = task_of(run)
    assert Path(found.tokens) == folder_here(uri, digest)
    assert (found.teacher, found.outputs) == (task.teacher, task.outputs)
    assert {p.name for p in Path(tokens).iterdir()} == {
        p.name for p in Path(found.tokens).iterdir()
    }

    write_json(run.folder / SHARED, {**digests, "/gone": "0" * 16})
    assert task_of(run) == gone


LOOK = """
import sys
from pathlib import Path
from search.record import read_run
from search.runs import find_run
print(len(read_run(find_run("RUN", sys.argv[1], Path("runs"))).trials))
print({"ray", "torch", "transformers"} & set(sys.modules))
"""


def test_looking_at_a_run_needs_neither_ray_nor_torch(run, mirror, uri, on_machine, repository):
    mirror.sync()
    on_machine("second")
    done = subprocess.run(
        [sys.executable, "-c", LOOK, f"{uri}/mine"],
        cwd=repository,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.splitlines() == ["3", "set()"]
