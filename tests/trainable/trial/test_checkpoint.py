"""Checkpoints: a student for `from_pretrained`, a state that goes on bit for bit, or a refusal."""

import random
import resource
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from tests.conftest import tiny_classifier
from tests.invariants.test_same_seed_same_run import assert_same, numbers, weights
from tests.made_runs import right_of
from trainable.common.files import MANIFEST, verified_values, write_manifest
from trainable.data.vocabulary import load_vocabulary
from trainable.engine.metrics import without_predictions
from trainable.engine.training_state import CheckpointError, read_state
from trainable.models.students import build_student
from trainable.teacher.teacher import load_teacher
from trainable.trial import checkpoint
from trainable.trial.checkpoint import (
    STATE,
    SaveTimer,
    bytes_of_shape,
    check_checkpoint,
    checkpoint_bytes,
    copied_state,
    label_names,
    load_checkpoint,
    restore,
    write_checkpoint,
    write_student,
)
from trainable.trial.training_loop import Trial
from trainable.trial.training_setup import SetupCache

NARROW = {"initialisation": "random", "student_width": 16}
AVERAGED = {"ema_decay": 0.4}
CE_ONLY = {"alpha": 1.0, "aligned_layers": "none", "alpha_schedule": "fixed", "sharpness": None}


@pytest.fixture
def eight_steps(make_config):
    """Evaluated after 2, 5 and 8; an epoch is 4 steps, and ends within an interval."""

    def make(**changes):
        growth = {"alpha_schedule": "cosine_vshape", "alpha": None, "sharpness": 0.5}
        shape = {"hidden_pool": "tokens", "batch_size": 24, "epochs": 2}
        return make_config(**{**growth, **shape, **changes})

    return make


@pytest.fixture
def saved(inputs, eight_steps, tmp_path):
    """The folder of a trial saved after its third step, and the trial."""
    trial = started(eight_steps(), inputs, 3)
    return save(trial, tmp_path / "saved"), trial


def started(config, inputs, steps):
    trial = Trial.start(config, inputs, torch.device("cpu"))
    for _ in range(steps):
        trial.advance()
    return trial


def save(trial, folder):
    folder.mkdir(parents=True)
    write_checkpoint(trial, folder)
    return folder


def disturb_generators():
    torch.manual_seed(99)
    np.random.seed(99)
    random.seed(99)


def end_of(trial):
    """What a trial becomes by its last step, and where it leaves the random generators."""
    list(trial.run())
    moments = trial.setup.step.optimiser.state_dict()["state"]
    tensors = {f"{i}.{k}": value for i, state in moments.items() for k, value in state.items()}
    tensors |= weights(trial) | trial.setup.distillation.projections.state_dict()
    tensors["torch"] = torch.get_rng_state()
    tensors["numpy"] = torch.from_numpy(np.random.get_state()[1].astype(np.int64))
    tensors["python"] = torch.tensor(random.getstate()[1])
    return numbers(trial.history), {k: v.clone() for k, v in tensors.items()}


def assert_same_end(found, whole, saved_evaluations):
    """Bit for bit; the predictions of evaluations before the last saved are not kept."""
    lost, ends = max(saved_evaluations - 1, 0), []
    for values, tensors in (found, whole):
        ends.append(([*map(without_predictions, values[:lost]), *values[lost:]], tensors))
    assert_same(*ends)


@pytest.mark.parametrize(
    "changes",
    [{}, {**NARROW, **AVERAGED}, CE_ONLY],
    ids=["wide", "narrow and averaged", "labels alone"],
)
def test_resumed_equals_uninterrupted(sampled_inputs, eight_steps, tmp_path, changes):
    config = eight_steps(**changes)
    whole = end_of(started(config, sampled_inputs, 0))
    assert [evaluation["step"] for evaluation in whole[0]] == [2, 5, 8]
    assert 0 < whole[0][-1]["full_score"] < 1
    interrupted, bench, states = started(config, sampled_inputs, 0), SetupCache(), []
    for step in range(8):
        save(interrupted, tmp_path / str(step))
        states.append(copied_state(interrupted))
        interrupted.advance()
    assert_same_end(end_of(interrupted), whole, 0)  # saving itself changes nothing
    for step in range(8):
        disturb_generators()
        folder = tmp_path / str(step)
        resumed = load_checkpoint(folder, config, sampled_inputs, torch.device("cpu"), bench)
        assert resumed.step == step
        assert_same_end(end_of(resumed), whole, (step >= 2) + (step >= 5))
        resumed = Trial.start(config, sampled_inputs, torch.device("cpu"), bench)
        restore(resumed, states[step])
        assert resumed.step == step
        assert_same_end(end_of(resumed), whole, (step >= 2) + (step >= 5))


@pytest.mark.parametrize("changes", [{}, AVERAGED], ids=["weights", "averages"])
def test_the_student_is_the_one_evaluated_last(
    inputs, dataset, eight_steps, cpu, tmp_path, changes
):
    """Saved and resumed after each step; between evaluations it is what one would score."""
    config, evaluation = eight_steps(**changes, learning_rate=1e-2), None
    trial = Trial.start(config, inputs, cpu)
    for step in range(9):
        folder = save(trial, tmp_path / str(step))
        assert verified_values(folder)["step"] == step
        averages, found = trial.setup.step.averages, load_file(folder / "model.safetensors")
        scored = averages.averages if averages else trial.student.parameters()
        for (name, _), expected in zip(trial.student.named_parameters(), scored, strict=True):
            if "word_embeddings" not in name:
                assert torch.equal(found[name], expected), name
        if evaluation is not None:
            assert_answers(folder, dataset.evaluation, evaluation.predictions)
        if step < 8:
            trial = load_checkpoint(folder, config, inputs, cpu)
            evaluation = trial.advance()
    assert trial.history[-1].score < max(evaluation.score for evaluation in trial.history[:2])


def assert_answers(folder, split, predictions):
    """The folder's model and tokenizer are right on raw texts, one by one, as was recorded."""
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    encoded = [tokenizer(text, truncation=True, return_tensors="pt") for text in split.texts]
    with torch.no_grad():
        found = [int(model(e["input_ids"], e["attention_mask"]).logits.argmax()) for e in encoded]
    right = right_of(predictions, split.labels)
    assert [*map(int.__eq__, found, split.labels)] == right.tolist()


@pytest.mark.parametrize("initialisation", ["teacher_spread", "random"])
def test_the_folder_has_the_whole_vocabulary(inputs, make_config, tmp_path, initialisation):
    config = make_config(initialisation=initialisation, learning_rate=3e-3, evaluations=6)
    trial = started(config, inputs, 12)
    folder = save(trial, tmp_path / "saved")
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    assert model.config.id2label == {0: "even", 1: "odd"}
    assert AutoTokenizer.from_pretrained(folder).model_max_length == 16

    rows = model.get_input_embeddings().weight.detach()
    origin = build_student(load_teacher(Path(inputs.teacher.folder)), config)
    before = origin.get_input_embeddings().weight.detach()
    in_use = load_vocabulary(Path(inputs.tokens))
    assert torch.equal(rows[in_use], trial.student.get_input_embeddings().weight)
    assert not torch.equal(rows[in_use], before[in_use])
    others = np.setdiff1d(np.arange(len(rows)), in_use)
    assert len(others) > 100
    assert torch.equal(rows[others], before[others])


@pytest.mark.parametrize("changes", [{}, {**NARROW, **AVERAGED}], ids=["wide", "averaged"])
def test_a_student_is_written_from_the_state_alone(inputs, eight_steps, cpu, tmp_path, changes):
    """The same student, and the same end of the trial, as with both in the folder."""
    config = eight_steps(**changes)
    trial, bare = started(config, inputs, 5), tmp_path / "bare"
    both = save(trial, tmp_path / "both")
    bare.mkdir()
    write_checkpoint(trial, bare, student=False)
    assert {path.name for path in bare.iterdir()} == {STATE, MANIFEST}
    disturb_generators()
    (written := tmp_path / "written").mkdir()
    write_student(bare, config, inputs, written)
    names = {path.name for path in written.iterdir()}
    assert {path.name for path in both.iterdir()} == {*names, STATE, MANIFEST}
    for path in written.iterdir():
        assert path.read_bytes() == (both / path.name).read_bytes(), path.name
    ends = [end_of(load_checkpoint(folder, config, inputs, cpu)) for folder in (both, bare)]
    assert_same_end(*ends, 2)


def test_a_finished_trial_has_no_state_to_go_on_from(inputs, eight_steps, cpu, tmp_path):
    folder = save(started(eight_steps(), inputs, 8), tmp_path / "end")
    assert not (folder / STATE).exists()
    assert check_checkpoint(folder, eight_steps(), inputs)["step"] == 8
    with pytest.raises(CheckpointError, match="of a finished trial"):
        load_checkpoint(folder, eight_steps(), inputs, cpu)


def test_weights_of_another_configuration_are_taken_if_asked_for(inputs, saved, cpu, eight_steps):
    folder, trial = saved
    other = replace(trial.config, learning_rate=3e-3, seed=5)
    with pytest.raises(CheckpointError, match="of another config"):
        load_checkpoint(folder, other, inputs, cpu)
    taken = load_checkpoint(folder, other, inputs, cpu, exact=False)
    assert taken.config == other
    assert taken.step == 3
    assert all(map(torch.equal, taken.student.parameters(), trial.student.parameters()))
    averaged = load_checkpoint(folder, replace(other, **AVERAGED), inputs, cpu, exact=False)
    averages = averaged.setup.step.averages.averages  # which the checkpoint has none of
    assert all(map(torch.equal, averages, trial.student.parameters()))
    taken.advance()
    trial.advance()
    assert not all(map(torch.equal, taken.student.parameters(), trial.student.parameters()))
    fewer, more = ({"student_layers": depth, "aligned_layers": "1"} for depth in (1, 4))
    for changes in (fewer, more, NARROW):
        with pytest.raises(CheckpointError, match="of another model"):
            load_checkpoint(folder, eight_steps(**changes), inputs, cpu, exact=False)


def test_rows_not_in_use_come_along_to_another_configuration(inputs, eight_steps, cpu, tmp_path):
    """They belong to the student that goes on, not to the one that would have been drawn."""
    config = eight_steps(initialisation="random", seed=1)
    first = save(started(config, inputs, 3), tmp_path / "first")
    taken = load_checkpoint(first, replace(config, seed=2), inputs, cpu, exact=False)
    second = save(taken, tmp_path / "second")
    files = [load_file(folder / "model.safetensors") for folder in (first, second)]
    assert all(torch.equal(value, files[1][name]) for name, value in files[0].items())


@pytest.mark.parametrize("exact", [True, False])
def test_a_checkpoint_of_other_inputs_is_refused(inputs, saved, cpu, exact):
    folder, trial = saved
    teacher = replace(inputs.teacher, digest="0" * 64)
    for other, said in (
        (replace(inputs, data_digest="0" * 64), "of another data"),
        (replace(inputs, teacher=teacher), "of another teacher"),
    ):
        with pytest.raises(CheckpointError, match=said):
            load_checkpoint(folder, trial.config, other, cpu, exact=exact)
    write_manifest(folder, {**verified_values(folder), "format": 4})
    with pytest.raises(CheckpointError, match="of another format"):
        load_checkpoint(folder, trial.config, inputs, cpu, exact=exact)


def test_every_files_loss_and_every_changed_byte_is_noticed(inputs, saved, cpu):
    folder, trial = saved
    files = {path: path.read_bytes() for path in folder.iterdir()}
    names = {STATE, "model.safetensors", "config.json", "tokenizer.json", MANIFEST}
    assert names <= {path.name for path in files}
    for path, whole in files.items():
        middle = len(whole) // 2
        path.unlink()
        with pytest.raises(CheckpointError, match="missing or damaged"):
            load_checkpoint(folder, trial.config, inputs, cpu)
        for damaged in (b"", whole[:middle], whole[:middle] + b"\x00" + whole[middle + 1 :]):
            path.write_bytes(damaged)
            with pytest.raises(CheckpointError, match="missing or damaged"):
                load_checkpoint(folder, trial.config, inputs, cpu)
        path.write_bytes(whole)
    assert load_checkpoint(folder, trial.config, inputs, cpu).step == 3


@pytest.mark.parametrize("file", [STATE, "model.safetensors"])
def test_a_disk_that_is_full_is_an_os_error(saved, tmp_path, file):
    """Which the library that writes both does not raise itself."""
    folder, trial = saved
    _, hard = limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, ((folder / file).stat().st_size // 2, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            save(trial, tmp_path / "again")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert verified_values(tmp_path / "again") is None


@pytest.mark.parametrize(
    "changes",
    [{}, {"student_layers": 1, "aligned_layers": "1"}, NARROW, AVERAGED, {**NARROW, **AVERAGED}],
)
def test_the_size_foretold_is_that_of_the_tensors_written(inputs, make_config, tmp_path, changes):
    config = make_config(**changes)
    folder = save(started(config, inputs, 4), tmp_path / "saved")
    _, state = read_state(folder / STATE)
    student = sum(t.nbytes for t in load_file(folder / "model.safetensors").values())
    beside = ("student.", "projections.", "averages.", "optimiser.exp_avg")
    whole = sum(t.nbytes for name, t in state.items() if name.startswith(beside))
    assert checkpoint_bytes(config, inputs) == (max(whole, student), student)


def test_the_size_of_a_model_whose_padding_token_is_among_the_last(make_config):
    """As ModernBERT's: it is none of the tokens in use."""
    first, last = (tiny_classifier("modernbert", pad_token_id=n).config for n in (0, 204))
    config = make_config(aligned_layers="none")
    assert bytes_of_shape(config, last, 32, 50) == bytes_of_shape(config, first, 32, 50)


def test_the_names_of_labels():
    for of_data, of_teacher, names in (
        (["0", "1"], {0: "negative", 1: "positive"}, ["negative", "positive"]),
        (["0", "1"], {0: "LABEL_0", 1: "LABEL_1"}, ["0", "1"]),
        (["bad", "good"], {0: "negative", 1: "positive"}, ["bad", "good"]),
    ):
        assert label_names(of_data, SimpleNamespace(id2label=of_teacher)) == names


@pytest.fixture
def clock(monkeypatch):
    """Time that passes when told to."""
    made = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(checkpoint, "time", SimpleNamespace(monotonic=lambda: made.now))
    return made


@pytest.mark.parametrize("seed", range(20))
def test_saving_takes_no_more_than_its_share_before_the_last_one(clock, seed):
    """Whatever a save costs: the one after it waits until the share holds again, no longer."""
    drawn = random.Random(seed)
    share, estimate = drawn.choice([0.01, 0.02, 0.2]), 10 ** drawn.uniform(-2, 2)
    timer = SaveTimer(share, int(estimate * checkpoint.FIRST_SAVE_BYTES))
    begun, spent, last, before = clock.now, 0.0, estimate, clock.now
    for _ in range(3000):
        step = 10 ** drawn.uniform(-2, 1)
        clock.now += step
        trained = clock.now - before
        assert timer.due == (trained * share >= last)
        if timer.due:
            assert spent <= share * (clock.now - begun)
            last = 10 ** drawn.uniform(-3, 1)
            clock.now += last
            timer.saved(last)
            spent, before = spent + last, clock.now
    assert spent > 0


def test_a_checkpoint_pays_where_training_again_takes_three_times_as_long(clock):
    """Counted from the last one, before this trial waited, too."""
    timer = SaveTimer(0.0, int(2 * checkpoint.FIRST_SAVE_BYTES), unsaved_seconds=4.0)
    clock.now += 2.0
    assert timer.unsaved_seconds == 6.0
    assert not timer.pays
    clock.now += 0.1
    assert timer.pays
    timer.saved(1.0)
    clock.now += 3.0
    assert not timer.pays
    clock.now += 0.1
    assert timer.pays


def test_a_share_of_one_always_saves_and_none_never(clock):
    always, never = SaveTimer(1.0, 10**12), SaveTimer(0.0, 1)
    assert always.due
    clock.now += 1e6
    always.saved(1e6)
    assert always.due
    assert not never.due
