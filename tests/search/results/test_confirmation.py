"""Baselines, pairs, seeds and looks of a confirmation, by hand."""

import json
from dataclasses import asdict, replace

import pytest

from search.results.confirmation import (
    Confirmation,
    baselines_of,
    fresh_seeds,
    looks_until,
    plain_student,
)
from tests.made_runs import asked
from trainable.config.trial_config import TrialConfig

GROWTH = {"alpha_schedule": "cosine_growth", "sharpness": 2.0}
FIXED = {"alpha_schedule": "fixed", "alpha": 0.5}
CE_ONLY = {"alpha_schedule": "fixed", "alpha": 1.0}


def config(**settings):
    return TrialConfig(**({"aligned_layers": "1,2,3"} | settings))


def ce_only(**settings):
    return TrialConfig(**CE_ONLY, **settings)


def confirmation(*finalists, seeds=(1, 2)):
    scores = tuple(0.9 for _ in finalists)
    return Confirmation("mine", "then", tuple(finalists), scores, seeds, (len(seeds),))


OWN = {"initialisation": "random", "learning_rate": 3e-4, "temperature": 4.0}


@pytest.mark.parametrize(
    ("finalist", "baselines"),
    [
        (config(**FIXED), [ce_only()]),
        (ce_only(), [TrialConfig(**FIXED)]),
        (config(alpha=0.25), [config(**FIXED), ce_only()]),
        (config(**GROWTH, **OWN), [config(**FIXED, **OWN), ce_only(**OWN)]),
    ],
)
def test_baselines_by_hand(finalist, baselines):
    assert baselines_of(finalist) == baselines


def test_baselines_that_finalists_share_are_trained_once():
    """Cross-entropy only is the same whatever the layers; fixed alpha is not."""
    first, second = config(**GROWTH), config(**GROWTH | {"aligned_layers": "4,5,6"})
    made = confirmation(first, second)
    fixed = [config(**FIXED), config(**FIXED | {"aligned_layers": "4,5,6"})]
    assert made.recipes == [first, second, fixed[0], ce_only(), fixed[1]]
    pairs = [(first, fixed[0]), (first, ce_only()), (second, fixed[1]), (second, ce_only())]
    assert made.pairs == [*pairs, (first, second)]


def test_baseline_that_is_a_finalist_is_trained_and_compared_once():
    growth, fixed, alone = config(**GROWTH), config(**FIXED), ce_only()
    made = confirmation(fixed, growth, alone)
    unaligned = TrialConfig(**FIXED)
    assert made.recipes == [fixed, growth, alone, unaligned]
    assert made.pairs == [(fixed, alone), (growth, fixed), (growth, alone), (alone, unaligned)]


def test_trials_are_each_recipe_on_each_seed_with_what_is_inactive_as_the_run_had_it():
    """Their digests are then the run's, seed apart."""
    finalist = TrialConfig(**GROWTH, hidden_weight=10.0, seed=1)
    made = confirmation(finalist, seeds=(4, 6))
    assert [trial.seed for trial in made.trials()] == [4, 4, 4, 6, 6, 6]
    assert made.trials()[0] == replace(finalist, seed=4)
    assert made.recipes == [
        TrialConfig(**GROWTH, hidden_weight=1.0),
        TrialConfig(**FIXED),
        ce_only(),
    ]
    assert [trial.recipe for trial in made.trials()] == made.recipes * 2


@pytest.mark.parametrize(
    ("used", "count", "seeds"), [({0, 1, 2}, 2, [3, 4]), ({3, 7}, 2, [8, 9]), (set(), 2, [0, 1])]
)
def test_fresh_seeds(used, count, seeds):
    assert fresh_seeds(used, count) == seeds


def test_more_seeds_are_added_behind_with_looks_of_their_own_and_none_is_taken_away():
    made = confirmation(config(**GROWTH), seeds=(1, 2, 3, 4, 5))
    assert made.looks == [3, 5]
    more = made.with_seeds(13, {0, 6}, 0.01)
    assert more.seeds == (1, 2, 3, 4, 5, *range(7, 15))
    assert (more.asked, more.looks, more.precision) == ((5, 13), [8, 13], 0.01)
    assert more.trials()[: len(made.trials())] == made.trials()
    assert made.with_seeds(5, {0}, 0.01) == made.with_seeds(0, {0}) == made


@pytest.mark.parametrize(
    ("most", "looks"),
    [(2, [2]), (4, [4]), (5, [3, 5]), (7, [3, 7]), (13, [3, 5, 8, 13]), (14, [3, 5, 8, 14])],
)
def test_looks_grow_and_none_is_shortly_before_the_end(most, looks):
    assert looks_until(most) == looks


def test_the_best_is_compared_with_the_student_that_is_simply_fine_tuned():
    """By the preset's learning rate and the model's own shape, as long as the best trained."""
    shape = (("student_layers", 4), ("student_width", 256))
    request = asked(student="some/model", pretrained=shape)
    best, other = config(**GROWTH, epochs=5), ce_only(temperature=3.0, seed=3)
    plain = plain_student(request, best)
    rate = request.effective_preset.learning_rates["pretrained"]
    own = {"initialisation": "pretrained", "learning_rate": rate, **dict(shape)}
    assert plain == ce_only(**own, epochs=5)
    made = replace(confirmation(best, other), baselines=(plain,), scores=(0.9, None))
    assert set(made.pairs) - set(confirmation(best, other).pairs) == {(best.recipe, plain.recipe)}
    assert plain.recipe in made.recipes
    assert Confirmation.from_dict(json.loads(json.dumps(asdict(made)))) == made
    itself, alone = replace(confirmation(plain), baselines=(plain,)), confirmation(plain)
    assert (itself.pairs, itself.recipes) == (alone.pairs, alone.recipes)
    assert plain_student(asked(), best) is None
