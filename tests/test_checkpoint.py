"""Checkpoints: all of a trial in one file, the best student beside it, whole at any moment."""

import json
import random
import resource
import shutil
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from trainable import files, training_state
from trainable import trial as trial_module
from trainable.checkpoint import (
    FORMAT,
    HEADER_BYTES,
    STATE,
    load_checkpoint,
    save_checkpoint,
    student_bytes,
    student_file,
    student_files,
    take_snapshot,
    write_checkpoint,
)
from trainable.config import TrialConfig
from trainable.files import remove_leftovers
from trainable.metrics import pack_bits
from trainable.training_state import HEADER, CheckpointError, read_header
from trainable.trial import Trial

SHORT = {"batch_size": 16, "evaluations": 3}  # 6 steps, evaluated after 2, 4 and 6
CE_ONLY = {"alpha": 1.0, "aligned_layers": "none"}
NARROW = {"initialisation": "random", "student_width": 16}
OURS = TrialConfig(alpha=0.5, student_layers=2, epochs=1, **SHORT)


class KilledError(BaseException):
    """Stands for the end of the process, which no handler sees."""


@pytest.fixture
def scripted(monkeypatch):
    """Gives the evaluations to come these accuracies."""

    def script(accuracies):
        coming = iter(accuracies)
        monkeypatch.setattr(trial_module, "accuracy", lambda correct: next(coming))

    return script


@pytest.fixture
def saved(task, make_config, tmp_path):
    """A trial saved in the middle of its second interval, and the folder."""
    trial = started(make_config(**SHORT), task, steps=3)
    save_checkpoint(trial, tmp_path)
    return trial, tmp_path


@pytest.fixture(scope="module")
def state_bytes(task, tmp_path_factory):
    """The file of such a trial, of the configuration OURS."""
    folder = tmp_path_factory.mktemp("saved")
    save_checkpoint(started(OURS, task, steps=3), folder)
    return (folder / STATE).read_bytes()


@pytest.fixture
def state(state_bytes, tmp_path):
    """A copy of that file."""
    (tmp_path / STATE).write_bytes(state_bytes)
    return tmp_path / STATE


@pytest.fixture
def refusal(task, tmp_path, cpu):
    """Why the file in `tmp_path` is refused, or that of another folder, or by another trial."""

    def why(folder=tmp_path, config=OURS, task=task):
        with pytest.raises(CheckpointError) as caught:
            load_checkpoint(folder, config, task, cpu)
        return str(caught.value)

    return why


def started(config, task, steps):
    trial = Trial.start(config, task, torch.device("cpu"))
    for _ in range(steps):
        trial.advance()
    return trial


def weights(trial):
    return {name: value.detach().clone() for name, value in trial.student.named_parameters()}


def position(trial):
    """All that decides how a trial goes on, gathered without the code under test."""
    moments = trial.optimiser.state_dict()["state"]
    projections = trial.distillation.projections.state_dict()
    return {
        "step": trial.step,
        "history": [evaluation.to_dict() for evaluation in trial.history],
        "trained_seconds": trial.trained_seconds,
        "mean_steps": trial.means.steps,
        "means": {name: value.clone() for name, value in trial.means.sums.items()},
        "weights": weights(trial),
        "projections": {n: v.clone() for n, v in projections.items()},
        "optimiser": {f"{i}.{k}": v.clone() for i, s in moments.items() for k, v in s.items()},
        "python": random.getstate(),
        "numpy": [np.asarray(part).tolist() for part in np.random.get_state()],
        "torch": torch.get_rng_state().tolist(),
    }


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        if isinstance(value, dict):
            assert_same(found[key], value)
        elif isinstance(value, torch.Tensor):
            assert torch.equal(found[key], value), key
        else:
            assert found[key] == value, key


def disturb_generators():
    torch.manual_seed(99)
    np.random.seed(99)
    random.seed(99)


def draw_numbers():
    """Moves Python's and numpy's generators from where the seed put them, half a pair drawn."""
    return random.gauss(), np.random.normal(), random.random(), np.random.rand()


def rewrite(path, tensors, **values):
    """The file again with these tensors, and these values in its header."""
    header = {**read_header(path), **values}
    save_file(tensors, path, metadata={HEADER: json.dumps(header)})


def places(snapshot):
    return {name: tensor.data_ptr() for name, tensor in snapshot.tensors.items()}


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_one_file_holds_the_whole_trial(saved):
    trial, folder = saved
    assert names(folder) == [STATE]  # whose evaluation was before, and not saved then
    with safe_open(folder / STATE, framework="pt") as file:
        assert set(file.metadata()) == {HEADER}
    header = read_header(folder / STATE)
    assert header.pop("python_random")[1] == list(random.getstate()[1])
    assert header.pop("numpy_random")[1] == np.random.get_state()[1].tolist()
    assert header == {
        "format": FORMAT,
        "config": trial.config.to_dict(),
        "data_digest": trial.task.data_digest,
        "teacher_digest": trial.task.teacher.digest,
        "step": 3,
        "mean_steps": 1,
        "trained_seconds": trial.trained_seconds,
        "history": [trial.history[0].to_dict()],
    }
    tensors = load_file(folder / STATE)
    expected = {"random.cpu": torch.get_rng_state()}
    expected |= {f"means.{name}": value for name, value in trial.means.sums.items()}
    for name, parameter in trial.student.named_parameters():
        expected[f"student.{name}"] = parameter.detach()
        for key, value in trial.optimiser.state[parameter].items():
            expected[f"optimiser.{key}.student.{name}"] = value
    assert_same(tensors, expected)


@pytest.mark.parametrize(
    ("settings", "steps"),
    [({}, 0), ({}, 2), ({}, 3), ({}, 6), (CE_ONLY, 3), (NARROW, 3)],
    ids=["begun", "evaluated", "between", "finished", "labels only", "projected"],
)
def test_a_loaded_trial_is_the_saved_one_and_goes_on_like_it(
    *, settings, steps, task, make_config, cpu, tmp_path
):
    config = make_config(**SHORT, **settings)
    trial = started(config, task, steps)
    draw_numbers()
    save_checkpoint(trial, tmp_path)
    expected = position(trial)
    drawn = draw_numbers()
    for _ in trial.run():
        pass
    disturb_generators()
    again = load_checkpoint(tmp_path, config, task, cpu)
    assert_same(position(again), expected)
    assert draw_numbers() == drawn
    for _ in again.run():
        pass
    assert_same(weights(again), weights(trial))
    assert [e.loss for e in again.history] == [e.loss for e in trial.history]


def test_a_header_with_the_longest_history_is_within_its_bound(sampled_task, make_config, cpu):
    """15 evaluations of 25,000 sentences each, and once more of as many."""
    trial = started(make_config(**SHORT), sampled_task, steps=6)
    bits = pack_bits(np.ones(25_000, dtype=bool))
    longest = replace(trial.history[-1], correct=bits, whole_correct=bits)
    trial.history = [longest] * 15
    assert longest.whole_accuracy is not None
    assert len(json.dumps(take_snapshot(trial, {}).header)) < HEADER_BYTES


def test_parameters_without_gradient_have_no_state(task, make_config, cpu, tmp_path):
    """Some heads leave a pooler unused; such a parameter comes back all the same."""
    trial = Trial.start(make_config(), task, cpu)
    frozen = trial.student.bert.pooler.dense.weight
    frozen.requires_grad_(False)
    next(iter(trial.run()))
    save_checkpoint(trial, tmp_path)
    again = load_checkpoint(tmp_path, make_config(), task, cpu)
    restored = again.student.bert.pooler.dense.weight
    assert restored not in again.optimiser.state
    assert torch.equal(restored, frozen)


def test_training_on_leaves_the_file_as_it_was(saved, task, make_config, cpu):
    trial, folder = saved
    before = (folder / STATE).read_bytes()
    for going_on in (trial, load_checkpoint(folder, trial.config, task, cpu)):
        going_on.advance()
        assert (folder / STATE).read_bytes() == before


def test_a_snapshot_is_apart_from_its_trial(task, make_config, cpu, tmp_path):
    trial = started(make_config(**SHORT), task, steps=3)
    expected = position(trial)
    snapshot = take_snapshot(trial, {})
    for _ in trial.run():
        pass
    write_checkpoint(snapshot, tmp_path)
    assert_same(position(load_checkpoint(tmp_path, trial.config, task, cpu)), expected)


def test_buffers_are_used_again_and_hold_the_new_values(task, make_config, cpu, tmp_path):
    buffers = {}
    trial = started(make_config(**SHORT), task, steps=1)
    first = places(take_snapshot(trial, buffers))
    trial.advance()
    evaluated = take_snapshot(trial, buffers)
    later = places(evaluated)
    assert first == later
    write_checkpoint(evaluated, tmp_path / "again")
    save_checkpoint(trial, tmp_path / "anew")
    assert contents(tmp_path / "again") == contents(tmp_path / "anew")


@pytest.mark.parametrize(
    ("accuracies", "kept"),
    [
        ((0.4, 0.6, 0.6, 0.5, 0.7, 0.7), (1, 2, 2, 2, 5, 5)),
        ((0.1, 0.2, 0.3, 0.4, 0.5, 0.6), (1, 2, 3, 4, 5, 6)),
        ((0.0, 0.0, 0.1, 0.0, 0.1, 0.0), (1, 1, 3, 3, 3, 3)),
    ],
)
def test_the_first_of_the_best_students_is_kept(
    *, accuracies, kept, scripted, task, make_config, cpu, tmp_path
):
    """Saved at evaluations and, half an interval on, between them."""
    scripted(accuracies)
    trial = Trial.start(make_config(evaluations=6), task, cpu)
    at_evaluation = {}
    while not trial.finished:
        if trial.advance() is not None:
            at_evaluation[len(trial.history)] = weights(trial)
        save_checkpoint(trial, tmp_path)
        if trial.history:
            best = kept[len(trial.history) - 1]
            kept_file = tmp_path / f"student-{best}.safetensors"
            assert names(tmp_path) == [STATE, kept_file.name]
            assert student_files(tmp_path) == [kept_file]
            assert_same(load_file(kept_file), at_evaluation[best])
    assert len(at_evaluation) == 6


def test_a_students_header_names_its_evaluation_and_what_it_was_trained_on(
    scripted, task, make_config, cpu, tmp_path
):
    scripted((0.4, 0.7, 0.6))
    trial = Trial.start(make_config(), task, cpu)
    for _ in trial.run():
        save_checkpoint(trial, tmp_path)
    best = trial.history[1]
    assert student_file(tmp_path, best) == tmp_path / "student-2.safetensors"
    assert read_header(student_file(tmp_path, best)) == {
        "format": FORMAT,
        "config": trial.config.to_dict(),
        "data_digest": task.data_digest,
        "teacher_digest": task.teacher.digest,
        "evaluation": best.to_dict(),
    }


def test_the_kept_student_answers_as_its_evaluation_says(task, make_config, cpu, tmp_path):
    config = make_config(learning_rate=3e-3, evaluations=6)
    trial = Trial.start(config, task, cpu)
    for _ in trial.run():
        save_checkpoint(trial, tmp_path)
    (kept,) = student_files(tmp_path)
    fresh = Trial.start(config, task, cpu)
    fresh.student.load_state_dict(load_file(kept))
    correct = fresh.apparatus.evaluators["evaluation"].correct()
    evaluation = read_header(kept)["evaluation"]
    assert pack_bits(correct) == evaluation["correct"]
    assert correct.mean() == evaluation["accuracy"] == max(e.accuracy for e in trial.history)


@contextmanager
def ending(monkeypatch, moment, *, killed):
    """Ends the writing at the moment-th thing done to the disk: by a kill, or by an error.

    After a kill nothing more is done, so what is half written stays.
    """
    done = 0

    def watched(act, half=None):
        def do(*arguments, **keywords):
            nonlocal done
            done += 1
            if done == moment and half:
                half(*arguments, **keywords)
            if done == moment or (killed and done > moment):
                raise KilledError if killed else OSError(28, "No space left on device")
            return act(*arguments, **keywords)

        return do

    def half_saved(tensors, path, metadata):
        save_file(tensors, path, metadata=metadata)
        with open(path, "r+b") as file:
            file.truncate(path.stat().st_size // 2)

    with monkeypatch.context() as patched:
        patched.setattr(training_state, "save_file", watched(save_file, half_saved))
        patched.setattr(files.os, "fsync", watched(files.os.fsync))
        patched.setattr(Path, "replace", watched(Path.replace))
        patched.setattr(Path, "unlink", watched(Path.unlink))
        yield


@pytest.fixture
def recorded(scripted, task, make_config, cpu):
    """For accuracies: a trial's snapshots by step, and its weights by evaluation."""

    def record(accuracies):
        scripted(accuracies)
        trial = Trial.start(make_config(**SHORT), task, cpu)
        snapshots, at_evaluation = {}, {}
        while not trial.finished:
            evaluation = trial.advance()
            snapshots[trial.step] = take_snapshot(trial, {})
            if evaluation is not None:
                at_evaluation[evaluation.evaluations] = weights(trial)
        return snapshots, at_evaluation

    return record


@pytest.mark.parametrize(
    ("accuracies", "before", "now", "killed"),
    [
        ((0.4, 0.5, 0.6), [], 2, True),
        ((0.4, 0.5, 0.6), [2], 4, True),
        ((0.4, 0.5, 0.6), [2], 4, False),
        ((0.5, 0.4, 0.6), [2], 4, True),
        ((0.5, 0.4, 0.6), [2, 4], 5, True),
    ],
    ids=["first", "better", "better, disk full", "worse", "between"],
)
def test_at_any_moment_of_a_write_state_and_best_student_are_whole(
    *, accuracies, before, now, killed, recorded, monkeypatch, task, make_config, cpu, tmp_path
):
    snapshots, at_evaluation = recorded(accuracies)
    monkeypatch.setattr(files.os, "fsync", lambda descriptor: None)  # no power cut here
    found = set()
    (tmp_path / "before").mkdir()
    for step in before:
        write_checkpoint(snapshots[step], tmp_path / "before")
    for moment in count(1):
        folder = Path(shutil.copytree(tmp_path / "before", tmp_path / str(moment)))
        with ending(monkeypatch, moment, killed=killed), suppress(KilledError, OSError):
            write_checkpoint(snapshots[now], folder)
            break
        if before or (folder / STATE).exists():
            header = read_header(folder / STATE)
            best = max(header["history"], key=lambda evaluation: evaluation["accuracy"])
            student = load_file(folder / f"student-{best['evaluations']}.safetensors")
            assert_same(student, at_evaluation[best["evaluations"]])
            assert_same(load_file(folder / STATE), snapshots[header["step"]].tensors)
            if header["step"] not in found:
                load_checkpoint(folder, make_config(**SHORT), task, cpu)
            found.add(header["step"])
        remove_leftovers(folder)
        write_checkpoint(snapshots[now], folder)
        assert [name.split("-")[0] for name in names(folder)] == [STATE, "student"]
    assert moment > 5
    assert found == {*before[-1:], now}


def test_a_disk_that_is_full_is_an_os_error_and_leaves_the_old_checkpoint(saved):
    trial, folder = saved
    before = (folder / STATE).read_bytes()
    trial.advance()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, hard))
    try:
        with pytest.raises(OSError, match=rf"{STATE}: .*File too large"):
            save_checkpoint(trial, folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (folder / STATE).read_bytes() == before
    assert not [name for name in names(folder) if name.startswith(".")]


CUTS = {
    "nothing": lambda size, header: 0,
    "one byte": lambda size, header: 1,
    "a byte of the length missing": lambda size, header: 7,
    "the length alone": lambda size, header: 8,
    "50 bytes": lambda size, header: 50,
    "half the header": lambda size, header: header // 2,
    "a byte of the header missing": lambda size, header: header - 1,
    "the header alone": lambda size, header: header,
    "a byte of the tensors": lambda size, header: header + 1,
    "half": lambda size, header: size // 2,
    "the last byte missing": lambda size, header: size - 1,
}


@pytest.mark.parametrize("cut", CUTS.values(), ids=CUTS)
def test_a_state_cut_short_says_so(cut, state, state_bytes, refusal):
    header = 8 + int.from_bytes(state_bytes[:8], "little")
    state.write_bytes(state_bytes[: cut(len(state_bytes), header)])
    assert refusal() == "cut short or not a checkpoint"


@pytest.mark.parametrize("content", [b"{}", b"\x00" * 64, b"\xff" * 64, b"trial\n" * 99])
def test_another_file_is_not_a_checkpoint(content, state, refusal):
    state.write_bytes(content)
    assert refusal() == "cut short or not a checkpoint"


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}, {HEADER: ""}, {HEADER: '{"step": '}])
def test_anothers_safetensors_are_not_a_checkpoint(metadata, state, refusal):
    save_file({"weight": torch.ones(2)}, state, metadata=metadata)
    assert refusal() == "cut short or not a checkpoint"


def test_a_missing_state_is_missing(refusal, tmp_path):
    assert refusal() == "missing"
    assert refusal(folder=tmp_path / "nowhere") == "missing"


def test_a_checkpoint_of_something_else_says_of_what(state, refusal, task):
    teacher = replace(task.teacher, digest="0" * 64)
    assert refusal(config=replace(OURS, seed=5)) == "of another config"
    assert refusal(task=replace(task, data_digest="0" * 64)) == "of another data"
    assert refusal(task=replace(task, teacher=teacher)) == "of another teacher"


@pytest.mark.parametrize("number", [FORMAT - 1, FORMAT + 1, None])
def test_another_format_is_refused(number, state, refusal):
    rewrite(state, load_file(state), format=number)
    assert refusal() == "of another format"


@pytest.mark.parametrize("shape", [None, (7, 3)])
def test_another_model_is_refused(shape, state, refusal):
    """As after an update of the libraries that build it: a weight is gone, or has other sizes."""
    tensors, name = load_file(state), "student.classifier.weight"
    del tensors[name]
    rewrite(state, tensors if shape is None else {**tensors, name: torch.ones(shape)})
    assert refusal() == "of another model"


@pytest.mark.parametrize(
    "settings",
    [{}, {"student_layers": 1, "aligned_layers": "1"}, NARROW],
    ids=["teacher's width", "one layer", "narrow"],
)
def test_student_bytes_are_those_of_the_tensors_in_the_file(
    settings, task, make_config, cpu, tmp_path
):
    config = make_config(**SHORT, **settings)
    trial = started(config, task, steps=2)
    save_checkpoint(trial, tmp_path)
    (file,) = student_files(tmp_path)
    content = file.read_bytes()
    header = 8 + int.from_bytes(content[:8], "little")
    assert student_bytes(config, task) == len(content) - header
    assert student_bytes(config, task) == sum(t.nbytes for t in load_file(file).values())
