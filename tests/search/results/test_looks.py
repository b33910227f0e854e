"""A confirmation in looks: levels by hand, decisions by hand, and simulations of whole ones."""

from dataclasses import asdict, replace
from math import sqrt

import numpy as np
import pytest

from search.record.run import Run
from search.record.trial_record import FAILED, FINISHED, RUNNING, TrialRecord
from search.results.comparisons import Comparison, compare, compare_at_looks, retrained
from search.results.finalists import Confirmation, looks_until
from search.results.precision import SEED_SD, Spread, last_level, spread_of
from search.results.statistics import Difference, holm, look_levels, seeds_difference
from tests.made_runs import made_inputs, made_plan
from tests.search.results.test_statistics import beyond_chance, students
from trainable.config.trial_config import TrialConfig
from trainable.engine.metrics import pack_bits

GROWTH = TrialConfig(alpha_schedule="cosine_growth", sharpness=2.0, aligned_layers="1,2,3")
FIXED = TrialConfig(alpha=0.5, aligned_layers="1,2,3")
CE_ONLY = TrialConfig(alpha=1.0)


@pytest.mark.parametrize(
    ("most", "looks"),
    [
        (2, [2]),
        (4, [4]),
        (5, [3, 5]),
        (7, [3, 7]),
        (8, [3, 5, 8]),
        (13, [3, 5, 8, 13]),
        (14, [3, 5, 8, 14]),
    ],
)
def test_looks_grow_and_none_is_shortly_before_the_end(most, looks):
    assert looks_until(most) == looks


def test_levels_by_hand_add_up_to_5_percent():
    """2 - 2 Phi(1.959964 / sqrt(3 / 5)) = 2 - 2 Phi(2.530303)."""
    np.testing.assert_allclose(look_levels([3, 5]), [0.011397, 0.038603], rtol=0, atol=2e-6)
    np.testing.assert_allclose(look_levels([4]), [0.05], rtol=0, atol=1e-12)
    for most in range(2, 200):
        levels = look_levels(looks_until(most))
        assert levels.sum() == pytest.approx(0.05, abs=1e-12)
        assert (levels > 0).all()
        assert levels[-1] > 0.033  # what the end is left


def test_seeds_added_later_have_looks_of_their_own():
    first = confirmation(5)
    assert first.looks == [3, 5]
    more = first.with_seeds(13, set(), 0.01)
    assert (more.asked, more.looks, more.precision) == ((5, 13), [8, 13], 0.01)
    assert first.with_seeds(5, set(), 0.01) == first


# One look.


def rights(*counts, examples=400):
    return [np.arange(examples) < right for right in counts]


def test_a_look_by_hand():
    """Of three comparisons the first was rejected before, the second settled, the third is new."""
    pairs = [(GROWTH, CE_ONLY), (FIXED, CE_ONLY), (GROWTH, FIXED)]
    before = [
        Comparison(pairs[0], 3, Difference(0.05, 0.02, 0.08, 0.001), 0.013, 0.0114),
        Comparison(pairs[1], 3, Difference(0.001, -0.004, 0.006, 0.7), 1.0, 0.0114),
        Comparison(pairs[2], 3, Difference(0.02, -0.02, 0.06, 0.2), 1.0, 0.0114),
    ]
    found = {GROWTH: rights(360, 364, 356, 361, 362), FIXED: rights(350, 356, 349, 352, 351)}
    found[CE_ONLY] = rights(100, 390, 200, 300, 1)
    assert [known.decided(0.005) for known in before] == [True, True, False]
    now = compare(before, found, 0.0386, 0.005)
    alone = seeds_difference(np.array(found[GROWTH]), np.array(found[FIXED]), 0.0386)
    assert now[:2] == before[:2]
    assert now[2].difference == alone
    # Two of three are not rejected yet; the other of the two has p 1.
    assert now[2].adjusted == pytest.approx(2 * alone.p_value * 0.05 / 0.0386)
    with_all = compare([replace(known, difference=None) for known in before], found, 0.0386)
    p_values = [known.difference.p_value for known in with_all]
    assert [known.adjusted for known in with_all] == pytest.approx(
        np.minimum(holm(p_values) * 0.05 / 0.0386, 1.0)
    )


@pytest.mark.parametrize("level", [0.05, 0.0386, 0.0114, 1e-6])
def test_the_interval_is_at_the_looks_level_and_excludes_0_as_the_p_value_says(level):
    bits = np.array(rights(360, 364, 356, 361)), np.array(rights(356, 358, 349, 357))
    found = seeds_difference(*bits, level)
    usual = seeds_difference(*bits)
    assert (found.estimate, found.p_value) == (usual.estimate, usual.p_value)
    assert (found.low > 0) == (found.p_value < level)
    at_p = seeds_difference(*bits, found.p_value)
    assert at_p.low == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize(
    ("level", "confidence"),
    [(0.05, "95%"), (0.0386, "96.1%"), (0.011397, "98.9%"), (4.2e-7, "99.999958%")],
)
def test_sentence_names_the_confidence(level, confidence):
    comparison = Comparison((GROWTH, FIXED), 3, Difference(0.02, 0.01, 0.03, 1e-9), 0.01, level)
    assert f" points ({confidence} interval +1.00 to +3.00, 3 seeds, adjusted p = 0.010)" in (
        comparison.sentence({GROWTH: "a", FIXED: "b"})
    )


def test_decided_is_significant_or_precise():
    wide = Comparison((GROWTH, FIXED), 3, Difference(0.0, -0.02, 0.02, 1.0), 1.0)
    assert [wide.decided(precision) for precision in (None, 0.019, 0.0201)] == [False, False, True]
    assert replace(wide, adjusted=0.049).decided(None)
    assert not Comparison((GROWTH, FIXED)).decided(1.0)


# Whole confirmations, trained here by a draw of their bits.


def confirmation(most, precision=None, finalists=(GROWTH,)):
    seeds, scores = tuple(range(1, most + 1)), (0.9,) * len(finalists)
    return Confirmation("mine", "then", finalists, scores, seeds, (most,), precision=precision)


def begun(made, folder, examples):
    """The run of a confirmation, of which nothing is trained yet."""
    inputs = made_inputs(examples={"train": 1, "evaluation": examples})
    plan = made_plan(made.trials(made.looks[0]), inputs=inputs, confirms=asdict(made))
    return Run(folder, plan, {c.digest: TrialRecord(c) for c in plan.trials})


def train(run, made, configs, bits):
    """`bits` [recipes, seeds, N] are what each trial gets right."""
    for config in configs:
        right = bits[made.recipes.index(config.recipe), made.seeds.index(config.seed)]
        last = {"correct": pack_bits(right), "best5_accuracy": 0.5}
        run.trials[config.digest] = TrialRecord(config, FINISHED, evaluations=[last])


def confirmed(made, bits, folder):
    """The comparisons that a confirmation ends with, and its run."""
    run, wanted = begun(made, folder, bits.shape[-1]), made.trials(made.looks[0])
    while wanted:
        train(run, made, [c for c in wanted if c.digest not in run.trials] or wanted, bits)
        comparisons, wanted = compare_at_looks(run, made)
    return comparisons, run


def even(accuracies, examples=1000):
    """Bits [recipes, 5, examples] of seeds that differ by next to nothing."""
    right = np.array(accuracies)[:, None] * examples + np.array([0, 1, -1, 2, -2])
    return np.arange(examples) < right[..., None]


def test_it_ends_where_all_is_decided_and_recipes_that_are_leave_before(tmp_path):
    made = confirmation(5)  # growth against fixed and cross-entropy only
    comparisons, run = confirmed(made, even((0.9, 0.8, 0.7)), tmp_path)
    assert [known.seeds for known in comparisons] == [3, 3]
    assert len(run.trials) == 9
    comparisons, run = confirmed(made, even((0.9, 0.9, 0.7)), tmp_path)
    assert [(known.seeds, known.significant) for known in comparisons] == [(5, False), (3, True)]
    assert [known.level for known in comparisons] == pytest.approx([0.038603, 0.011397], abs=1e-6)
    assert {r: len(found) for r, found in retrained(run, made).items()} == {
        GROWTH: 5,
        FIXED: 5,
        CE_ONLY: 3,
    }


def test_what_is_precise_enough_is_decided_too(tmp_path):
    made = confirmation(5, precision=0.02)
    comparisons, run = confirmed(made, even((0.9, 0.9, 0.7)), tmp_path)
    assert [(known.seeds, known.significant) for known in comparisons] == [(3, False), (3, True)]
    assert len(run.trials) == 9


def test_a_look_waits_for_all_its_trials_and_counts_those_that_failed_as_ended(tmp_path):
    made = confirmation(5)
    run, bits = begun(made, tmp_path, 1000), even((0.9, 0.9, 0.9))
    assert compare_at_looks(run, made) == ([Comparison(p) for p in made.pairs], made.trials(3))
    train(run, made, made.trials(3), bits)
    last = run.trials[made.trials(3)[-1].digest]
    last.outcome = RUNNING
    assert compare_at_looks(run, made)[1] == made.trials(3)
    last.outcome = FAILED
    comparisons, wanted = compare_at_looks(run, made)
    assert ([known.seeds for known in comparisons], wanted) == ([3, 2], made.trials(5))


# The number of seeds beforehand.


def test_half_width_by_hand():
    """Of 4 seeds each: Student's quantile at 6 degrees of freedom is 2.446912."""
    spread = Spread(of_seed=2e-5, of_examples=1e-5)
    half = sqrt(2.446912**2 * 2 * 2e-5 / 4 + 1.959964**2 * 1e-5)
    assert spread.half_width(4, 0.05) == pytest.approx(half, rel=1e-6)
    assert spread.half_width(10**6, 0.05) == pytest.approx(1.959964 * sqrt(1e-5), rel=1e-3)
    # At one comparison and one look, a gap is its half width and 0.8416 errors.
    error = sqrt(2 * 2e-5 / 4 + 1e-5)
    assert spread.shown_gap(4, 1) == pytest.approx(half + 0.841621 * error, rel=1e-6)
    assert spread.shown_gap(4, 3) > spread.shown_gap(4, 1)


def test_spread_of_several_seeds_by_hand():
    """Two recipes of 2 seeds and 3 examples, of a seed's part, an example's part and a rest."""
    rest = np.array([[0.02, 0.0, -0.02], [-0.02, 0.0, 0.02]])
    first = np.array([[0.1], [0.3]]) + np.array([-0.1, 0.0, 0.1]) + rest
    second = np.array([[0.1], [0.2]]) + np.zeros(3) - rest
    spread = spread_of([first, second])
    assert spread.of_seed == pytest.approx((0.02 + 0.005) / 2)  # variances of 0.1, 0.3; 0.1, 0.2
    # Of the gaps -0.1, 0, 0.1 on examples; the rest's mean square is 4 * 0.02^2 / 2.
    chance = 4 * 0.02**2 / 2 / 3
    assert spread.of_examples == pytest.approx(0.01 / 3 - chance * (1 / 2 + 1 / 2))
    assert spread_of([first]) is None


def test_spread_of_one_seed_assumes_the_rest_of_it():
    first, second = np.zeros((1, 1000)), np.zeros((1, 1000))
    second[0, :65] = 1  # they differ on 65 of 1,000
    spread = spread_of([first, second])
    of_gaps = 0.065 * 0.935 * 1000 / 999 / 1000
    assert spread.of_examples == pytest.approx(0.3 * of_gaps)
    assert spread.of_seed == pytest.approx(SEED_SD**2 + 0.7 * of_gaps / 2)


# Simulations.

TWO = (GROWTH, replace(GROWTH, sharpness=1.0))


def simulate(made, count, folder, better=0.0):
    """Of so many confirmations on 2,000 examples, seeds of a standard deviation of 0.4 points:
    (share with any claim, share of the best's comparisons that found it better, mean seeds)."""
    rng, claims, hits, seeds = np.random.default_rng(11), 0, [], 0
    recipes, best = len(made.recipes), made.recipes[0]
    for _ in range(count):
        bits = students(rng, recipes, len(made.seeds), better=better, examples=2000)
        comparisons, run = confirmed(made, bits, folder)
        claims += any(known.significant for known in comparisons)
        ours = [known for known in comparisons if known.pair[0] == best]
        hits += [known.significant and known.difference.estimate > 0 for known in ours]
        seeds += len(run.trials) / recipes
    return claims / count, np.mean(hits), seeds / count


@pytest.mark.slow
@pytest.mark.parametrize(("most", "precision"), [(5, None), (13, None), (13, 0.01), (8, 0.007)])
def test_equal_recipes_are_told_apart_in_at_most_5_percent(tmp_path, most, precision):
    """Of four recipes in five comparisons."""
    count, made = 300, confirmation(most, precision, TWO)
    claimed, _, seeds = simulate(made, count, tmp_path)
    print(f"\nprecision {precision}: {claimed:.3f} claim, {seeds:.2f} seeds trained of {most}")
    assert claimed <= beyond_chance(0.05, count)


@pytest.mark.slow
@pytest.mark.parametrize("points", [0.5, 0.7, 1.0])
def test_a_gap_of_two_points_is_found_with_the_seeds_that_are_planned(tmp_path, points):
    """And with a third of them where more are planned than it needs."""
    spread = spread_of(students(np.random.default_rng(5), 5, 2, examples=2000))
    counts = range(2, 200)
    most = next(n for n in counts if 100 * spread.half_width(n, last_level(n)) <= points)
    made = confirmation(most, points / 100)
    _, found, seeds = simulate(made, 100, tmp_path, better=0.02)
    print(f"\nprecision {points}: {found:.3f} found, {seeds:.2f} seeds trained of {most}")
    assert found >= 0.9
    if points == 0.5:
        assert seeds < most / 2
