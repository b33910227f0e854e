"""What a preset and the user's replacements come to: inputs and complete configurations."""

import socket
from dataclasses import replace

import pytest

from trainable import inputs
from trainable.config import TrialConfig
from trainable.data import Dataset, LabelledTexts
from trainable.errors import UserError
from trainable.inputs import complete_config, load_inputs
from trainable.presets import PRESETS
from trainable.wheels import small_encoder, tweets

MINI = PRESETS["mini"]


@pytest.fixture
def file(tmp_path, monkeypatch):
    """20 sentences of two labels in one file, of which 2 are held out; there is no network."""

    def no_such_host(*_, **__):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", no_such_host)
    path = tmp_path / "all.tsv"
    rows = [f"sentence {row}\t{row % 2}" for row in range(20)]
    path.write_text("\n".join(["sentence\tlabel", *rows]) + "\n")
    return path


@pytest.fixture
def folder(tmp_path, file):
    """The same sentences for training and 10 others for evaluation."""
    folder = tmp_path / "splits"
    folder.mkdir()
    file.rename(folder / "train.tsv")
    rows = [f"other {row}\t{row % 2}" for row in range(10)]
    (folder / "dev.tsv").write_text("\n".join(["sentence\tlabel", *rows]) + "\n")
    return folder


@pytest.fixture
def asked(monkeypatch):
    """The arguments with which datasets are loaded, in place of loading them."""
    calls = []

    def load_dataset(source, configuration, cache):
        calls.append((source, configuration, cache))
        return Dataset(LabelledTexts(["a", "b"], [0, 1]), LabelledTexts(["c"], [0]), ["0", "1"])

    monkeypatch.setattr(inputs, "load_dataset", load_dataset)
    return calls


def test_the_small_preset_is_the_two_wheels(tmp_path):
    found = load_inputs(MINI, teacher=None, dataset=None, cache=tmp_path)
    everything = tweets()
    assert found.teacher_source == str(small_encoder())
    assert (found.teacher_settings, found.max_length) == (MINI.teacher_settings, 64)
    assert (len(found.dataset.train), len(found.dataset.evaluation)) == (
        MINI.train_sentences,
        MINI.evaluation_sentences,
    )
    assert set(found.dataset.train.texts) < set(everything.train.texts)
    assert set(found.dataset.evaluation.texts) < set(everything.evaluation.texts)


def test_given_teacher_and_sentences_go_before_the_presets(tmp_path, file):
    found = load_inputs(MINI, teacher="some/folder", dataset=str(file), cache=tmp_path / "cache")
    texts = found.dataset.train.texts + found.dataset.evaluation.texts
    assert found.teacher_source == "some/folder"
    assert sorted(texts) == sorted(f"sentence {row}" for row in range(20))
    assert (len(found.dataset.train), len(found.dataset.evaluation)) == (18, 2)


def test_sizes_of_the_preset_hold_for_given_sentences_too(tmp_path, file):
    small = replace(MINI, train_sentences=4, evaluation_sentences=1, max_length=9)
    found = load_inputs(small, teacher="t", dataset=str(file), cache=tmp_path / "cache")
    assert sorted(found.dataset.train.labels) == [0, 0, 1, 1]
    assert len(found.dataset.evaluation) == 1
    assert found.max_length == 9


@pytest.mark.parametrize(
    ("evaluation", "search", "sizes"),
    [(None, 4, (4, 10)), (8, 4, (4, 8)), (None, None, (10, None)), (4, 6, (4, None))],
)
def test_a_preset_looks_at_a_sample_of_what_it_uses(tmp_path, folder, evaluation, search, sizes):
    preset = replace(MINI, evaluation_sentences=evaluation, search_sentences=search)
    found = load_inputs(preset, teacher="t", dataset=str(folder), cache=tmp_path / "cache")
    whole = found.dataset.whole
    assert (len(found.dataset.evaluation), None if whole is None else len(whole)) == sizes
    assert found.available == (20, 10)
    labels = found.dataset.evaluation.labels
    assert labels.count(0) == labels.count(1)
    if whole is not None:
        assert set(found.dataset.evaluation.texts) < set(whole.texts)


@pytest.mark.parametrize(
    ("preset", "dataset", "loaded"),
    [
        ("sst2", None, ("nyu-mll/glue", "sst2")),
        ("imdb", None, ("stanfordnlp/imdb", None)),
        ("mini", "nyu-mll/glue:sst2", ("nyu-mll/glue", "sst2")),
        ("sst2", "stanfordnlp/imdb", ("stanfordnlp/imdb", None)),
    ],
)
def test_hub_ids_and_their_configurations(tmp_path, asked, preset, dataset, loaded):
    load_inputs(PRESETS[preset], teacher="t", dataset=dataset, cache=tmp_path)
    assert asked == [(*loaded, tmp_path / "datasets")]


@pytest.mark.parametrize("name", ["with:colon", "plain"])
def test_a_local_path_is_left_whole(tmp_path, asked, name):
    folder = tmp_path / name
    folder.mkdir()
    load_inputs(MINI, teacher="t", dataset=str(folder), cache=tmp_path)
    assert asked == [(str(folder), None, tmp_path / "datasets")]


@pytest.mark.parametrize("preset", ["sst2", "imdb"])
def test_the_teacher_of_a_large_preset_comes_from_the_hub(tmp_path, asked, preset):
    found = load_inputs(PRESETS[preset], teacher=None, dataset=None, cache=tmp_path)
    assert found.teacher_source == "microsoft/deberta-v3-base"


def test_a_given_teacher_goes_before_the_hubs(tmp_path, asked):
    found = load_inputs(PRESETS["sst2"], teacher="mine", dataset=None, cache=tmp_path)
    assert found.teacher_source == "mine"


def test_the_presets_constants_then_the_spaces_values_then_the_users():
    preset = replace(MINI, trial={"epochs": 2, "evaluations": 8, "student_layers": 3})
    config = complete_config(
        preset,
        {"alpha": 0.5, "evaluations": 6, "student_layers": 2},
        {"student_layers": 1, "temperature": 4.0},
        seed=7,
    )
    assert config == TrialConfig(
        epochs=2,
        evaluations=6,
        student_layers=1,
        alpha=0.5,
        temperature=4.0,
        seed=7,
        learning_rate=5e-5,
    )


@pytest.mark.parametrize(
    ("values", "overrides", "rate"),
    [
        ({}, {}, 5e-5),
        ({"initialisation": "random"}, {}, 1e-4),
        ({"initialisation": "teacher_lower"}, {}, 5e-5),
        ({"initialisation": "teacher_lower"}, {"initialisation": "random"}, 1e-4),
        ({"initialisation": "random", "learning_rate": 3e-4}, {}, 3e-4),
        ({"initialisation": "random", "learning_rate": 3e-4}, {"learning_rate": 1e-5}, 1e-5),
        ({"initialisation": "random"}, {"learning_rate": 1e-5}, 1e-5),
    ],
)
def test_the_learning_rate_is_the_initialisations_unless_given(values, overrides, rate):
    config = complete_config(MINI, {"alpha": 0.5, **values}, overrides, seed=0)
    assert config.learning_rate == rate


@pytest.mark.parametrize(
    ("values", "overrides", "seed"),
    [({}, {}, 3), ({"seed": 4}, {}, 4), ({"seed": 4}, {"seed": 5}, 5)],
)
def test_a_seed_of_the_space_or_the_user_goes_before_the_sweeps(values, overrides, seed):
    assert complete_config(MINI, {"alpha": 0.5, **values}, overrides, seed=3).seed == seed


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"initialisation": "teacher"}, "^initialisation: 'teacher' is not known"),
        ({"epoch": 3}, "^setting: 'epoch' is not known; did you mean epochs\\?"),
        ({"alpha_schedule": "cosine_growth"}, "^sharpness: missing"),
    ],
)
def test_what_does_not_fit_is_refused(overrides, message):
    with pytest.raises(UserError, match=message):
        complete_config(MINI, {"alpha": 0.5}, overrides, seed=0)


def test_neither_preset_nor_values_are_changed():
    values, overrides, constants = {"alpha": 0.5}, {"epochs": 1}, dict(MINI.trial)
    complete_config(MINI, values, overrides, seed=1)
    assert (values, overrides, dict(MINI.trial)) == ({"alpha": 0.5}, {"epochs": 1}, constants)
