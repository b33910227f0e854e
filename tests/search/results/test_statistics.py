"""Statistics of a trial's answers, against answers worked out by hand and normal approximations."""

import numpy as np
import pytest
from scipy.stats import norm

from search.results.confirmation import looks_until
from search.results.statistics import (
    best5_scores,
    bootstrap_interval,
    holm,
    look_levels,
    mean_interval,
    own_variances,
    seeds_difference,
    shrunk_means,
    tied_with_first,
)
from trainable.engine.metrics import mean_of_best5


def generator(seed=0):
    return np.random.default_rng(seed)


def answers(evaluations, examples, share=0.8, seed=0):
    """Boolean arrays [examples], one an evaluation."""
    return list(generator(seed).random((evaluations, examples)) < share)


def normal_interval(scores):
    """Mean -/+ 1.96 standard errors."""
    half = 1.959964 * scores.std() / np.sqrt(len(scores))
    return scores.mean() - half, scores.mean() + half


def test_best5_scores_by_hand():
    correct = [
        [1, 1, 1, 1],  # 1.00
        [0, 0, 0, 1],  # 0.25: the worst of six is left out
        [1, 1, 1, 0],
        [1, 1, 0, 0],
        [1, 1, 0, 0],
        [1, 0, 1, 0],
    ]
    found = best5_scores([np.array(row, dtype=bool) for row in correct])
    np.testing.assert_allclose(found, [1.0, 0.8, 0.6, 0.2], rtol=0, atol=1e-15)
    assert found.mean() == mean_of_best5([float(np.mean(row)) for row in correct])
    same = [np.array([True, False])] * 5
    np.testing.assert_array_equal(best5_scores([*same, ~same[0]]), [1.0, 0.0])  # the earlier


@pytest.mark.parametrize("share", [0.6, 0.9])
@pytest.mark.parametrize("evaluations", [1, 5])
def test_interval_is_near_the_normal_approximation(share, evaluations):
    scores = best5_scores(answers(evaluations, 872, share))
    # 2,000 resamples place a 2.5 % quantile to 6 % of a standard error (0.0166 at most)
    np.testing.assert_allclose(
        bootstrap_interval(scores, generator()), normal_interval(scores), rtol=0, atol=0.0025
    )


# Two students on the same examples.


def test_interval_of_a_paired_difference_by_hand():
    """30 of 200 differ, 22 for the first: a normal approximation of mean 0.07, error 0.0270."""
    first = np.repeat([1.0, 0.0, 1.0], [22, 8, 170])
    second = np.repeat([0.0, 1.0, 1.0], [22, 8, 170])
    found = bootstrap_interval(first - second, generator())
    error = np.sqrt((0.15 - 0.07**2) / 200)
    ends = (0.07 - 1.96 * error, 0.07 + 1.96 * error)
    assert found == pytest.approx(ends, abs=0.005)
    assert bootstrap_interval(np.ones(9), generator()) == (1.0, 1.0)


# Many comparisons.


@pytest.mark.parametrize(
    ("raw", "adjusted"),
    [
        ([], []),
        ([0.2], [0.2]),
        ([0.01, 0.04, 0.03], [0.03, 0.06, 0.06]),  # 3 x 0.01; 2 x 0.03; no less than that
        ([0.5, 0.0, 0.9], [1.0, 0.0, 1.0]),
    ],
)
def test_holm_by_hand(raw, adjusted):
    found = holm(raw)
    assert isinstance(found, np.ndarray)
    np.testing.assert_allclose(found, adjusted, rtol=0, atol=1e-12)


def test_levels_by_hand_add_up_to_5_percent():
    """2 - 2 Phi(1.959964 / sqrt(3 / 5)) = 2 - 2 Phi(2.530303)."""
    np.testing.assert_allclose(look_levels([3, 5]), [0.011397, 0.038603], rtol=0, atol=2e-6)
    np.testing.assert_allclose(look_levels([4]), [0.05], rtol=0, atol=1e-12)
    for most in range(2, 200):
        levels = look_levels(looks_until(most))
        assert levels.sum() == pytest.approx(0.05, abs=1e-12)
        assert (levels > 0).all()
        assert levels[-1] > 0.033  # what the end is left


# Seeds.


def test_seeds_and_examples_both_widen_the_difference():
    """Scores that are a seed's part plus an example's: nothing is left between the two."""
    scores = np.array([[0.1], [0.3]]) + np.array([-0.1, 0.0, 0.1])
    found = seeds_difference(scores, np.zeros((2, 3)))
    of_seeds, of_examples = 0.02 / 2, 0.01 / 3  # variances 0.02 of 2 seeds, 0.01 of 3 examples
    half = np.sqrt(12.706205**2 * of_seeds + 1.959964**2 * of_examples)
    assert found.estimate == pytest.approx(0.2)
    assert (found.low, found.high) == pytest.approx((0.2 - half, 0.2 + half), abs=1e-6)


def test_interval_of_a_mean_is_that_of_its_seeds_and_within_0_and_1():
    scores = np.array(answers(3, 200, 0.8))
    found = seeds_difference(scores, np.zeros(scores.shape))
    assert mean_interval(scores, generator()) == (found.low, found.high)
    assert mean_interval(scores[:1], generator(1)) == bootstrap_interval(scores[0], generator(1))
    assert mean_interval(np.array([[1.0] * 9, [0.0] * 9]), generator()) == (0.0, 1.0)


def test_examples_alone_are_a_z_test_and_seeds_alone_a_t_test():
    of_examples = np.tile([0.0, 0.0, 0.3], (4, 1))
    found = seeds_difference(of_examples, np.zeros((4, 3)))
    error = np.sqrt(0.03 / 3)
    assert found.p_value == pytest.approx(2 * norm.sf(0.1 / error), rel=1e-6)
    of_seeds = np.repeat([[0.01], [0.02], [0.03]], 5, axis=1)
    found = seeds_difference(of_seeds, np.zeros((3, 5)))
    half = 4.302653 * 0.01 / np.sqrt(3)  # Student's quantile at two degrees of freedom
    assert (found.low, found.high) == pytest.approx((0.02 - half, 0.02 + half), abs=1e-8)
    assert found.p_value == pytest.approx(0.07418, abs=1e-5)  # t = 3.4641 at 2 degrees of freedom


def test_seeds_that_agree_by_luck_do_not_close_the_interval():
    """Mean 1/2 for either seed and either example; the rest's mean square is 1."""
    found = seeds_difference(np.eye(2), np.zeros((2, 2)))
    half = 1.959964 * np.sqrt(1 / 4)
    assert (found.low, found.high) == pytest.approx((0.5 - half, 0.5 + half), abs=1e-6)
    assert found.p_value == pytest.approx(2 * norm.sf(1.0), rel=1e-6)


def test_seeds_of_two_recipes_have_welchs_degrees_of_freedom():
    """Seeds alone: 0.5, 0.7 against 0.1, 0.2, 0.3."""
    first = np.repeat([[0.5], [0.7]], 4, axis=1)
    second = np.repeat([[0.1], [0.2], [0.3]], 4, axis=1)
    found = seeds_difference(first, second)
    parts = (0.02 / 2, 0.01 / 3)
    freedom = sum(parts) ** 2 / (parts[0] ** 2 / 1 + parts[1] ** 2 / 2)
    assert freedom == pytest.approx(1.6842, abs=1e-4)
    half = 5.2005 * np.sqrt(sum(parts))  # Student's quantile there
    assert found.estimate == pytest.approx(0.4)
    assert found.high - found.estimate == pytest.approx(half, rel=0.01)


def test_equal_recipes_and_certain_differences_have_finite_p_values():
    bits = np.array(answers(3, 50))
    equal = seeds_difference(bits, bits)
    assert (equal.estimate, equal.p_value) == (0.0, pytest.approx(1.0))
    assert seeds_difference(np.ones((3, 50)), np.zeros((3, 50))).p_value == 0.0
    first = np.ones((3, 10_000))
    first[0, 0] = 0.0
    assert 0 < seeds_difference(first, np.zeros((3, 10_000))).p_value < 1e-6


@pytest.mark.parametrize(
    ("first", "second"), [((1, 9), (3, 9)), ((3, 9), (1, 9)), ((3, 9), (3, 8)), ((3, 1), (3, 1))]
)
def test_seeds_difference_needs_seeds_and_examples(first, second):
    with pytest.raises(ValueError, match="shapes"):
        seeds_difference(np.ones(first), np.zeros(second))


# The set of the best.


@pytest.mark.parametrize("trials", [1, 4])
def test_equal_trials_are_tied(trials):
    scores = np.tile(best5_scores(answers(6, 100)), (trials, 1))
    assert tied_with_first(scores, generator(), seed_sd=0.0).tolist() == [True] * trials


def test_far_apart_are_not_tied_whatever_their_order():
    scores = np.array([best5_scores(answers(1, 872, share)) for share in (0.5, 0.9, 0.7, 0.89)])
    assert tied_with_first(scores, generator()).tolist() == [False, True, False, True]


def test_two_trials_without_seed_noise_are_a_paired_test():
    """Of examples wrong by the second alone, 3 may be none in another draw, 6 may not."""
    first = np.ones(1000)
    for wrong, tied in ((3, True), (6, False)):  # Poisson: 0 of 6 or 12 and more in 2 %
        second = np.repeat([0.0, 1.0], [wrong, 1000 - wrong])
        found = tied_with_first(np.array([first, second]), generator(), seed_sd=0.0)
        assert found.tolist() == [True, tied]


def test_a_mean_over_seeds_is_told_from_another_sooner_than_a_seed():
    scores = np.array([np.full(100, 0.81), np.full(100, 0.80)])
    sure, unsure = np.array([0.001, 0.001]), np.array([0.001, 0.01])
    assert tied_with_first(scores, generator(), seed_sd=sure).tolist() == [True, False]
    assert tied_with_first(scores, generator(), seed_sd=unsure).tolist() == [True, True]
    assert tied_with_first(scores[::-1], generator(), seed_sd=unsure[::-1]).tolist() == [True] * 2


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
@pytest.mark.parametrize("seeds", [2, 5])
@pytest.mark.parametrize(("seed_sd", "own"), [(0.004, 0.3), (0.01, 0.5)])
def test_equal_recipes_differ_in_at_most_5_percent(seeds, seed_sd, own):
    rng, count, claimed = generator(7), 400, 0
    for _ in range(count):
        first, second = students(rng, 2, seeds, seed_sd=seed_sd, own=own)
        claimed += seeds_difference(first, second).p_value < 0.05
    assert claimed / count <= beyond_chance(0.05, count)


@pytest.mark.simulation
@pytest.mark.parametrize("trials", [2, 10])
def test_of_equal_trials_any_is_excluded_in_at_most_5_percent(trials):
    rng, count, claimed = generator(9), 300, 0
    for _ in range(count):
        claimed += not tied_with_first(students(rng, trials, 1)[:, 0], rng).all()
    assert claimed / count <= beyond_chance(0.05, count)


# What the best owes to luck.


@pytest.mark.parametrize(
    ("means", "variances", "wanted"),
    [
        ([0.5], [1e-4], [0.5]),
        # A spread below the noise: all are equal, at the mean weighted by 1 / variance.
        ([0.80, 0.81, 0.82], [4e-4, 4e-4, 2e-4], [0.8125, 0.8125, 0.8125]),
        # Two groups far apart: each shrinks to its own mean.
        ([0.5, 0.502, 0.9, 0.904], [1e-4] * 4, [0.501, 0.501, 0.902, 0.902]),
        # Hardly any noise: nothing to take back.
        ([0.5, 0.6, 0.7, 0.9], [1e-12] * 4, [0.5, 0.6, 0.7, 0.9]),
    ],
)
def test_shrunk_means_by_hand(means, variances, wanted):
    found = shrunk_means(np.array(means), np.array(variances))
    np.testing.assert_allclose(found, wanted, rtol=0, atol=5e-4)


@pytest.mark.parametrize(
    "true_means",
    [
        lambda rng: rng.normal(0.88, 0.005, 32),
        lambda rng: 0.89 - rng.exponential(0.01, 32),  # a ceiling, and a tail below it
        lambda rng: np.where(rng.random(32) < 0.3, 0.7, 0.89 - rng.exponential(0.01, 32)),
    ],
)
def test_shrunk_means_are_nearer_to_the_truth_and_foretell_the_luck_of_the_winner(true_means):
    """60 sweeps of 32 recipes, of which some learn nothing in the last case."""
    rng, rows = generator(), []
    for _ in range(60):
        truth, noise = true_means(rng), rng.uniform(0.004, 0.0065, 32)
        scores = truth + noise * rng.standard_normal(32)
        found, best = shrunk_means(scores, noise**2), scores.argmax()
        errors = [np.mean((guess - truth) ** 2) for guess in (scores, found)]
        rows.append([*errors, scores[best] - truth[best], scores[best] - found[best]])
    raw, shrunk, luck, foretold = np.mean(rows, axis=0)
    assert shrunk < 0.9 * raw
    assert luck > 0.007  # 0.8 to 0.9 points, with a standard error of 0.05
    assert foretold == pytest.approx(luck, rel=0.2)


def test_own_variances_leave_out_what_is_hard_for_all_and_tell_recipes_apart():
    """Scores are common difficulty plus a deviation of each recipe's own."""
    rng, examples, deviations = generator(), 20_000, np.linspace(0.1, 0.4, 7)
    common = rng.standard_normal(examples)
    scores = common + deviations[:, None] * rng.standard_normal((7, examples))
    scores += 0.1 * np.arange(7)[:, None]  # that the last four are the better half
    wanted = deviations**2 / examples
    np.testing.assert_allclose(own_variances(scores), wanted, rtol=0.15)
    np.testing.assert_allclose(own_variances(scores[3:]), wanted[3:], rtol=0.15)
    half = (wanted[0] + wanted[6]) / 2
    np.testing.assert_allclose(own_variances(scores[[0, 6]]), [half, half], rtol=0.05)
    np.testing.assert_array_equal(own_variances(scores[:1]), [0.0])
