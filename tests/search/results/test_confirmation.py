"""Baselines, pairs, seeds and looks of a confirmation, by hand."""

import json
from dataclasses import asdict, replace

from search.results import confirmation as module
from search.results.confirmation import Confirmation
from tests.made_runs import asked
from tests.search.results.test_comparisons import CE_ONLY, FIXED, GROWTH
from trainable.config.fields import from_plain

UNALIGNED = replace(FIXED, aligned_layers="none")


def confirmation(*finalists, seeds=(1, 2)):
    scores = tuple(0.9 for _ in finalists)
    return Confirmation("mine", "then", tuple(finalists), scores, seeds, (len(seeds),))


OWN = {"initialisation": "random", "learning_rate": 3e-4, "temperature": 4.0}


def test_baselines_by_hand():
    for finalist, *baselines in (
        (FIXED, CE_ONLY),
        (CE_ONLY, UNALIGNED),
        (replace(FIXED, alpha=0.25), FIXED, CE_ONLY),
        (replace(GROWTH, **OWN), replace(FIXED, **OWN), replace(CE_ONLY, **OWN)),
    ):
        assert module.baselines_of(finalist) == baselines


def test_baselines_that_finalists_share_or_are_themselves_are_trained_and_compared_once():
    """Cross-entropy only is the same whatever the layers; fixed alpha is not."""
    second, fixed = (replace(recipe, aligned_layers="4,5,6") for recipe in (GROWTH, FIXED))
    made = confirmation(GROWTH, second)
    assert made.recipes == [GROWTH, second, FIXED, CE_ONLY, fixed]
    pairs = [(GROWTH, FIXED), (GROWTH, CE_ONLY), (second, fixed), (second, CE_ONLY)]
    assert made.pairs == [*pairs, (GROWTH, second)]
    made = confirmation(FIXED, GROWTH, CE_ONLY)
    assert made.recipes == [FIXED, GROWTH, CE_ONLY, UNALIGNED]
    pairs = [(FIXED, CE_ONLY), (GROWTH, FIXED), (GROWTH, CE_ONLY), (CE_ONLY, UNALIGNED)]
    assert made.pairs == pairs


def test_trials_are_each_recipe_on_each_seed_with_what_is_inactive_as_the_run_had_it():
    """Their digests are then the run's, seed apart."""
    growth = replace(GROWTH, aligned_layers="none")
    finalist = replace(growth, hidden_weight=10.0, seed=1)
    made = confirmation(finalist, seeds=(4, 6))
    assert [trial.seed for trial in made.trials()] == [4, 4, 4, 6, 6, 6]
    assert made.trials()[0] == replace(finalist, seed=4)
    assert made.recipes == [growth, UNALIGNED, CE_ONLY]
    assert [trial.recipe for trial in made.trials()] == made.recipes * 2


def test_more_seeds_are_added_behind_with_looks_of_their_own_and_none_is_taken_away():
    fresh = [module.fresh_seeds(used, 2) for used in ({0, 1, 2}, {3, 7}, ())]
    assert fresh == [[3, 4], [8, 9], [0, 1]]
    made = confirmation(GROWTH, seeds=(1, 2, 3, 4, 5))
    assert made.looks == [3, 5]
    more = made.with_seeds(13, {0, 6}, 0.01)
    assert more.seeds == (1, 2, 3, 4, 5, *range(7, 15))
    assert (more.asked, more.looks, more.precision) == ((5, 13), [8, 13], 0.01)
    assert more.trials()[: len(made.trials())] == made.trials()
    assert made.with_seeds(5, {0}) == made.with_seeds(0, {0}) == made
    finer = made.with_seeds(5, {0}, 0.01)
    assert finer == finer.with_seeds(0, {0}) == replace(made, precision=0.01)
    # Looks grow, and none is shortly before the end.
    looks = {2: [2], 4: [4], 5: [3, 5], 7: [3, 7], 13: [3, 5, 8, 13], 14: [3, 5, 8, 14]}
    assert {most: module.looks_until(most) for most in looks} == looks


def test_the_best_is_compared_with_the_student_that_is_simply_fine_tuned():
    """By the preset's learning rate and the model's own shape, as long as the best trained."""
    shape = (("student_layers", 4), ("student_width", 256))
    request = asked(student="some/model", pretrained=shape)
    best, other = replace(GROWTH, epochs=5), replace(CE_ONLY, temperature=3.0, seed=3)
    plain = module.plain_student(request, replace(best, feedforward_share=0.5))
    rate = request.effective_preset.learning_rates["pretrained"]
    own = {"initialisation": "pretrained", "learning_rate": rate, **dict(shape)}
    assert plain == replace(CE_ONLY, **own, epochs=5)
    made = replace(confirmation(best, other), baselines=(plain,), scores=(0.9, None))
    assert set(made.pairs) - set(confirmation(best, other).pairs) == {(best.recipe, plain.recipe)}
    assert plain.recipe in made.recipes
    assert from_plain(Confirmation, json.loads(json.dumps(asdict(made)))) == made
    itself, alone = replace(confirmation(plain), baselines=(plain,)), confirmation(plain)
    assert (itself.pairs, itself.recipes) == (alone.pairs, alone.recipes)
    assert module.plain_student(asked(), best) is None
