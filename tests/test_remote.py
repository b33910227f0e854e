"""What a node fetches of a run in a storage: what is shared once, checkpoints that are newer."""

import multiprocessing
import os
from pathlib import Path

import pytest
from trainable.lease import LEASE, LeaseLostError
from trainable.remote import (
    SHARED,
    RemoteCheckpoints,
    folder_here,
    manifest_digest,
    share_folder,
)
from trainable.storage import Storage, runs_here

from tests.conftest import remote_elsewhere
from trainable.checkpoint import STATE, save_checkpoint, student_files
from trainable.folders import seal, sealed_values
from trainable.training_state import CheckpointError, read_header
from trainable.trial import Trial

SETTINGS = {"batch_size": 16, "evaluations": 3}  # 6 steps, evaluated after 2, 4 and 6


@pytest.fixture
def uri(tmp_path):
    return f"file://{tmp_path}/storage"


@pytest.fixture
def folder(tmp_path):
    """A sealed one, with a folder in it."""
    made = tmp_path / "made"
    (made / "inner").mkdir(parents=True)
    (made / "values").write_bytes(b"1234" * 1000)
    (made / "inner" / "more").write_bytes(b"5678")
    seal(made, {"seconds": 1.5})
    return made


@pytest.fixture(autouse=True)
def node(tmp_path, monkeypatch):
    """This node's cache folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "node"))
    return tmp_path / "node"


def contents(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def in_storage(uri, digest):
    return Path(uri.removeprefix("file://")) / SHARED / digest


# Shared folders.


def test_a_folder_is_uploaded_once_and_comes_to_a_node_as_it_is(uri, folder, node):
    digest, uploaded = share_folder(Storage(uri), folder)
    assert digest == manifest_digest(folder)
    assert uploaded == sum(map(len, contents(folder).values()))
    assert share_folder(Storage(uri), folder) == (digest, 0)
    told = []
    here = folder_here(uri, digest, told.append)
    assert here.is_relative_to(node)
    assert contents(here) == contents(folder)
    assert sealed_values(here) == {"seconds": 1.5}
    assert folder_here(uri, digest, told.append) == here
    assert [(said["fetched"], said["bytes"]) for said in told] == [(digest, uploaded)]


def fetch_and_tell(uri, digest, start, told):
    start.wait()
    folder_here(uri, digest, lambda said: told.put(os.getpid()))


def test_processes_of_a_node_fetch_once_between_them(uri, folder):
    digest, _ = share_folder(Storage(uri), folder)
    context = multiprocessing.get_context("fork")
    start, told = context.Event(), context.SimpleQueue()
    arguments = (uri, digest, start, told)
    processes = [context.Process(target=fetch_and_tell, args=arguments) for _ in range(6)]
    for process in processes:
        process.start()
    start.set()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * 6
    assert told.get() in [process.pid for process in processes]
    assert told.empty()


@pytest.mark.parametrize("name", ["values", "inner/more", "manifest.json"])
@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(b"5")])
def test_an_upload_that_was_cut_short_is_completed(uri, folder, name, damage):
    digest, _ = share_folder(Storage(uri), folder)
    damage(in_storage(uri, digest) / name)
    whole = not (in_storage(uri, digest) / "manifest.json").exists()  # what is there may be damaged
    paths = [path for path in folder.rglob("*") if path.is_file()] if whole else [folder / name]
    size = sum(path.stat().st_size for path in paths)
    assert share_folder(Storage(uri), folder) == (digest, size)
    assert contents(folder_here(uri, digest)) == contents(folder)


def test_what_a_storage_has_spoilt_is_refused_and_uploaded_again(uri, folder, node):
    digest, _ = share_folder(Storage(uri), folder)
    (in_storage(uri, digest) / "inner" / "more").write_bytes(b"5679")  # of the same size
    with pytest.raises(OSError, match="is damaged; the next session uploads it again"):
        folder_here(uri, digest)
    assert not list(node.rglob("content"))
    _, uploaded = share_folder(Storage(uri), folder)
    assert uploaded == sum(map(len, contents(folder).values()))
    assert contents(folder_here(uri, digest)) == contents(folder)
    assert share_folder(Storage(uri), folder) == (digest, 0)


# Checkpoints.


@pytest.fixture
def trial(task, make_config, cpu):
    return Trial.start(make_config(**SETTINGS), task, cpu)


@pytest.fixture
def on_node(uri, tmp_path):
    """A trial's checkpoints as a node with this folder sees them."""

    def make(name):
        folder = tmp_path / name / "trial"
        folder.mkdir(parents=True, exist_ok=True)
        return RemoteCheckpoints(Storage(uri).below("run").below("trial"), folder)

    return make


def save_after(trial, steps, checkpoints):
    for _ in range(steps):
        trial.advance()
    save_checkpoint(trial, checkpoints.folder)
    checkpoints.share()


def step_of(checkpoints):
    return read_header(checkpoints.folder / STATE)["step"]


def test_another_node_goes_on_from_what_the_first_has_shared(trial, on_node):
    first, second = on_node("first"), on_node("second")
    save_after(trial, 3, first)
    second.fetch()
    assert contents(second.folder)[STATE] == contents(first.folder)[STATE]


def test_the_storage_keeps_the_newest_state_and_the_best_student_only(trial, on_node):
    first = on_node("first")
    for _ in range(3):
        save_after(trial, 2, first)
    best = max(trial.history, key=lambda evaluation: evaluation.accuracy)
    assert set(first.storage.sizes()) == {
        "state-000000006.safetensors",
        f"student-{best.evaluations}.safetensors",
    }
    (student,) = student_files(first.folder)
    assert first.storage.read(student.name) == student.read_bytes()


def test_the_best_student_stays_when_the_trial_moves_to_another_node(trial, on_node, monkeypatch):
    first, second = on_node("first"), on_node("second")
    save_after(trial, 2, first)
    trial.history[0] = type(trial.history[0])(**{**trial.history[0].to_dict(), "accuracy": 1.0})
    save_after(trial, 2, second)
    assert set(second.storage.sizes()) == {
        "state-000000004.safetensors",
        "student-1.safetensors",
    }


def test_what_a_lost_node_left_of_its_uploads_is_removed(trial, on_node, tmp_path):
    """A record is the sweep's, which may be on its way there just now."""
    first = on_node("first")
    names = (".state-000000002.safetensors", ".student-1.safetensors", ".record.jsonl")
    folder = tmp_path / "storage" / "run" / "trial"
    folder.mkdir(parents=True)
    for name in names:
        (folder / f"{name}.0123abcd").write_bytes(b"half")
    save_after(trial, 2, first)
    assert first.storage.leftovers() == [".record.jsonl.0123abcd"]
    assert "state-000000002.safetensors" in first.storage.sizes()


def test_a_nodes_own_state_stands_where_it_is_as_new(trial, on_node):
    first, second = on_node("first"), on_node("second")
    save_after(trial, 2, first)
    second.fetch()
    before = (second.folder / STATE).stat().st_ino
    second.fetch()
    assert (second.folder / STATE).stat().st_ino == before
    save_after(trial, 2, first)
    second.fetch()
    assert step_of(second) == 4
    first.fetch()
    assert step_of(first) == 4


def test_an_upload_that_a_lost_node_cut_short_leaves_the_state_before(trial, on_node):
    first, second = on_node("first"), on_node("second")
    save_after(trial, 2, first)
    whole = first.storage.read("state-000000002.safetensors")
    first.storage.write("state-000000004.safetensors", whole[: len(whole) // 2])
    second.fetch()
    assert step_of(second) == 2


def test_nothing_in_the_storage(on_node):
    first = on_node("first")
    first.fetch()
    with pytest.raises(CheckpointError, match="missing"):
        read_header(first.folder / STATE)


@pytest.mark.parametrize(("error", "left"), [(None, False), (SystemExit, False), (OSError, True)])
def test_a_node_keeps_its_copies_only_where_an_error_may_keep_them_from_the_storage(
    trial, on_node, error, left
):
    first = on_node("first")
    try:
        with first:
            save_after(trial, 2, first)
            if error is not None:
                raise error
    except (OSError, SystemExit):
        pass
    assert bool(list(first.folder.glob("*.safetensors"))) == left
    assert "state-000000002.safetensors" in first.storage.sizes()


def test_nothing_is_shared_once_another_session_has_the_run(trial, uri, tmp_path):
    run = Storage(uri).below("run")
    run.write(LEASE, b'{"session": "mine"}')
    remote = remote_elsewhere(uri, "run", session="mine")
    (tmp_path / "trial").mkdir()
    checkpoints = remote.checkpoints(tmp_path / "trial")
    save_after(trial, 2, checkpoints)
    before = checkpoints.storage.sizes()
    assert "state-000000002.safetensors" in before
    run.write(LEASE, b'{"session": "other", "host": "far", "pid": 7}')
    with pytest.raises(LeaseLostError, match="process 7 on far has gone on with it"):
        save_after(trial, 2, checkpoints)
    assert checkpoints.storage.sizes() == before
    assert step_of(checkpoints) == 4


# The whole.


@pytest.fixture
def remote(uri, task):
    """The run as seen from here; whether this is its home, and what was fetched, is in `told`."""
    told = {"home": False, "fetched": []}
    shared = {str(f): share_folder(Storage(uri), f)[0] for f in task.folders()}
    at_home, note = lambda: told["home"], told["fetched"].append
    return remote_elsewhere(uri, "run", shared=shared, at_home=at_home, note=note), told


def test_only_home_has_its_trials_in_the_copy_of_the_run(remote, uri, node):
    seen, told = remote
    assert not seen.folder.is_relative_to(runs_here(uri))
    assert seen.folder.is_relative_to(node)
    told["home"] = True
    assert seen.folder == runs_here(uri) / "run"


def test_home_uses_what_it_has_made(remote, task):
    seen, told = remote
    told["home"] = True
    assert seen.task_here(task) == task
    assert told["fetched"] == []


def test_another_node_trains_on_what_it_has_fetched(remote, task, make_config, cpu, node):
    seen, told = remote
    there = seen.task_here(task)
    assert [said["fetched"] for said in told["fetched"]] == list(seen.shared.values())
    assert seen.task_here(task) == there
    assert len(told["fetched"]) == len(task.folders())
    assert all(folder.is_relative_to(node) for folder in there.folders())
    config = make_config(**SETTINGS)
    here, elsewhere = (list(Trial.start(config, at, cpu).run()) for at in (task, there))
    assert [e.accuracy for e in here] == [e.accuracy for e in elsewhere]
    assert [e.loss for e in here] == [e.loss for e in elsewhere]
