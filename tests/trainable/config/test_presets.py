"""The presets: what can be built from them, and how much of a trial evaluations take."""

import json

import pytest

from tests.conftest import MINI
from trainable.common.errors import UserError
from trainable.config.initialisations import INITIALISATIONS
from trainable.config.layer_sets import check_depths
from trainable.config.options import InputOptions, fitted, transfer_sources
from trainable.config.presets import PRESETS
from trainable.config.trial_config import TrialConfig


@pytest.mark.parametrize(("width", "share"), [(16, 1), (384, 1), (768, 1 / 2), (1536, 1 / 4)])
def test_a_given_teachers_learning_rate_falls_with_its_width(tmp_path, width, share):
    config = {"num_hidden_layers": 12, "hidden_size": width}
    (tmp_path / "config.json").write_text(json.dumps(config))
    usual = PRESETS["mini"]
    found = fitted(InputOptions(preset="mini", teacher=str(tmp_path))).effective_preset
    assert found.teacher_settings.learning_rate == share * usual.teacher_settings.learning_rate
    assert found.learning_rates == usual.learning_rates  # of students


@pytest.mark.parametrize(("count", "epochs"), [(None, 1), (5120, 1), (2560, 2), (641, 8)])
def test_students_pass_over_few_examples_more_often(count, epochs):
    """Until they make 300 steps, of 16 examples each; their teacher does not."""
    found = MINI.for_examples(count)
    assert found.trial == {**MINI.trial, "epochs": epochs}
    assert found.teacher_settings == MINI.teacher_settings
    assert PRESETS["sst2"].for_examples(640).trial["epochs"] == 15  # of 32


def test_sources_are_told_apart_by_commas_that_no_path_has(tmp_path, monkeypatch):
    (folder := tmp_path / "a,b").mkdir()
    (folder / "texts.csv").write_text("text\none\n")
    monkeypatch.chdir(folder)
    assert transfer_sources("texts.csv") == (str(folder / "texts.csv"),)
    with pytest.raises(UserError, match=r"texts\.csv': its path has a comma"):
        transfer_sources("texts.csv,augment")


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_makes_a_valid_trial_for_every_initialisation(name):
    preset = {**PRESETS, "mini": MINI}[name]
    for initialisation in INITIALISATIONS:
        rate = preset.learning_rates[initialisation]
        given = {"alpha": 0.5, "initialisation": initialisation, "learning_rate": rate}
        config = TrialConfig.from_dict({**preset.trial, **given})
        check_depths(config.student_layers, 6 if name == "mini" else 12)
        assert config.evaluations >= 5  # or the score would not be a mean of five
        assert config.evaluations > preset.grace_evaluations >= 1
    with pytest.raises(TypeError):
        preset.trial["epochs"] = 1
