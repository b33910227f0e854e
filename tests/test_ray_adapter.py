"""What Tune gets to see of a trial, without Ray: which results, when, and how it ends."""

import shutil
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from trainable.locks import LOCK, LockedError, locked
from trainable.ray_adapter import DISK, DIVERGED, OUT_OF_MEMORY, REASON, TROUBLE, train_student
from trainable.remote import share_folder
from trainable.saving import Saver
from trainable.storage import Storage

from tests.conftest import remote_elsewhere
from trainable import pause, ray_adapter, saving
from trainable.checkpoint import STATE, student_files, write_checkpoint
from trainable.config import TrialConfig
from trainable.errors import TrainingDivergedError
from trainable.pause import PAUSE
from trainable.training_state import read_header
from trainable.trial import EVALUATION_KEYS, Trial

OURS = TrialConfig(
    alpha=0.5,
    aligned_layers="1,2",
    student_layers=2,
    learning_rate=3e-3,
    batch_size=16,
    epochs=2,  # of 6 steps: the first ends within an interval
    evaluations=5,
)
EVALUATED = [2, 4, 7, 9, 12]  # after which of its 12 steps
CLOCKS = {"training_seconds", "evaluation_seconds", "saving_seconds", "trained_seconds"}
HOLD = """
import sys, time
from pathlib import Path
from trainable.locks import locked
with locked(Path(sys.argv[1]), wait=False):
    print("holds", flush=True)
    time.sleep(60)
"""


@pytest.fixture(scope="module")
def whole(task, tmp_path_factory):
    """The results of a trial that nothing interrupts, and its folder."""
    run, found = tmp_path_factory.mktemp("whole"), []
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(ray_adapter.tune, "report", found.append)
        train_student(OURS.to_dict(), task.to_dict(), run, lambda digest: 0)
    return found, run / OURS.folder_name


@pytest.fixture
def results():
    """All that was reported, in order."""
    return []


@pytest.fixture
def train(task, tmp_path, monkeypatch, results):
    """Trains as Tune would where the run has `recorded` evaluations; gives this call's results."""

    def run(config=OURS, recorded=0, folder=tmp_path, on_report=None):
        before = len(results)

        def report(result):
            results.append(result)
            if on_report is not None:
                on_report(result)

        monkeypatch.setattr(ray_adapter.tune, "report", report)
        recorded_of = {config.digest: recorded}
        train_student(config.to_dict(), task.to_dict(), folder, recorded_of.__getitem__)
        return results[before:]

    return run


@pytest.fixture
def trial(tmp_path):
    """The folder of our trial in `tmp_path`."""
    return tmp_path / OURS.folder_name


@pytest.fixture
def finished(whole, trial):
    """The same, where it is there already and finished."""
    return Path(shutil.copytree(whole[1], trial))


@pytest.fixture
def at_step(monkeypatch):
    """Has something done after a trial's n-th step, before anything is saved or reported."""
    advance = Trial.advance

    def arrange(step, act):
        def advance_and_act(trial):
            evaluation = advance(trial)
            if trial.step == step:
                act()
            return evaluation

        monkeypatch.setattr(Trial, "advance", advance_and_act)

    return arrange


def numbers(found):
    """Results without their clocks."""
    return [{key: value for key, value in one.items() if key not in CLOCKS} for one in found]


def without_clocks(header):
    return {
        **{key: value for key, value in header.items() if key not in CLOCKS},
        "history": numbers(header["history"]),
    }


def counts(found):
    return [result["evaluations"] for result in found]


def assert_same_end(folder, other):
    """Two trials' folders hold the same, but for the clocks."""
    assert without_clocks(read_header(folder / STATE)) == without_clocks(read_header(other / STATE))
    files = [STATE, *(path.name for path in student_files(other))]
    assert [path.name for path in student_files(folder)] == files[1:]
    for name in files:
        tensors, others = load_file(folder / name), load_file(other / name)
        assert tensors.keys() == others.keys()
        assert [key for key in others if not torch.equal(tensors[key], others[key])] == []


def assert_unlocked_and_tidy(folder):
    with locked(folder, wait=False):
        assert [path.name for path in folder.glob(".*")] == [LOCK]


def test_every_evaluation_is_reported_as_the_trial_gives_it(whole, task, cpu):
    expected = [evaluation.to_dict() for evaluation in Trial.start(OURS, task, cpu).run()]
    for count, (result, evaluation) in enumerate(zip(whole[0], expected, strict=True), start=1):
        assert list(result) == [*EVALUATION_KEYS, "saving_seconds", "training_iteration"]
        assert result["training_iteration"] == result["evaluations"] == count
        assert numbers([result]) == numbers([evaluation | {"training_iteration": count}])
    assert [result["step"] for result in whole[0]] == EVALUATED


@pytest.mark.parametrize("evaluations", [5, 12])
def test_an_evaluation_is_reported_when_its_checkpoint_is_on_disk(
    train, evaluations, monkeypatch, tmp_path
):
    config = replace(OURS, evaluations=evaluations)
    trial = tmp_path / config.folder_name

    def write_late(snapshot, folder):
        time.sleep(0.02)
        write_checkpoint(snapshot, folder)

    def look_at_disk(result):
        history = read_header(trial / STATE)["history"]
        assert history[result["evaluations"] - 1].items() <= result.items()
        best = max(history, key=lambda evaluation: evaluation["accuracy"])
        assert best in [read_header(path)["evaluation"] for path in student_files(trial)]

    monkeypatch.setattr(saving, "write_checkpoint", write_late)
    assert counts(train(config, on_report=look_at_disk)) == list(range(1, evaluations + 1))


def test_each_result_tells_how_long_training_stood_still_for_its_checkpoint(train, monkeypatch):
    save = Saver.save

    def save_slowly(saver, trial):
        save(saver, trial)
        saver.held_seconds += 100.0

    monkeypatch.setattr(Saver, "save", save_slowly)
    assert [int(result["saving_seconds"]) for result in train()] == [100] * 5


@pytest.mark.parametrize("recorded", [0, 3, 7])
def test_what_the_checkpoint_has_and_the_run_lacks_is_reported_again(
    train, whole, finished, recorded
):
    again = train(recorded=recorded)
    assert again == [{**result, "saving_seconds": 0.0} for result in whole[0][recorded:]]
    assert (finished / STATE).read_bytes() == (whole[1] / STATE).read_bytes()


def test_after_what_is_reported_again_training_goes_on(train, whole, results, trial):
    with pytest.raises(SystemExit):
        train(on_report=stop_after(3))
    results.clear()
    assert numbers(train(recorded=1)) == numbers(whole[0][1:])
    assert_same_end(trial, whole[1])


def test_paused_at_any_step_it_goes_on_to_what_it_would_have_become(
    train, whole, at_step, tmp_path, monkeypatch
):
    monkeypatch.setattr(pause, "LOOK_SECONDS", 0.0)
    for step in (1, 2, 6, 12):
        run = tmp_path / str(step)
        run.mkdir()
        trial = run / OURS.folder_name
        at_step(step, (run / PAUSE).touch)
        found = train(folder=run)
        assert [result["step"] for result in found] == [s for s in EVALUATED if s <= step]
        assert read_header(trial / STATE)["step"] == step
        assert len(student_files(trial)) == (step > 1)
        assert_unlocked_and_tidy(trial)
        (run / PAUSE).unlink()
        found += train(folder=run, recorded=len(found))
        assert numbers(found) == numbers(whole[0])
        assert_same_end(trial, whole[1])


def test_paused_again_and_again_it_still_becomes_that(
    *, train, whole, at_step, tmp_path, monkeypatch, results, trial
):
    monkeypatch.setattr(pause, "LOOK_SECONDS", 0.0)
    for step in (3, 5, 6, 8, 12):
        at_step(step, (tmp_path / PAUSE).touch)
        train(recorded=len(results))
        assert read_header(trial / STATE)["step"] == step
        (tmp_path / PAUSE).unlink()
    assert numbers(results) == numbers(whole[0])
    assert_same_end(trial, whole[1])


def test_a_trial_that_starts_in_a_pause_leaves_no_trace(train, tmp_path):
    (tmp_path / PAUSE).touch()
    assert train() == []
    assert [path.name for path in tmp_path.iterdir()] == [PAUSE]


def stop_after(count):
    """As the scheduler stops a trial: from within its report."""

    def stop(result):
        if result["evaluations"] == count:
            raise SystemExit

    return stop


def test_the_schedulers_stop_unwinds_and_gives_the_lock_back(train, whole, results, trial):
    with pytest.raises(SystemExit):
        train(on_report=stop_after(3))
    assert numbers(results) == numbers(whole[0][:3])
    assert_unlocked_and_tidy(trial)
    assert len(read_header(trial / STATE)["history"]) == 3


def test_the_schedulers_stop_may_come_as_an_evaluation_is_reported_again(train, results, finished):
    with pytest.raises(SystemExit):
        train(recorded=2, on_report=stop_after(3))
    assert counts(results) == [3]
    assert_unlocked_and_tidy(finished)


@pytest.mark.parametrize("length", [1000, -1])
def test_a_damaged_trial_starts_anew(train, whole, finished, length):
    (finished / STATE).write_bytes((finished / STATE).read_bytes()[:length])
    assert numbers(train()) == numbers(whole[0])
    assert_same_end(finished, whole[1])


def test_a_trial_without_its_state_starts_anew(train, whole, finished):
    """And its students of before are no longer there."""
    (finished / STATE).unlink()
    (finished / "student-99.safetensors").write_bytes(b"of a longer trial")
    assert numbers(train()) == numbers(whole[0])
    assert_same_end(finished, whole[1])


def test_what_a_kill_left_half_written_is_removed(train, finished):
    (finished / f".{STATE}.0123abcd").write_bytes(b"half")
    train(recorded=5)
    assert_unlocked_and_tidy(finished)


def test_it_waits_until_a_killed_sweeps_trial_has_ended(train, finished, repository):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(finished)],
        cwd=repository,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout.readline() == "holds\n"
    start = time.monotonic()
    threading.Timer(0.3, holder.kill).start()
    found = train(recorded=4)
    assert time.monotonic() - start > 0.3
    holder.communicate()
    assert counts(found) == [5]


def test_the_lock_is_held_whenever_something_is_reported(train, finished):
    def look(result):
        with pytest.raises(LockedError), locked(finished, wait=False):
            pytest.fail("not locked")

    assert counts(train(recorded=3, on_report=look)) == [4, 5]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_diverged_trial_says_so(train, results, tmp_path):
    config = replace(OURS, learning_rate=1e30)
    with pytest.raises(TrainingDivergedError) as caught:
        train(config)
    assert results == [{TROUBLE: DIVERGED, REASON: str(caught.value)}]
    assert str(caught.value).startswith("loss is ")
    assert_unlocked_and_tidy(tmp_path / config.folder_name)


def test_a_full_disk_says_so_and_costs_what_came_after_the_last_checkpoint(
    *, train, whole, results, monkeypatch, trial
):
    def write_twice(snapshot, folder):
        if len(snapshot.header["history"]) > 2:
            raise OSError(28, "No space left on device")
        write_checkpoint(snapshot, folder)

    with monkeypatch.context() as full_disk:
        full_disk.setattr(saving, "write_checkpoint", write_twice)
        with pytest.raises(OSError, match="No space left"):
            train()
    assert numbers(results[:-1]) == numbers(whole[0][:2])
    assert results[-1] == {TROUBLE: DISK, REASON: "[Errno 28] No space left on device"}
    assert_unlocked_and_tidy(trial)
    assert numbers(train(recorded=2)) == numbers(whole[0][2:])
    assert_same_end(trial, whole[1])


def test_what_was_reached_before_an_error_is_saved_and_reported(
    *, train, whole, results, at_step, monkeypatch, trial
):
    """The error comes while the last evaluation's checkpoint is still being written."""

    def write_slowly(snapshot, folder):
        time.sleep(0.3)
        write_checkpoint(snapshot, folder)

    def fail():
        raise TrainingDivergedError("loss is nan")

    monkeypatch.setattr(saving, "write_checkpoint", write_slowly)
    at_step(3, fail)  # the first evaluation is after the second
    with pytest.raises(TrainingDivergedError):
        train()
    assert numbers(results) == [*numbers(whole[0][:1]), {TROUBLE: DIVERGED, REASON: "loss is nan"}]
    assert read_header(trial / STATE)["step"] == 2
    assert_unlocked_and_tidy(trial)


def test_a_disk_that_fails_before_training_says_so(train, results, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("trainable.locks.os.pwrite", fail)
    with pytest.raises(OSError, match="No space left"):
        train()
    assert [result[TROUBLE] for result in results] == [DISK]


def test_a_state_that_cannot_be_read_now_is_not_trained_over(train, results, finished, monkeypatch):
    """Too many open files, say: that tells nothing of what is in it."""
    before = (finished / STATE).read_bytes()

    def fail(*_, **__):
        raise OSError(24, "Too many open files")

    monkeypatch.setattr("trainable.training_state.safe_open", fail)
    with pytest.raises(OSError, match="Too many"):
        train(recorded=3)
    assert [result[TROUBLE] for result in results] == [DISK]
    assert (finished / STATE).read_bytes() == before


@pytest.mark.parametrize(
    ("error", "trouble"),
    [
        (torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate"), OUT_OF_MEMORY),
        (RuntimeError("CUDA error: out of memory\nCUDA kernel errors"), OUT_OF_MEMORY),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling"), OUT_OF_MEMORY),
        (TrainingDivergedError("loss is nan by step 6\nand more"), DIVERGED),
        (PermissionError(13, "Permission denied"), DISK),
        (RuntimeError("The size of tensor a (3) must match"), None),
        (ValueError("out of memory"), None),
        (AssertionError(), None),
    ],
)
def test_which_errors_are_troubles(train, results, at_step, error, trouble):
    def fail():
        raise error

    at_step(1, fail)
    with pytest.raises(type(error)) as caught:
        train()
    assert caught.value is error
    reason = str(error).partition("\n")[0]
    assert results == ([{TROUBLE: trouble, REASON: reason}] if trouble else [])


# Runs in a storage.


@pytest.fixture
def remote(task, tmp_path, monkeypatch):
    """The run as a node sees it that is not its home; the node's cache is where `go` says.

    With what is reported there.
    """
    storage, recorded, found = Storage(f"file://{tmp_path}/storage"), {}, []
    monkeypatch.setattr(ray_adapter.tune, "report", found.append)
    monkeypatch.setattr(pause, "LOOK_SECONDS", 0.0)

    def go(node, count):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / node))
        recorded[OURS.digest] = count

    seen = remote_elsewhere(
        storage.uri,
        "run",
        shared={str(f): share_folder(storage, f)[0] for f in task.folders()},
        paused=(tmp_path / PAUSE).exists,
        recorded=recorded.__getitem__,
    )
    return seen, go, found


def test_a_trial_goes_on_on_another_node(remote, task, tmp_path, whole, at_step):
    """Neither sees the run's folder, nor the other's."""
    seen, go, found = remote

    def train():
        arguments = (OURS.to_dict(), task.to_dict(), Path("/out/of/sight"), seen.recorded, seen)
        train_student(*arguments)

    go("first", 0)
    at_step(6, (tmp_path / PAUSE).touch)
    train()
    assert len(found) == 2
    (tmp_path / PAUSE).unlink()
    go("second", 2)
    at_step(7, lambda: None)
    train()
    assert numbers(found) == numbers(whole[0])
    folders = list(tmp_path.glob("*/distillation-search/trials/*/run/*/"))
    assert len(folders) == 2
    assert [file for folder in folders for file in folder.glob("*.safetensors")] == []
    left = {path.name for path in (tmp_path / "storage" / "run").rglob("*.safetensors")}
    assert left == {path.name for path in student_files(whole[1])} | {"state-000000012.safetensors"}


@pytest.fixture
def moved_away(task, tmp_path):
    """The task as if its folders were on another machine, and where they are here."""
    places = {str(folder): str(tmp_path / "gone" / folder.name) for folder in task.folders()}
    return task.moved(places), places


def test_nodes_that_share_the_runs_folder_fetch_only_what_trials_share(
    remote, moved_away, tmp_path, whole, at_step
):
    seen, go, found = remote
    task, places = moved_away
    shared = {places[at]: digest for at, digest in seen.shared.items()}
    seen, folder = replace(seen, shared=shared, in_place=True), tmp_path / "storage" / "run"
    folder.mkdir()

    def train():
        train_student(OURS.to_dict(), task.to_dict(), folder, seen.recorded, seen)

    go("first", 0)
    at_step(6, (tmp_path / PAUSE).touch)
    train()
    (tmp_path / PAUSE).unlink()
    go("second", 2)
    at_step(7, lambda: None)
    train()
    assert numbers(found) == numbers(whole[0])
    assert_same_end(folder / OURS.folder_name, whole[1])
    for node in ("first", "second"):
        assert [p.name for p in (tmp_path / node / "distillation-search").iterdir()] == ["fetched"]
    shutil.rmtree(folder)
    with pytest.raises(OSError, match="does not see"):
        train()


def test_a_node_that_does_not_see_the_runs_folder_says_so(train, results, tmp_path):
    with pytest.raises(OSError, match="does not see"):
        train(folder=tmp_path / "elsewhere")
    assert results[-1][TROUBLE] == DISK
    assert "give --storage a URI" in results[-1][REASON]


def test_a_trial_uses_one_thread(train, finished):
    torch.set_num_threads(2)
    train()
    assert torch.get_num_threads() == 1
