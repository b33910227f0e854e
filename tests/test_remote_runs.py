"""Runs in a storage: their local copies, which of the two is believed, and what is taken there."""

import io
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from rich.console import Console
from search.arguments import place_of_runs, storage_folder
from search.mirror import Mirror, copied_to_storage
from search.remote_runs import (
    SHARED,
    cache_here,
    fetch_run,
    fetch_students,
    is_uri,
    local_runs,
    open_storage,
    plain_uri,
    refuse_secrets,
    split_run,
    task_of,
    uri_of,
    where,
)
from trainable.arguments import default_cache
from trainable.lease import LEASE, Lease, LeaseLostError
from trainable.locks import locked
from trainable.remote import folder_here, share_folder
from trainable.storage import Storage
from trainable.task import Task

from search import mirror as mirror_module
from search.interruption import Interruption
from search.record import RECORD, create_run, read_run
from search.runs import find_run, refuse_existing, resume_command
from tests.conftest import remote_elsewhere
from trainable import lease as lease_module
from trainable.config import TrialConfig
from trainable.errors import UserError
from trainable.files import write_json
from trainable.pause import PAUSE

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
def console():
    return Console(file=io.StringIO(), width=120)


@pytest.fixture(autouse=True)
def quick_leases(monkeypatch):
    monkeypatch.setattr(lease_module, "SETTLE_SECONDS", 0)
    monkeypatch.setattr(lease_module, "LOOK_SECONDS", 0)


@pytest.fixture
def make_mirror(uri, console):
    def make(folder):
        storage = open_storage(uri).below("mine")
        lease = Lease(storage, folder, lambda why: None)
        lease.check = lambda: None  # nobody takes it
        return Mirror(folder, storage, console, lease)

    return make


@pytest.fixture
def mirror(run, make_mirror):
    return make_mirror(run.folder)


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


def test_a_copy_gives_way_where_the_run_went_on_elsewhere(
    run, mirror, make_mirror, uri, on_machine
):
    evaluate(run, CONFIGS[0], 1)
    mirror.sync()
    evaluate(run, CONFIGS[0], 2)  # lost with this machine
    on_machine("second")
    elsewhere = read_run(fetch_run(uri, "mine"))
    evaluate(elsewhere, CONFIGS[1], 1)
    make_mirror(elsewhere.folder).sync()
    on_machine("first")
    assert evaluations(fetch_run(uri, "mine")) == [1, 1, 0]


def test_a_copy_that_lacks_what_the_storage_has_is_not_taken_there(run, make_mirror, tmp_path):
    there = tmp_path / "storage" / "mine"
    elsewhere = read_run(Path(shutil.copytree(run.folder, tmp_path / "elsewhere")))
    evaluate(elsewhere, CONFIGS[1], 1)
    make_mirror(elsewhere.folder).sync()
    evaluate(run, CONFIGS[0], 1)
    before = {path: path.read_bytes() for path in there.rglob("*") if path.is_file()}
    with pytest.raises(UserError, match=r"RUN mine: .* has events that the copy in .* lacks"):
        make_mirror(run.folder).__enter__()
    assert {path: path.read_bytes() for path in there.rglob("*") if path.is_file()} == before


def test_a_line_that_a_kill_cut_short_is_nothing_that_a_mended_copy_lacks(
    run, mirror, make_mirror, there
):
    evaluate(run, CONFIGS[0], 1)
    record = run.folder / RECORD
    whole = record.read_bytes()
    record.write_bytes(whole + whole[:40])
    mirror.sync()
    record.write_bytes(whole)  # as `mend` leaves it
    evaluate(run, CONFIGS[0], 2)
    with make_mirror(run.folder):
        pass
    assert (there / RECORD).read_bytes() == record.read_bytes()


def test_a_copy_that_was_cut_short_is_made_anew(run, mirror, uri, on_machine, monkeypatch):
    write_json(run.folder / SHARED, {})
    evaluate(run, CONFIGS[0], 1)
    mirror.sync()
    on_machine("second")
    download = Storage.download

    def cut(self, name, path):
        if name == SHARED:
            raise OSError("killed")
        download(self, name, path)

    monkeypatch.setattr(Storage, "download", cut)
    with pytest.raises(UserError, match="killed"):
        fetch_run(uri, "mine")
    monkeypatch.setattr(Storage, "download", download)
    copy = fetch_run(uri, "mine")
    assert evaluations(copy) == [1, 0, 0]
    assert (copy / SHARED).is_file()


def test_the_record_comes_last(run, mirror, uri, on_machine, monkeypatch):
    evaluate(run, CONFIGS[0], 1)
    mirror.sync()
    on_machine("second")
    fetched, download = [], Storage.download

    def fetch(self, name, path):
        fetched.append(name)
        download(self, name, path)

    monkeypatch.setattr(Storage, "download", fetch)
    sizes = Storage.sizes
    monkeypatch.setattr(Storage, "sizes", lambda self: dict(sorted(sizes(self).items())))
    fetch_run(uri, "mine")
    assert len(fetched) == 3
    assert fetched[-1] == RECORD


def test_a_look_leaves_the_trials_that_this_node_trains(run, mirror, uri, on_machine):
    """Also where the run has gone on since the last look."""
    mirror.sync()
    on_machine("worker")
    assert evaluations(fetch_run(uri, "mine")) == [0, 0, 0]
    folder = remote_elsewhere(uri, "mine").folder / CONFIGS[0].folder_name
    folder.mkdir(parents=True)
    (folder / "state.safetensors").write_bytes(b"state")
    evaluate(run, CONFIGS[0], 1)
    mirror.sync()
    assert evaluations(fetch_run(uri, "mine")) == [1, 0, 0]
    assert (folder / "state.safetensors").read_bytes() == b"state"


# What must be made for a run.


def planned_with(cache, runs):
    return create_run(runs / "mine", {**PLAN, "requests": [{"cache": str(cache)}]}, CONFIGS)


def test_a_runs_cache_is_used_where_it_can_be_written_to(uri, on_machine, tmp_path):
    cache = tmp_path / "cache"
    cache.mkdir()
    assert cache_here(planned_with(cache, local_runs(uri))) == cache
    on_machine("second")
    cache.rmdir()
    assert cache_here(planned_with(cache, local_runs(uri))) == default_cache()
    assert default_cache().is_relative_to(tmp_path / "second")


def test_a_cache_that_was_cleared_is_filled_again(tmp_path):
    """By a run of this machine alone; one that nodes share may go on on a machine without it."""
    run = planned_with(tmp_path / "cache", tmp_path / "runs")
    assert cache_here(run) == tmp_path / "cache"
    write_json(run.folder / SHARED, {})
    assert cache_here(run) == default_cache()


# Students.


@pytest.fixture
def students(run, mirror, there):
    """One in the storage of each trial, of which the first has ended; their names."""
    mirror.sync()
    names = [f"{config.folder_name}/student-1.safetensors" for config in CONFIGS]
    for name in names:
        (there / name).parent.mkdir(exist_ok=True)
        (there / name).write_bytes(b"weights")
    for number in (1, 2):
        evaluate(run, CONFIGS[0], number)
    evaluate(run, CONFIGS[1], 1)
    mirror.sync()
    return names


def weights(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*.safetensors"))


def test_a_look_fetches_no_students(students, uri, on_machine):
    on_machine("second")
    folder = fetch_run(uri, "mine")
    assert (evaluations(folder), weights(folder)) == ([2, 1, 0], [])


def test_students_of_trials_that_have_ended_come_when_asked_for(students, uri, on_machine):
    on_machine("second")
    folder = fetch_run(uri, "mine")
    fetch_students(read_run(folder))
    assert weights(folder) == students[:1]
    assert (folder / students[0]).read_bytes() == b"weights"


def test_students_come_also_where_the_sweep_runs(students, run):
    with locked(run.folder, wait=False):
        fetch_students(run)
    assert weights(run.folder) == students[:1]


def test_a_student_that_is_removed_meanwhile_is_passed_over(students, run, there, monkeypatch):
    sizes = Storage.sizes

    def list_then_remove(self):
        found = sizes(self)
        (there / students[0]).unlink()
        return found

    monkeypatch.setattr(Storage, "sizes", list_then_remove)
    fetch_students(run)
    assert weights(run.folder) == []


def test_a_newer_copy_keeps_the_students_that_the_storage_has(
    students, run, mirror, uri, on_machine
):
    on_machine("second")
    folder = fetch_run(uri, "mine")
    fetch_students(read_run(folder))
    for gone in ("student-2.safetensors", "state.safetensors"):
        (folder / CONFIGS[0].folder_name / gone).write_bytes(b"")
    (folder / "left").mkdir()
    (folder / "left" / "file").touch()
    evaluate(run, CONFIGS[1], 2)
    mirror.sync()
    assert evaluations(fetch_run(uri, "mine")) == [2, 2, 0]
    assert weights(folder) == students[:1]
    assert not (folder / "left").exists()


def test_students_of_a_run_in_a_folder_are_there(tmp_path):
    run = create_run(tmp_path / "runs" / "mine", PLAN, CONFIGS)
    fetch_students(run)
    assert weights(run.folder) == []


# Which run is meant.


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


def test_a_run_given_by_its_uri_is_not_one_of_that_name_in_the_working_folder(
    mirror, uri, tmp_path, monkeypatch
):
    mirror.sync()
    create_run(tmp_path / "work" / "mine", PLAN, CONFIGS)
    monkeypatch.chdir(tmp_path / "work")
    assert find_run("--resume", f"{uri}/mine", Path("runs")) == local_runs(uri) / "mine"


SECRETS = [
    "s3://KEY:hidden@bucket/runs",
    "s3://KEY:hid/den@bucket/runs",
    "s3://KEY:12345@bucket",
    "abfs://:hidden@account.dfs.core.windows.net/c",
    "abfs://c@account.dfs.core.windows.net/runs?client_secret=hidden",
    "abfs://c@account.dfs.core.windows.net/runs?sv=2&sig=hidden",
]


@pytest.mark.parametrize("secret", SECRETS)
def test_a_uri_with_a_secret_is_refused_without_repeating_it(on_machine, tmp_path, secret):
    for flag, refused in (
        ("--storage", storage_folder),
        ("--storage", place_of_runs),
        ("RUN", lambda uri: find_run("RUN", f"{uri}/mine", Path("runs"))),
    ):
        with pytest.raises(UserError) as error:
            refused(secret)
        scheme, message = secret.partition(":")[0], str(error.value)
        assert message.startswith(f"{flag} {scheme}://...: has a password or key in it")
        assert [part for part in ("hid", "12345", "KEY:") if part in message] == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "uri",
    [
        "s3://bucket/a:b@c?region=r",
        "s3://bucket/runs?endpoint_override=localhost:9000",
        "hdfs://user@host:8020/runs",
        "hdfs://host:8020/user@x/runs",
        "abfs://container@account.dfs.core.windows.net/runs",
        "file:///a:b@c",
        "gs://anonymous@bucket/runs",
    ],
)
def test_a_uri_without_a_secret(uri):
    refuse_secrets("--storage", uri)


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


def test_a_session_more_takes_only_what_differs(run, mirror, make_mirror, monkeypatch):
    evaluate(run, CONFIGS[0], 1)
    (run.folder / "large.txt").write_text("x" * 1000)
    mirror.sync()
    again, taken = make_mirror(run.folder), []
    monkeypatch.setattr(again._storage, "upload", lambda path, name: taken.append(name))
    again.sync()
    assert sorted(taken) == [RECORD, "sweep.json"]


def test_changes_are_taken_while_the_sweep_runs(run, mirror, there, monkeypatch):
    monkeypatch.setattr(mirror_module, "LOOK_SECONDS", 0.01)
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
    monkeypatch.setattr(mirror_module, "LOOK_SECONDS", 0.01)
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


def test_a_storage_that_fails_in_another_way_is_told_once_until_it_succeeds(
    run, mirror, there, console, monkeypatch
):
    """Pyarrow's own errors are no OSErrors."""
    monkeypatch.setattr(mirror_module, "LOOK_SECONDS", 0.01)
    upload, failing, failed = mirror._storage.upload, [], []

    def fail(path, name):
        if failing:
            failed.append(name)
            raise ValueError("no such thing\nand more")
        upload(path, name)

    def until(holds):
        end = time.monotonic() + 10
        while not holds():
            assert time.monotonic() < end
            time.sleep(0.01)

    monkeypatch.setattr(mirror._storage, "upload", fail)
    with mirror:
        for number in (1, 2):
            failing.append(True)
            failed.clear()
            evaluate(run, CONFIGS[0], number)
            until(lambda: len(failed) > 3)
            failing.clear()
            wanted = (run.folder / RECORD).read_bytes()
            until(lambda: (there / RECORD).read_bytes() == wanted)  # noqa: B023
            until(lambda: not mirror._failing)
    said = (
        f"{mirror._storage.uri} gets nothing at present, tried again every few seconds: "
        "ValueError: no such thing\n"
    )
    assert console.file.getvalue() == 2 * said


@pytest.mark.parametrize("error", [KeyError("trials"), UserError("RUN mine: no plan")])
def test_what_fails_at_the_end_is_an_oserror_whatever_it_is(run, mirror, monkeypatch, error):
    def fail(folder):
        raise error

    def leave():
        with mirror:
            monkeypatch.setattr(mirror_module, "read_run", fail)

    with pytest.raises(OSError, match=r"trials|RUN mine: no plan"):
        leave()


def test_what_ended_the_session_is_told_and_not_what_failed_then(mirror, monkeypatch):
    def leave():
        with mirror:
            monkeypatch.setattr(mirror, "sync", fail)
            raise UserError("--set nothing: no setting")

    def fail():
        raise OSError("no route")

    with pytest.raises(UserError, match="--set nothing"):
        leave()


def test_a_copy_without_its_record_can_be_mended_where_the_storage_has_none(run, mirror, there):
    """It was never reached; of the trials' own copies the record is made anew."""
    content = (run.folder / RECORD).read_bytes()
    (run.folder / RECORD).unlink()
    with mirror:
        (run.folder / RECORD).write_bytes(content)
    assert (there / RECORD).read_bytes() == content


def test_a_file_that_is_removed_meanwhile_is_passed_over(run, mirror, there, monkeypatch):
    upload = mirror._storage.upload
    (run.folder / "large.txt").touch()

    def remove_first(path, name):
        if name == "large.txt":
            path.unlink()
        upload(path, name)

    monkeypatch.setattr(mirror._storage, "upload", remove_first)
    mirror.sync()
    assert (there / "sweep.json").is_file()
    assert not (there / "large.txt").exists()


def test_what_a_killed_upload_left_is_removed_in_the_end(run, mirror, there):
    left = [there / f".{RECORD}.0123abcd", there / CONFIGS[0].folder_name / ".state-1.0123abcd"]
    with mirror:
        for path in left:
            path.parent.mkdir(exist_ok=True)
            path.touch()
    assert [path for path in left if path.exists()] == []


def test_a_run_in_a_folder_is_copied_nowhere(tmp_path, console):
    run = create_run(tmp_path / "runs" / "mine", PLAN, CONFIGS)
    before = sorted(tmp_path.rglob("*"))
    with copied_to_storage(run.folder, console, Interruption(console)):
        pass
    assert sorted(tmp_path.rglob("*")) == before


# One machine at a time.


@pytest.fixture
def elsewhere(run, mirror, uri, on_machine):
    """Another machine's copy, as of now; the first machine is the one we are on."""
    mirror.sync()
    on_machine("second")
    copy = read_run(fetch_run(uri, "mine"))
    on_machine("first")
    return copy


@pytest.fixture
def go_on_elsewhere(elsewhere, make_mirror, there):
    """Has it go on there; gives all that the storage has then."""

    def go_on():
        evaluate(elsewhere, CONFIGS[1], 1)
        make_mirror(elsewhere.folder).sync()
        return contents(there)

    return go_on


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_events_that_another_session_has_put_there_are_not_erased(
    run, mirror, go_on_elsewhere, there
):
    """Nor is anything of the first's taken there any more, its other files included."""
    before = go_on_elsewhere()
    evaluate(run, CONFIGS[0], 1)
    (run.folder / "more.txt").touch()
    with pytest.raises(LeaseLostError, match=r"mine has got events of another session"):
        mirror.sync()
    assert contents(there) == before
    assert "events of another session" in mirror._lease.lost
    (there / RECORD).unlink()  # not even where it could
    with pytest.raises(LeaseLostError):
        mirror.sync()
    assert not (there / RECORD).exists()
    assert evaluations(run.folder) == [1, 0, 0]


def test_a_session_that_finds_itself_not_alone_stops_taking_files_there(
    run, mirror, go_on_elsewhere, there, monkeypatch
):
    monkeypatch.setattr(mirror_module, "LOOK_SECONDS", 0.01)
    with mirror:
        before = go_on_elsewhere()
        evaluate(run, CONFIGS[0], 1)
        mirror._thread.join(30)
        assert not mirror._thread.is_alive()
        evaluate(run, CONFIGS[0], 2)
    assert contents(there) == before
    assert mirror._lease.lost
    assert mirror._console.file.getvalue() == ""


def test_a_session_whose_lease_is_lost_takes_nothing_there(run, mirror, there):
    with mirror:
        before = contents(there)
        evaluate(run, CONFIGS[0], 1)
        mirror._lease.lose("another has it")
    assert contents(there) == before


def test_a_run_that_another_machine_has_is_refused_at_its_next_renewal(
    run, elsewhere, there, console
):
    interruption = Interruption(console)
    told = []
    with copied_to_storage(run.folder, console, interruption):
        lease = (there / LEASE).read_bytes()

        class Told:
            def print(self, line, **options):
                told.append(line)
                (there / LEASE).write_bytes(lease.replace(b'"renewed": ', b'"renewed": 1'))

        before = (there / RECORD).read_bytes()
        with (
            pytest.raises(UserError) as refused,
            copied_to_storage(elsewhere.folder, Told(), interruption),
        ):
            pass
        assert (there / RECORD).read_bytes() == before
    holder = f"process {os.getpid()} on {socket.gethostname()}"
    assert str(refused.value) == (
        f"RUN file://{there}: {holder} is running it; wait for its end, or stop it first"
    )
    assert told == [
        f"file://{there}: {holder} has not ended its session; waiting up to 60 s to see whether "
        "it goes on."
    ]
    assert not (there / LEASE).exists()


def test_a_lease_is_no_content_of_a_run(run, elsewhere, there, on_machine, console):
    interruption = Interruption(console)
    with copied_to_storage(run.folder, console, interruption):
        evaluate(run, CONFIGS[0], 1)
    session = (run.folder / LEASE).read_text()
    with copied_to_storage(run.folder, console, interruption):
        assert session not in (there / LEASE).read_text()
        on_machine("second")
        folder = fetch_run(uri_of(elsewhere.folder.parent), "mine")
    assert folder == elsewhere.folder
    assert evaluations(folder) == [1, 0, 0]
    assert not (folder / LEASE).exists()
    assert not (there / LEASE).exists()


def test_a_copy_that_gives_way_knows_whose_lease_was_its_own(run, go_on_elsewhere, uri, console):
    with copied_to_storage(run.folder, console, Interruption(console)):
        pass
    before = (run.folder / LEASE).read_text()
    go_on_elsewhere()
    assert evaluations(fetch_run(uri, "mine")) == [0, 1, 0]
    assert (run.folder / LEASE).read_text() == before


def test_a_session_that_is_taken_over_pauses(run, there, console, monkeypatch):
    monkeypatch.setattr(lease_module, "RENEW_SECONDS", 0.01)
    paused = threading.Event()
    interruption = Interruption(console)
    interruption.attach(run.folder)
    pause = interruption.pause
    monkeypatch.setattr(interruption, "pause", lambda why: (pause(why), paused.set()))
    with copied_to_storage(run.folder, console, interruption):
        other = b'{"session": "other", "host": "far", "pid": 7}'
        for _ in range(1000):  # a renewal that is under way may still replace it
            Storage(f"file://{there}").write(LEASE, other)
            if paused.wait(0.03):
                break
        evaluate(run, CONFIGS[0], 1)
    assert interruption.problem == (
        f"file://{there}: process 7 on far has gone on with it, and this session takes nothing "
        "more there"
    )
    assert (run.folder / PAUSE).exists()
    assert (there / RECORD).read_bytes().count(b"\n") == 1
    assert b'"other"' in (there / LEASE).read_bytes()


def test_no_event_is_taken_there_after_another_session_has_taken_over(run, there, console):
    """Nor before the lease would have been renewed."""
    before = (run.folder / RECORD).read_bytes()
    interruption = Interruption(console)
    interruption.attach(run.folder)

    def go_on():
        with copied_to_storage(run.folder, console, interruption):
            lease = b'{"session": "other", "host": "far", "pid": 7}'
            Storage(f"file://{there}").write(LEASE, lease)
            evaluate(run, CONFIGS[0], 1)

    with pytest.raises(LeaseLostError, match="process 7 on far has gone on with it"):
        go_on()
    assert interruption.requested
    assert (there / RECORD).read_bytes() == before


def test_a_storage_that_fails_in_another_way_at_the_beginning_is_told_as_an_oserror(
    run, console, monkeypatch
):
    def fail(*arguments):
        raise ValueError("no such thing")

    monkeypatch.setattr(Storage, "read", fail)
    with (
        pytest.raises(OSError, match="ValueError: no such thing"),
        copied_to_storage(run.folder, console, Interruption(console)),
    ):
        pass


def test_students_are_not_fetched_for_a_session_that_an_error_ends(students, run, mirror):
    def fail():
        with mirror:
            raise UserError("a typo")

    with pytest.raises(UserError, match="a typo"):
        fail()
    assert weights(run.folder) == []


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
