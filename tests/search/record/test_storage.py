"""Runs at a URI: the record is copied there, by one session at a time, and found from elsewhere."""

import json
import os
import shutil
import socket
import subprocess
from dataclasses import asdict, replace
from pathlib import Path
from threading import Event
from types import SimpleNamespace

import pytest
from fsspec.implementations.memory import MemoryFileSystem
from pyarrow.fs import FSSpecHandler, PyFileSystem
from rich.console import Console

from search.record import run_folders, storage
from search.record.events import RECORD, decode, encode
from search.record.plan_file import SWEEP
from search.record.run import create_run, read_run
from search.record.run_folders import find_run, place_of_runs, refuse_existing, storage_folder
from search.record.storage import DIGESTS, RecordCopy, join_name, local_runs, location
from search.results.confirmation import Confirmation
from search.sweep.processes.shared_inputs import SHARED, inputs_on_this_node, share_inputs
from tests.conftest import user_error
from tests.made_runs import evaluated, finish, made_inputs, made_run, recipe, started
from trainable.common import files
from trainable.common.files import MANIFEST, verified_values, write_checked_json, write_manifest
from trainable.common.pause import PauseRequest
from trainable.config.training_inputs import Teacher

CONFIG = recipe(0, evaluations=3)
# In the place of pyarrow's FileSystem: an object store in this process's memory.
IN_MEMORY = PyFileSystem(FSSpecHandler(MemoryFileSystem()))
SOMEWHERE = SimpleNamespace(from_uri=lambda uri: (IN_MEMORY, uri.replace("memory:/", "")))


@pytest.fixture(params=["file", "memory"])
def uri(request, tmp_path, monkeypatch):
    """Of a storage, on a file system with folders and one without."""
    if request.param == "file":
        return f"file://{tmp_path}/storage/runs"
    monkeypatch.setattr(storage, "FileSystem", SOMEWHERE)
    return f"memory://bucket{tmp_path}/runs"


@pytest.fixture
def on_machine(tmp_path, monkeypatch):
    """Goes to a machine, which has a cache of its own."""

    def go(name):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / name))

    go("first")
    return go


@pytest.fixture
def run(uri, on_machine):
    return made_run(local_runs(uri) / "mine", [CONFIG])


def remote(run, name):
    """The file system, and the path of a run's file there."""
    filesystem, path = storage.open_storage(location(run.folder))
    return filesystem, f"{path}/{name}"


def there(run, name):
    return storage.read_bytes(*remote(run, name))


def put(run, name, content):
    storage.write_bytes(*remote(run, name), content)


def copied(run, *names):
    with RecordCopy(run.folder) as copy:
        copy.copy()
        for name in names:
            copy.copy(name)


def test_join_and_split():
    for of_runs, query in (("bucket/runs", ""), ("bucket", ""), ("bucket/runs", "?region=r&x=y")):
        uri, joined = f"s3://{of_runs}{query}", f"s3://{of_runs}/mine{query}"
        assert join_name(uri, "mine") == joined
        for written in (joined, joined.replace("mine", "mine/")):
            assert storage.split_run(written, "RUN") == (uri, "mine")
        assert storage.plain_uri(uri) == storage.plain_uri(join_name(uri, "")) == uri
    assert join_name("/a/b", "c") == "/a/b/c"


def test_a_uri_with_a_secret_is_refused_without_repeating_it(on_machine, tmp_path):
    for secret in (
        "s3://KEY:hidden@bucket/runs",
        "s3://KEY:hid/den@bucket/runs",
        "s3://KEY:12345@bucket",
        "abfs://:hidden@account.dfs.core.windows.net/c",
        "abfs://c@account.dfs.core.windows.net/runs?client_secret=hidden",
        "abfs://c@account.dfs.core.windows.net/runs?sv=2&sig=hidden",
    ):
        refused = [user_error(place, secret) for place in (storage_folder, place_of_runs)]
        refused.append(user_error(find_run, "RUN", f"{secret}/mine", tmp_path))
        said = f" {secret.partition(':')[0]}://...: has a password or key"
        flags = [message.partition(said)[0] for message in refused if said in message]
        assert flags == ["--storage", "--storage", "RUN"]
        shown = " ".join(refused)
        assert [part for part in ("hid", "12345", "KEY:") if part in shown] == []
    assert list(tmp_path.iterdir()) == []


def test_a_uri_without_a_secret():
    for uri in ("s3://bucket/a:b@c?region=r", "s3://b/runs?endpoint_override=localhost:9000"):
        storage.refuse_secrets("--storage", uri)
    for uri in ("hdfs://user@host:8020/runs", "hdfs://host:8020/user@x/runs"):
        storage.refuse_secrets("--storage", uri)
    for uri in ("abfs://container@account.dfs.core.windows.net/runs", "gs://anonymous@bucket/runs"):
        storage.refuse_secrets("--storage", uri)


def test_a_uri_that_can_not_be_used_or_does_not_answer_is_one_line(on_machine, monkeypatch):
    for uri in ("nowhere://bucket/runs", "://x", "file:///proc/runs"):
        assert user_error(storage_folder, uri).startswith(f"--storage {uri}: ")
    monkeypatch.setattr(storage, "ANSWER_SECONDS", 0.1)
    hanging = SimpleNamespace(from_uri=lambda uri: Event().wait(5))
    monkeypatch.setattr(storage, "FileSystem", hanging)
    said = user_error(storage_folder, "gs://far/runs")
    assert said.startswith("--storage gs://far/runs: no answer in ")


def test_record_and_what_pauses_are_there_as_they_are_here(run, uri):
    with RecordCopy(run.folder) as copy:
        for event in (started(CONFIG), evaluated(CONFIG, 1)):
            run.append(event)
            copy.copy()
            for name in (RECORD, SWEEP):
                assert there(run, name) == (run.folder / name).read_bytes()
        (run.folder / "answers.md").write_text("yes")
        copy.copy("answers.md")
        assert there(run, "answers.md") == b"yes"
        assert there(run, storage.SESSION_LOCK) is not None
        storage.request_pause(run.folder)
        assert there(run, ".pause") == b""
        if uri.startswith("file"):  # where the trials look
            assert PauseRequest(location(run.folder))
        for _ in range(2):  # the second has nothing to take back
            storage.withdraw_pause(run.folder)
            assert there(run, ".pause") is None
    assert there(run, storage.SESSION_LOCK) is None
    assert storage.remote_names(uri) == ["mine"]


def test_one_session_writes_at_a_time(run, uri):
    """A second is refused, the first notices a takeover, and a guard of no process gives way."""

    def held_by(**who):
        held = json.dumps({"session": "other", "host": "far", "pid": 7} | who).encode()
        put(run, storage.SESSION_LOCK, held)
        return held

    with RecordCopy(run.folder) as copy:
        copy.copy()
        before, held = there(run, RECORD), held_by()
        message = user_error(RecordCopy(run.folder).__enter__)
        assert message.startswith(f"RUN {uri}/mine: process 7 on far is running it; ")
        assert message.endswith(f"remove {uri}/mine/{storage.SESSION_LOCK}")
        run.append(started(CONFIG))
        with pytest.raises(OSError, match="another session has gone on with it"):
            copy.copy()
        assert there(run, RECORD) == before
    assert there(run, storage.SESSION_LOCK) == held  # which is not ours to take away
    (process := subprocess.Popen(["true"])).wait()
    held_by(host=socket.gethostname(), pid=process.pid)
    with RecordCopy(run.folder):
        assert json.loads(there(run, storage.SESSION_LOCK))["pid"] == os.getpid()
    held_by(host=socket.gethostname(), pid=os.getppid())
    assert f"process {os.getppid()} " in user_error(RecordCopy(run.folder).__enter__)


def test_run_is_found_from_another_machine_and_the_newer_record_counts(run, uri, on_machine):
    run.append(started(CONFIG))
    write_checked_json(run.folder / DIGESTS, {})
    copied(run, DIGESTS)
    run.append(evaluated(CONFIG, 1))  # which a kill kept from being copied
    assert storage.fetch_run(uri, "mine") == run.folder
    assert read_run(run.folder).trials == run.trials

    on_machine("second")
    for found in (f"{uri}/mine", f"{uri}/mine/", "mine"):
        folder = find_run("--resume", found, place_of_runs(uri))
        assert folder == local_runs(uri) / "mine" != run.folder
    said = user_error(find_run, "--resume", "yours", place_of_runs(uri))
    assert said == f"--resume yours: no run of that name; runs in {uri}: mine"
    shutil.rmtree(folder)  # its name is taken all the same
    said = user_error(refuse_existing, folder)
    assert said.startswith(f"--name mine: {uri}/mine exists; ")
    assert said.endswith(run_folders.resume_command(run.folder))
    assert said.endswith(f"--resume {uri}/mine")
    refuse_existing(local_runs(uri) / "yours")
    other = read_run(storage.fetch_run(uri, "mine"))
    assert [len(trial.evaluations) for trial in other.trials.values()] == [0]
    assert (folder / DIGESTS).is_file()
    other.append(started(CONFIG))
    copied(other)

    on_machine("first")
    assert read_run(storage.fetch_run(uri, "mine")).trials == other.trials  # what was here gave way
    assert not list(run.folder.glob(f"*/{RECORD}"))


def test_a_confirmation_that_another_machine_made_is_found(run, on_machine):
    copied(run)
    of = Confirmation("mine", run.plan.provenance.get("started"), (CONFIG,), (0.9,), (4, 5), (2,))
    plan = replace(run.plan, trials=tuple(of.trials()), confirms=asdict(of))
    on_machine("second")
    confirmation = create_run(local_runs(storage.uri_of(run.folder.parent)) / "other", plan)
    copied(confirmation)
    on_machine("first")
    (found,) = run_folders.confirmations_of(run)
    assert found.folder == run.folder.with_name("other")


@pytest.fixture
def grown(run, uri):
    """The run with three evaluations, all in the storage; and its record as lines."""
    run.append(started(CONFIG))
    finish(run, CONFIG)
    copied(run)
    return run, (run.folder / RECORD).read_bytes().splitlines(keepends=True)


@pytest.mark.parametrize("damage", ["", "an event", "all"])
def test_of_a_damaged_record_in_the_storage_the_copy_here_counts(grown, uri, capsys, damage):
    run, lines = grown
    damaged = {"": lines[:3], "an event": [*lines[:3], b"x\n", *lines[4:]], "all": [b"x\n"]}
    put(run, RECORD, b"".join(damaged[damage]))
    put(run, SWEEP, b"{")
    assert storage.fetch_run(uri, "mine") == run.folder
    said = f"{uri}/mine is damaged or older than {run.folder}, which counts.\n" if damage else ""
    assert capsys.readouterr().err == said
    assert (run.folder / RECORD).read_bytes() == b"".join(lines)
    found = read_run(run.folder)
    assert (found.trials, found.damage) == (run.trials, [])


def test_what_only_one_of_two_damaged_copies_has_is_kept(grown, uri, capsys):
    run, lines = grown
    put(run, RECORD, b"".join([*lines[:2], *lines[3:]]))
    (run.folder / RECORD).write_bytes(b"".join(lines[:4]))
    for copy in run.folder.glob(f"*/{RECORD}"):
        copy.unlink()
    found = read_run(storage.fetch_run(uri, "mine"))
    assert (found.trials, found.damage) == (run.trials, [])
    assert "is damaged or older" in capsys.readouterr().err


def test_a_copy_here_that_differs_is_kept_under_another_name(grown, uri, capsys):
    run, lines = grown
    before = {path: path.read_bytes() for path in run.folder.rglob("*.json*")}
    other = encode({**decode(lines[-1].strip()), "time": 0.0})
    for number in (1, 2):
        put(run, RECORD, b"".join([*lines[:-1], other]))
        aside = run.folder.with_name(f"mine.diverged-{number}")
        folder = storage.fetch_run(uri, "mine")
        said = f"{uri}/mine differs from its copy here, now {aside}.\n"
        assert capsys.readouterr().err == said
        assert (folder / RECORD).read_bytes().endswith(other)
        assert not read_run(folder).damage
        assert storage.fetch_run(uri, "mine") == folder
        assert capsys.readouterr().err == ""
        (folder / RECORD).write_bytes(b"".join(lines))  # and so once more
    first = run.folder.with_name("mine.diverged-1")
    assert {p: (first / p.relative_to(run.folder)).read_bytes() for p in before} == before
    assert find_run("RUN", "mine.diverged-1", place_of_runs(uri)) == first


@pytest.fixture
def shared(uri, on_machine, tmp_path):
    """A run in the storage whose inputs are three sealed folders of this machine."""
    places = [tmp_path / "first" / name for name in ("tokens", "teacher", "logits")]
    for place in places:
        (place / "deeper").mkdir(parents=True)
        (place / "deeper" / "file").write_text(place.name * 100)
        write_manifest(place, {"is": place.name})
    tokens, teacher, logits = map(str, places)
    of_teacher = Teacher(teacher, "d", False, 0.9, "", 1.0)
    inputs = made_inputs(tokens=tokens, teacher=of_teacher, outputs={"logits": logits})
    return made_run(local_runs(uri) / "mine", [CONFIG], inputs=inputs)


@pytest.mark.parametrize("sampled", [False, True])
def test_inputs_are_uploaded_once_fetched_by_digest_elsewhere_and_again_where_damaged(
    *, shared, uri, on_machine, tmp_path, monkeypatch, capsys, sampled
):
    """Also where the damage lies beside what is read of large files at each start."""
    before = shared.plan.inputs
    if sampled:
        monkeypatch.setattr(files, "SAMPLED_FROM", 1)
        monkeypatch.setattr(files, "digest_sample", lambda path: "the same")
        write_manifest(Path(before.tokens), {"is": "tokens"}, sampled=True)
    localise = share_inputs(shared, Console(width=300))
    assert f"Uploaded teacher and data to {uri}" in capsys.readouterr().out
    assert localise(before) == before  # this node has them
    share_inputs(shared, Console())
    assert capsys.readouterr().out == ""

    on_machine("second")
    kept, digests = (tmp_path / "first").rename(tmp_path / "kept"), localise.keywords["digests"]
    moved = inputs_on_this_node(before, storage=uri, digests=digests)
    assert [folder.is_relative_to(tmp_path / "second") for folder in moved.folders()] == [True] * 3
    kinds = [verified_values(folder)["is"] for folder in moved.folders()]
    assert kinds == ["tokens", "teacher", "logits"]
    shutil.rmtree(moved.tokens)
    assert localise(before) == moved  # fetched again

    filesystem, path = storage.open_storage(join_name(uri, f"{SHARED}/{digests[before.tokens]}"))
    storage.write_bytes(filesystem, f"{path}/deeper/file", b"other")
    shutil.rmtree(moved.tokens)
    with pytest.raises(OSError, match="is damaged; the next session uploads it again"):
        localise(before)
    assert storage.read_bytes(filesystem, f"{path}/{MANIFEST}") is None
    kept.rename(tmp_path / "first")
    share_inputs(shared, Console(quiet=True))
    (tmp_path / "first").rename(kept)
    assert verified_values(localise(before).folders()[0]) == {"is": "tokens"}
