"""The presets against the table of DESIGN section 5, and what can be built from them."""

from dataclasses import FrozenInstanceError

import pytest

from trainable.config import TrialConfig
from trainable.layers import check_depths
from trainable.names import INITIALISATIONS
from trainable.presets import LEARNING_RATES, PRESETS, affordable_sample, automatic_preset


@pytest.mark.parametrize(
    ("name", "teacher", "dataset", "student_layers", "max_length"),
    [
        ("sst2", "microsoft/deberta-v3-base", ("nyu-mll/glue", "sst2"), 6, 64),
        ("imdb", "microsoft/deberta-v3-base", ("stanfordnlp/imdb", None), 6, 512),
        ("mini", None, (None, None), 3, None),
    ],
)
def test_the_designs_table(name, teacher, dataset, student_layers, max_length):
    preset = PRESETS[name]
    assert preset.teacher == teacher
    assert (preset.dataset, preset.dataset_configuration) == dataset
    assert preset.trial["student_layers"] == student_layers
    assert max_length in (None, preset.max_length)


def test_only_the_small_preset_cuts_its_sentences():
    cut = {name: (p.train_sentences, p.evaluation_sentences) for name, p in PRESETS.items()}
    assert cut["sst2"] == cut["imdb"] == (None, None)
    assert all(count >= 800 for count in cut["mini"])


def test_imdb_looks_at_a_sample_and_stays_within_its_share():
    """Of 25,000 reviews each for training and testing, in forward passes of one."""

    def share(looked_at):
        looks = PRESETS["imdb"].trial["evaluations"] * looked_at + 25_000
        return looks / (3 * 25_000 * PRESETS["imdb"].trial["epochs"] + looks)

    assert {name: preset.search_sentences for name, preset in PRESETS.items()} == {
        "sst2": None,
        "imdb": 900,
        "mini": None,
    }
    assert share(900) < 0.15 < share(1_000) < share(1_100)
    assert share(25_000) > 0.6  # looking at all of them would cost more than the training


def test_affordable_sample_by_hand():
    """300,000 passes of training allow 52,941 for evaluation; 10,000 go to the whole split."""
    assert affordable_sample(train=10_000, whole=10_000, epochs=10, evaluations=10) == 4_200


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("initialisation", INITIALISATIONS)
def test_every_preset_makes_a_valid_trial_for_every_initialisation(name, initialisation):
    preset = PRESETS[name]
    config = TrialConfig.from_dict(
        {
            **preset.trial,
            "alpha": 0.5,
            "initialisation": initialisation,
            "learning_rate": preset.learning_rates[initialisation],
        }
    )
    check_depths(config.student_layers, 6 if name == "mini" else 12)
    assert config.evaluations >= 5  # or the score would not be a mean of five
    assert config.evaluations > preset.grace_evaluations >= 1


def test_random_weights_get_a_higher_learning_rate_than_copied_ones():
    copied = [LEARNING_RATES[name] for name in INITIALISATIONS if name.endswith(("ad", "er"))]
    assert set(LEARNING_RATES) == set(INITIALISATIONS)
    assert len(copied) == 3
    assert LEARNING_RATES["random"] > max(copied)


@pytest.mark.parametrize(
    ("cuda", "name", "why"),
    [(True, "sst2", "a CUDA GPU is visible"), (False, "mini", "no CUDA GPU is visible")],
)
def test_the_automatic_preset_says_why(cuda, name, why):
    assert automatic_preset(cuda) == (name, why)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_cannot_be_changed_in_place(name):
    preset = PRESETS[name]
    with pytest.raises(FrozenInstanceError):
        preset.max_length = 1
    with pytest.raises(TypeError):
        preset.trial["epochs"] = 1
    with pytest.raises(TypeError):
        preset.learning_rates["random"] = 1.0
    with pytest.raises(FrozenInstanceError):
        preset.teacher_settings.epochs = 1
