"""What a preset and the user's replacements come to: data, teacher, complete configurations."""

from unittest.mock import Mock

import pytest

from tests.conftest import MINI, user_error, write_tsv
from trainable.config.initialisations import LEARNING_RATES
from trainable.config.options import InputOptions, complete_config
from trainable.config.presets import PRESETS
from trainable.config.trial_config import TrialConfig
from trainable.data import sources
from trainable.data.datasets import Dataset, LabelledTexts
from trainable.data.sources import load_sources
from trainable.data.wheels import small_encoder, tweets


@pytest.fixture
def folder(tmp_path):
    """20 examples for training and 10 others for evaluation."""
    (folder := tmp_path / "splits").mkdir()
    for name, count in (("train", 20), ("dev", 10)):
        texts = [f"{name} {row}" for row in range(count)]
        write_tsv(folder / f"{name}.tsv", LabelledTexts(texts, [0, 1] * (count // 2)))
    return folder


@pytest.fixture
def asked(monkeypatch):
    """What datasets are loaded with, in place of loading them."""
    split = LabelledTexts(["a", "b"], [0, 1])
    dataset = Dataset(split, split, ["0", "1"])
    monkeypatch.setattr(sources, "load_dataset", load := Mock(return_value=dataset))
    return load


def test_the_small_preset_is_the_two_wheels(tmp_path, monkeypatch):
    monkeypatch.setitem(PRESETS, "mini", MINI)
    found, everything = load_sources(InputOptions(preset="mini", cache=str(tmp_path))), tweets()
    assert found.teacher_source == str(small_encoder())
    assert found.teacher_settings == MINI.teacher_settings
    sizes = {name: len(split) for name, split in found.dataset.splits.items()}
    assert sizes == {"train": 5120, "evaluation": 2013}
    assert set(found.dataset.train.texts) < set(everything.train.texts)
    assert found.dataset.evaluation.texts == everything.evaluation.texts


@pytest.mark.parametrize(
    ("most", "subset", "sizes"),
    [(None, 4, (4, 10)), (8, 4, (4, 8)), (None, None, (10, None)), (4, 4, (4, None))],
)
def test_sizes_hold_for_the_users_own_data(tmp_path, folder, most, subset, sizes):
    cut = {"max_train_samples": 6, "max_eval_samples": most, "eval_subset": subset}
    given = {"teacher": "t", "dataset": str(folder), "cache": str(tmp_path / "cache")}
    found = load_sources(InputOptions(preset="mini", max_length=9, **cut, **given))
    train, looked_at, whole = found.dataset.train, found.dataset.evaluation, found.dataset.full
    assert (len(looked_at), None if whole is None else len(whole)) == sizes
    assert (found.available, found.max_length) == ((20, 10), 9)
    assert sorted(train.labels) == [0, 0, 0, 1, 1, 1]
    assert looked_at.labels.count(0) == looked_at.labels.count(1)
    assert all(text.startswith("train ") for text in train.texts)
    assert whole is None or set(looked_at.texts) < set(whole.texts)


def test_a_label_that_the_presets_size_leaves_out_is_told(folder):
    rows = [f"train {row}\t{2 if row == 7 else row % 2}" for row in range(9000)]
    (folder / "train.tsv").write_text("\n".join(["sentence\tlabel", *rows]) + "\n")
    options = InputOptions(preset="mini", dataset=str(folder), teacher="t")
    said = user_error(load_sources, options)
    assert said.startswith("--max-train-samples 2048: too few to have each label among them; give")


def test_one_validation_example_is_too_few(folder):
    write_tsv(folder / "dev.tsv", LabelledTexts(["a"], [0]))
    options = InputOptions(preset="mini", dataset=str(folder), teacher="t")
    assert user_error(load_sources, options).startswith(
        "the validation split has 1 example; give 2"
    )


def test_made_texts_fit_into_the_tokens_that_are_read(folder):
    texts = [f"{row} " * 100 for row in range(20)]  # of 48 words at most: three pieces each
    write_tsv(folder / "train.tsv", LabelledTexts(texts, [0, 1] * 10))
    options = InputOptions(preset="mini", dataset=str(folder), transfer="augment", max_length=64)
    made = load_sources(options).dataset.transfer.texts
    assert max(len(text.split()) for text in made) == 34
    assert {f"{row} " * 34 for row in range(20)} <= {f"{text} " for text in made}


def test_columns_may_be_those_of_texts_to_transfer(folder):
    path = folder / "texts.csv"
    path.write_text("body\nnice\n")
    given = {"preset": "mini", "transfer": str(path), "text_column": "body"}
    assert load_sources(InputOptions(**given)).dataset.transfer.texts == ["nice"]
    options = InputOptions(**given | {"transfer": "rest"})
    assert user_error(load_sources, options).startswith("--text-column: has no effect without --d")


def test_hub_ids_and_their_configurations(tmp_path, asked):
    (local := tmp_path / "with:colon").mkdir()  # which is left whole
    deberta = "microsoft/deberta-v3-base"
    for preset, dataset, source, configuration in (
        ("sst2", None, "nyu-mll/glue", "sst2"),
        ("imdb", None, "stanfordnlp/imdb", None),
        ("mini", "nyu-mll/glue:sst2", "nyu-mll/glue", "sst2"),
        ("sst2", "stanfordnlp/imdb", "stanfordnlp/imdb", None),
        ("mini", str(local), str(local), None),
    ):
        found = load_sources(InputOptions(preset=preset, dataset=dataset, cache=str(tmp_path)))
        assert (found.teacher_source == deberta) == (preset != "mini")
        assert asked.call_args.args[:3] == (source, configuration, tmp_path / "datasets")


def test_a_spaces_values_go_before_the_presets_constants():
    constants = {"epochs": 2, "evaluations": 8, "student_layers": 3}
    values = {"alpha": {"alpha": 0.5, "alpha_schedule": "fixed"}, "evaluations": 6, "seed": 7}
    config = complete_config(constants, LEARNING_RATES, values)
    expected = {"epochs": 2, "evaluations": 6, "student_layers": 3, "alpha": 0.5, "seed": 7}
    assert config == TrialConfig(**expected, learning_rate=5e-5)
    assert constants == {"epochs": 2, "evaluations": 8, "student_layers": 3}


def test_a_trial_from_a_pretrained_student_has_that_ones_shape():
    values = {"alpha": 0.5, "initialisation": "pretrained", "feedforward_share": 0.5}
    own = {"student_layers": 2, "student_width": 128}
    config = complete_config({"student_layers": 3}, LEARNING_RATES, values, own)
    assert (config.student_layers, config.student_width, config.feedforward_share) == (2, 128, 1.0)


def test_the_learning_rate_is_the_initialisations_unless_given():
    for constants, values, rate in (
        ({}, {}, 5e-5),
        ({}, {"initialisation": "random"}, 1e-4),
        ({}, {"initialisation": "teacher_embeddings", "learning_rate": 3e-4}, 3e-4),
        ({"learning_rate": 1e-5}, {"initialisation": "random"}, 1e-5),
        ({}, {"initialisation": "random", "learning_rate_factor": 0.5}, 5e-5),
        ({}, {"rate": {"learning_rate_factor": 3}}, 3 * 5e-5),
    ):
        config = complete_config(constants, LEARNING_RATES, {"alpha": 0.5, **values})
        assert config.learning_rate == rate


def test_a_factor_of_no_rate_is_refused():
    for values, said in (
        ({"learning_rate": 1e-5}, "learning_rate_factor: 2.0 given beside learning_rate 1e-05"),
        ({"learning_rate_factor": "twice"}, "learning_rate_factor: 'twice' is not a number"),
        ({"learning_rate_factor": -1.0}, "learning_rate: -5e-05 must be above 0.0"),
        ({"initialisation": "teacher_spred"}, "did you mean teacher_spread?"),
    ):
        given = {"alpha": 0.5, "learning_rate_factor": 2.0, **values}
        assert said in user_error(complete_config, {}, LEARNING_RATES, given)
