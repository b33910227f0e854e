"""Statistics of a trial's answers, against answers worked out by hand and normal approximations."""

import numpy as np
import pytest
from scipy.stats import binomtest, norm

from search.results import statistics as stats
from search.results.comparisons import holm
from search.results.confirmation import looks_until
from search.results.statistics import bootstrap_interval, own_variances, seeds_difference
from search.results.tied import tied_with_first
from trainable.engine.metrics import mean_of_best5


def generator(seed=0):
    return np.random.default_rng(seed)


def answers(evaluations, examples, share=0.8, seed=0):
    """Boolean arrays [examples], one an evaluation."""
    return list(generator(seed).random((evaluations, examples)) < share)


def test_best5_scores_by_hand():
    rows = [(1, 1, 1, 1), (0, 0, 0, 1), (1, 1, 1, 0)]  # the second, the worst of six, is left out
    rows += [(1, 1, 0, 0), (1, 1, 0, 0), (1, 0, 1, 0)]
    found = stats.best5_scores([np.array(row, dtype=bool) for row in rows])
    np.testing.assert_allclose(found, [1.0, 0.8, 0.6, 0.2], rtol=0, atol=1e-15)
    assert found.mean() == mean_of_best5([float(np.mean(row)) for row in rows])
    same = [np.array([True, False])] * 5
    np.testing.assert_array_equal(stats.best5_scores([*same, ~same[0]]), [1.0, 0.0])  # the earlier


def test_interval_of_a_paired_difference_by_hand():
    """30 of 200 differ, 22 for the first: a normal approximation of mean 0.07, error 0.0270."""
    gaps = np.repeat([1.0, -1.0, 0.0], [22, 8, 170])
    error = np.sqrt((0.15 - 0.07**2) / 200)
    ends = (0.07 - 1.96 * error, 0.07 + 1.96 * error)
    assert bootstrap_interval(gaps) == pytest.approx(ends, abs=0.005)
    assert bootstrap_interval(np.ones(9)) == (1.0, 1.0)


def test_resamples_are_drawn_once_for_all_trials_of_as_many_examples_and_are_always_the_same():
    scores = np.array(answers(3, 57), dtype=float)
    stats.resamples.cache_clear()
    found = [(*bootstrap_interval(row), *tied_with_first(scores)) for row in scores]
    assert stats.resamples.cache_info().misses == 1
    drawn = generator(stats.BOOTSTRAP_SEED)
    counts = [np.bincount(drawn.integers(57, size=57), minlength=57) for _ in range(2000)]
    ends = np.quantile(np.array(counts) @ scores.T / 57, stats.TAILS, axis=0)
    np.testing.assert_allclose([row[:2] for row in found], ends.T, rtol=0, atol=1e-12)
    assert found[0][2:] == found[2][2:]  # also of the noise that is drawn behind them


def test_students_that_no_example_tells_apart_may_differ_on_others():
    """Where no one of `count` differs, as Wilson's interval of that share has it."""
    bits = np.array(answers(3, 150), dtype=float)
    same = np.repeat(bits[:1], 3, axis=0)
    for level in (0.05, 0.01):
        most = binomtest(0, 150).proportion_ci(1 - level, method="wilson").high
        found = seeds_difference(same, same, level)
        assert (found.low, found.high) == pytest.approx((-most, most), rel=1e-9)
    most = binomtest(0, 150).proportion_ci(0.95, method="wilson").high
    paired = stats.paired_difference(bits[0], bits[0])
    assert (paired.low, paired.estimate, paired.high) == pytest.approx((-most, 0.0, most))


def test_holm_by_hand():
    for raw, adjusted in (
        ([], []),
        ([0.2], [0.2]),
        ([0.01, 0.04, 0.03], [0.03, 0.06, 0.06]),  # 3 x 0.01; 2 x 0.03; no less than that
        ([0.5, 0.0, 0.9], [1.0, 0.0, 1.0]),
    ):
        np.testing.assert_allclose(holm(raw), adjusted, rtol=0, atol=1e-12)


def test_levels_by_hand_add_up_to_5_percent():
    """2 - 2 Phi(1.959964 / sqrt(3 / 5)) = 2 - 2 Phi(2.530303)."""
    np.testing.assert_allclose(stats.look_levels([3, 5]), [0.011397, 0.038603], rtol=0, atol=2e-6)
    np.testing.assert_allclose(stats.look_levels([4]), [0.05], rtol=0, atol=1e-12)
    for most in range(2, 200):
        levels = stats.look_levels(looks_until(most))
        assert levels.sum() == pytest.approx(0.05, abs=1e-12)
        assert (levels > 0).all()
        assert levels[-1] > 0.033  # what the end is left


def over(seeds, examples):
    """Scores [S, N] that are a seed's part plus an example's: nothing is left between the two."""
    return np.array(seeds)[:, None] + np.array(examples)


@pytest.mark.parametrize(
    ("first", "second", "of_seeds", "quantile", "of_examples", "p_value"),
    [  # the variances of the two means, and Student's quantile for the first
        (over([0.1, 0.3], [-0.1, 0.0, 0.1]), np.zeros((2, 3)), 0.02 / 2, 12.706205, 0.01 / 3, None),
        # Examples alone are a z test, seeds alone a t test: t = 3.4641 at 2 degrees of freedom.
        (over([0] * 4, [0, 0, 0.3]), np.zeros((4, 3)), 0.0, 0.0, 0.03 / 3, 2 * norm.sf(1.0)),
        (over([0.01, 0.02, 0.03], [0] * 5), np.zeros((3, 5)), 1e-4 / 3, 4.302653, 0.0, 0.07418),
        # Seeds that agree by luck: 1/2 for either seed and either example, the rest's mean square 1
        (np.eye(2), np.zeros((2, 2)), 1 / 4, 1.959964, 0.0, 2 * norm.sf(1.0)),
        # Seeds alone, at Welch's 1.6842 degrees of freedom.
        (over([0.5, 0.7], [0] * 4), over([0.1, 0.2, 0.3], [0] * 4), 0.04 / 3, 5.17625, 0.0, None),
    ],
)
def test_seeds_and_examples_both_widen_the_difference(
    *, first, second, of_seeds, quantile, of_examples, p_value
):
    found = seeds_difference(first, second)
    half = np.sqrt(quantile**2 * of_seeds + 1.959964**2 * of_examples)
    assert found.estimate == pytest.approx(first.mean() - second.mean())
    ends = (found.estimate - half, found.estimate + half)
    assert (found.low, found.high) == pytest.approx(ends, rel=1e-4)
    assert p_value is None or found.p_value == pytest.approx(p_value, rel=1e-4)
    touching = seeds_difference(first, second, found.p_value)  # at that level
    assert (touching.estimate, touching.p_value) == (found.estimate, found.p_value)
    assert touching.low == pytest.approx(0.0, abs=1e-9)


def test_interval_of_a_mean_is_that_of_its_seeds_and_within_0_and_1():
    scores = np.array(answers(3, 200, 0.8))
    found = seeds_difference(scores, np.zeros(scores.shape))
    assert stats.mean_interval(scores) == (found.low, found.high)
    of_one = bootstrap_interval(scores[0])
    assert stats.mean_interval(scores[:1]) == of_one
    assert stats.mean_interval(np.array([[1.0] * 9, [0.0] * 9])) == (0.0, 1.0)
    for without_error in (np.ones((1, 50)), np.ones((3, 50))):  # Wilson's limit of none in 50
        low, high = stats.mean_interval(without_error)
        assert (low, high) == (pytest.approx(1 - 1.959964**2 / (50 + 1.959964**2)), 1.0)


def test_a_recipe_of_one_seed_is_taken_to_vary_as_the_others_seeds_do():
    """Of significantly more than what is assumed; the seeds differ by a tenth of all examples.

    95% quantiles of 2 degrees of freedom: Student's 4.302653, chi-squared 5.991465.
    """
    first = np.array([np.arange(200) < count for count in (140, 160, 180)], dtype=float)
    alone = np.array([np.arange(200) < 100], dtype=float)
    rest = 3 * stats.rest_variance(first)
    seen = 0.01 - rest
    gaps = first.mean(axis=0) - alone[0]
    wider = 4.302653 / 1.959964
    half = 1.959964 * np.sqrt(seen * wider**2 * (1 + 1 / 3) + gaps.var(ddof=1) / 200)
    found = stats.recipes_difference(first, alone, 0.004)
    assert found.high - found.estimate == pytest.approx(half)
    for share, significant in ((0.99, True), (1.01, False)):
        limit = np.sqrt(share * (2 * 0.01 / 5.991465 - rest))  # of seeds that differ by a tenth
        found = stats.recipes_difference(first, alone, limit)
        assumed = 1.959964 * np.sqrt(limit**2 * (1 + 1 / 3) + gaps.var(ddof=1) / 200)
        wanted = half if significant else assumed
        assert found.high - found.estimate == pytest.approx(wanted)


def test_a_second_seed_of_each_makes_an_interval_narrower_not_wider():
    """By hand: of two seeds that differ as much as is assumed, 1.96 sqrt(0.004^2 + examples)."""
    generator = np.random.default_rng(3)
    skill = generator.normal(size=2000)
    first, second = ((skill < q + generator.normal(0, 0.05, (2, 2000))) * 1.0 for q in (1.3, 1.2))
    one, two = (stats.recipes_difference(first[:n], second[:n], 0.004) for n in (1, 2))
    assert two.high - two.low < one.high - one.low
    gaps = first.mean(axis=0) - second.mean(axis=0)
    half = 1.959964 * np.sqrt(0.004**2 + gaps.var(ddof=1) / 2000)
    assert (two.low, two.high) == pytest.approx((gaps.mean() - half, gaps.mean() + half))
    assert np.isnan(two.p_value)


def test_equal_recipes_and_certain_differences_have_finite_p_values_of_two_seeds_at_least():
    bits = np.array(answers(3, 50))
    equal = seeds_difference(bits, bits)
    assert (equal.estimate, equal.p_value) == (0.0, pytest.approx(1.0))
    assert seeds_difference(np.ones((3, 50)), np.zeros((3, 50))).p_value == 0.0
    first = np.ones((3, 10_000))
    first[0, 0] = 0.0
    assert 0 < seeds_difference(first, np.zeros((3, 10_000))).p_value < 1e-6
    for shapes in (((1, 9), (3, 9)), ((3, 9), (1, 9)), ((3, 9), (3, 8)), ((3, 1), (3, 1))):
        with pytest.raises(ValueError, match="shapes"):
            seeds_difference(*map(np.zeros, shapes))


def test_shrunk_means_by_hand():
    for means, variances, wanted in (
        ([0.5], [1e-4], [0.5]),
        # A spread below the noise: all are equal, at the mean weighted by 1 / variance.
        ([0.80, 0.81, 0.82], [4e-4, 4e-4, 2e-4], [0.8125, 0.8125, 0.8125]),
        # Two groups far apart: each shrinks to its own mean.
        ([0.5, 0.502, 0.9, 0.904], [1e-4] * 4, [0.501, 0.501, 0.902, 0.902]),
        # Hardly any noise: nothing to take back.
        ([0.5, 0.6, 0.7, 0.9], [1e-12] * 4, [0.5, 0.6, 0.7, 0.9]),
    ):
        found = stats.shrunk_means(np.array(means), np.array(variances))
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
        found, best = stats.shrunk_means(scores, noise**2), scores.argmax()
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
