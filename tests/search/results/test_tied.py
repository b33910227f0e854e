"""Which trials and recipes are tied with the best, by hand and in simulated sweeps."""

import numpy as np
import pytest
from scipy.stats import norm

from search.results.statistics import best5_scores
from search.results.tied import tied_recipes, tied_with_first
from tests.search.results.test_statistics import answers, generator


def tied(scores, **options):
    return tied_with_first(np.array(scores), **options).tolist()


def test_which_trials_are_tied_with_the_best():
    scores = best5_scores(answers(6, 100))
    for trials in (1, 4):
        assert tied([scores] * trials, seed_sd=0.0) == [True] * trials
    shares = (0.5, 0.9, 0.7, 0.89)
    apart = [best5_scores(answers(1, 872, share)) for share in shares]
    assert tied(apart) == [False, True, False, True]
    # Without seeds' noise it is a paired test: of examples wrong by the second alone, 3 may be none
    # in another draw, 6 may not (Poisson: 0 of 6 or 12 and more in 2 %).
    first = np.ones(1000)
    for wrong, equal in ((3, True), (6, False)):
        second = np.repeat([0.0, 1.0], [wrong, 1000 - wrong])
        assert tied([first, second], seed_sd=0.0) == [True, equal]
    # A mean over seeds is told from another sooner than a seed.
    scores = [np.full(100, 0.81), np.full(100, 0.80)]
    sure, unsure = np.array([0.001, 0.001]), np.array([0.001, 0.01])
    assert tied(scores, seed_sd=sure) == [True, False]
    assert tied(scores, seed_sd=unsure) == [True, True]
    assert tied(scores[::-1], seed_sd=unsure[::-1]) == [True] * 2


@pytest.mark.parametrize("noisy", [0, 1])
def test_without_noise_of_examples_it_is_tukeys_range_whoever_is_noisier_beside_them(noisy):
    """Of 20 means its 95% quantile is 5.01 standard deviations, by tables."""
    for gap, stays in ((4.7, True), (5.3, False)):
        scores = [np.full(100, 0.8 - 0.001 * gap), *[np.full(100, 0.8)] * (19 + noisy)]
        deviations = np.array([0.001] * 20 + [0.01] * noisy)
        assert tied(scores, seed_sd=deviations) == [stays, *[True] * (19 + noisy)]


def test_seeds_that_differ_by_more_than_is_assumed_tie_recipes():
    """Each recipe's two seeds are 6 points apart, the recipes 4; the same with seeds alike."""
    right = np.arange(1000)
    apart = [np.array([right < n - 30, right < n + 30], dtype=float) for n in (860, 820)]
    alike = [np.array([right < n, right < n], dtype=float) for n in (860, 820)]
    assert tied_recipes(apart, "cc")[2].tolist() == [True, True]
    assert tied_recipes(alike, "cc")[2].tolist() == [True, False]
    # Those of another kind say nothing of these, unless these have one seed each.
    assert tied_recipes([*alike, *apart], "ccrr")[2].tolist() == [True, False, True, True]
    alone = [scores[:1] for scores in alike]
    assert tied_recipes([*alone, *apart], "ccrr")[2].tolist() == [True] * 4
    assert tied_recipes(alone, "cc")[2].tolist() == [True, False]


# Simulations: 872 examples, accuracy 0.90, two seeds of a recipe disagree on 5 % of examples.


def students(rng, recipes, seeds, *, better=0.0, seed_sd=0.004, examples=872, own=0.3):
    """Correct/wrong bits [recipes, seeds, examples]; the first recipe is `better` by so much.

    An example is right where its ease, common to all, and what is left to chance exceed a
    threshold. `own` is the share of that chance which a recipe's seeds have in common. The
    accuracy that a seed would have on all examples varies with `seed_sd` between seeds.
    """
    accuracy = 0.9 + seed_sd * rng.standard_normal((recipes, seeds))
    accuracy[0] += better
    ease = np.sqrt(0.94) * rng.standard_normal(examples)
    of_recipe = np.sqrt(0.06 * own) * rng.standard_normal((recipes, 1, examples))
    of_seed = np.sqrt(0.06 * (1 - own)) * rng.standard_normal((recipes, seeds, examples))
    return ease + of_recipe + of_seed + norm.ppf(accuracy)[..., None] > 0


def beyond_chance(share, count):
    """The share plus three standard deviations of its count among so many."""
    return share + 3 * np.sqrt(share * (1 - share) / count)


@pytest.mark.simulation
@pytest.mark.parametrize(("kinds", "spread"), [("ccccccrrr", 0.05), ("ccrr", 0.02)])
def test_of_equal_recipes_any_is_excluded_in_about_5_percent(kinds, spread):
    """Where two seeds of random weights differ by more: in 6.8 and 6.5 %, with their spread pooled
    over both kinds in 22 and 13 %. (Of one such recipe, the two may agree by luck: 15 %.)"""
    rng, count, claimed = generator(9), 400, 0
    for _ in range(count):
        copied = students(rng, kinds.count("c"), 2)
        random = students(rng, kinds.count("r"), 2, seed_sd=spread)
        claimed += not tied_recipes([*copied, *random], kinds)[2].all()
    print(kinds, spread, claimed / count)
    assert claimed / count <= beyond_chance(0.07, count)


@pytest.mark.simulation
@pytest.mark.parametrize("trials", [2, 10])
def test_of_equal_trials_any_is_excluded_in_at_most_5_percent(trials):
    rng, count, claimed = generator(9), 300, 0
    for _ in range(count):
        claimed += not tied_with_first(students(rng, trials, 1)[:, 0]).all()
    assert claimed / count <= beyond_chance(0.05, count)
