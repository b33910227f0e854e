"""The presets: what can be built from them, and how much of a trial evaluations take."""

import pytest

from tests.conftest import MINI
from trainable.config.initialisations import INITIALISATIONS
from trainable.config.layer_sets import check_depths
from trainable.config.presets import PRESETS
from trainable.config.trial_config import TrialConfig


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
