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


def test_imdb_looks_at_a_sample_and_stays_within_its_share():
    """Of 25,000 reviews each for training and testing, in forward passes of one."""

    def share(looked_at):
        looks = PRESETS["imdb"].trial["evaluations"] * looked_at + 25_000
        return looks / (3 * 25_000 * PRESETS["imdb"].trial["epochs"] + looks)

    assert PRESETS["imdb"].eval_subset == 900
    assert share(900) < 0.15 < share(1_000)
    assert PRESETS["sst2"].eval_subset is None
