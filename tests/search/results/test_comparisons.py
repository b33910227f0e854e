"""A confirmation's comparisons: by hand, at looks, and simulations of whole confirmations."""

from dataclasses import asdict, replace

import numpy as np
import pytest

from search.record.run import Run
from search.record.trial_record import FINISHED, TrialRecord
from search.results.comparisons import Comparison, compare, compare_at_looks, retrained
from search.results.confirmation import Confirmation
from search.results.precision import last_level, spread_of
from search.results.statistics import Difference, holm, seeds_difference
from tests.made_runs import made_inputs, made_plan, pack_right
from tests.search.results.test_statistics import beyond_chance, students
from trainable.config.trial_config import TrialConfig

GROWTH = TrialConfig(alpha_schedule="cosine_growth", sharpness=2.0, aligned_layers="1,2,3")
FIXED = TrialConfig(alpha=0.5, aligned_layers="1,2,3")
CE_ONLY = TrialConfig(alpha=1.0)
NAMES = {GROWTH: "growth", FIXED: "fixed"}


@pytest.mark.parametrize(
    ("numbers", "level", "sentence"),
    [
        (
            (0.004, -0.001, 0.009, 0.2137),
            0.05,
            "growth is not significantly different from fixed: +0.40 points (95% interval -0.10 "
            "to +0.90, 5 seeds, adjusted p = 0.213).",
        ),
        (
            (0.0213, 0.0104, 0.0322, 0.0002),
            0.0386,
            "growth is significantly better than fixed: +2.13 points (96.1% interval +1.04 to "
            "+3.22, 5 seeds, adjusted p < 0.001).",
        ),
        (
            (-0.01, -0.017, -0.003, 0.0496),
            4.2e-7,
            "growth is significantly worse than fixed: -1.00 points (99.999958% interval -1.70 to "
            "-0.30, 5 seeds, adjusted p = 0.049).",
        ),
    ],
)
def test_sentence(numbers, level, sentence):
    *interval, adjusted = numbers
    comparison = Comparison((GROWTH, FIXED), 5, Difference(*interval, adjusted), adjusted, level)
    assert comparison.sentence(NAMES) == sentence
    assert comparison.significant == (adjusted < 0.05)


def test_decided_is_significant_or_precise():
    wide = Comparison((GROWTH, FIXED), 3, Difference(0.0, -0.02, 0.02, 1.0), 1.0)
    assert [wide.decided(precision) for precision in (None, 0.019, 0.0201)] == [False, False, True]
    assert replace(wide, adjusted=0.049).decided(None)
    single = Comparison((GROWTH, FIXED), 1)
    assert not single.decided(1.0)
    assert single.sentence(NAMES) == "growth is not compared with fixed: 1 seed of one finished."


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


def compare_pairs(retrained, pairs):
    return compare([Comparison(pair) for pair in pairs], retrained)


def test_p_values_are_holms_of_all_comparisons():
    counts = {
        GROWTH: (360, 364, 356, 361),
        CE_ONLY: (358, 361, 355, 362),
        FIXED: (350, 356, 349, 352),
    }
    retrained = {recipe: rights(*of_seeds) for recipe, of_seeds in counts.items()}
    pairs = [(GROWTH, FIXED), (CE_ONLY, FIXED), (GROWTH, CE_ONLY)]
    comparisons = compare_pairs(retrained, pairs)
    alone = [seeds_difference(*(np.array(retrained[r]) for r in c.pair)) for c in comparisons]
    assert [c.difference for c in comparisons] == alone
    p_values = [difference.p_value for difference in alone]
    assert [c.adjusted for c in comparisons] == holm(p_values).tolist()
    assert comparisons[0].adjusted == pytest.approx(min(1, 3 * min(p_values)))


def test_pairs_of_a_single_seed_don_t_count_as_comparisons():
    retrained = {GROWTH: rights(360, 364, 356), FIXED: rights(350, 355, 347), CE_ONLY: rights(350)}
    both = compare_pairs(retrained, [(GROWTH, FIXED), (GROWTH, CE_ONLY)])
    (alone,) = compare_pairs(retrained, [(GROWTH, FIXED)])
    assert both[0] == alone
    assert (both[1].difference, both[1].seeds) == (None, 1)


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
        last = {"predictions": pack_right(right), "best5": 0.5}
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


def test_what_is_precise_enough_is_decided_too_and_each_look_has_its_level(tmp_path):
    """Growth against fixed and cross-entropy only; `test_looks` of the policy has the trials."""
    bits, levels = even((0.9, 0.9, 0.7)), [0.011397, 0.038603]
    comparisons, run = confirmed(confirmation(5), bits, tmp_path)
    assert [(known.seeds, known.significant) for known in comparisons] == [(5, False), (3, True)]
    assert [known.level for known in comparisons] == pytest.approx(levels[::-1], abs=1e-6)
    of_recipes = retrained(run, confirmation(5))
    assert [len(of_recipes[recipe]) for recipe in (GROWTH, FIXED, CE_ONLY)] == [5, 5, 3]
    comparisons, run = confirmed(confirmation(5, precision=0.02), bits, tmp_path)
    assert [(known.seeds, known.significant) for known in comparisons] == [(3, False), (3, True)]
    assert len(run.trials) == 9


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


@pytest.mark.simulation
@pytest.mark.parametrize(("most", "precision"), [(5, None), (13, None), (13, 0.01), (8, 0.007)])
def test_equal_recipes_are_told_apart_in_at_most_5_percent(tmp_path, most, precision):
    """Of four recipes in five comparisons."""
    count, made = 300, confirmation(most, precision, TWO)
    claimed, _, seeds = simulate(made, count, tmp_path)
    print(f"\nprecision {precision}: {claimed:.3f} claim, {seeds:.2f} seeds trained of {most}")
    assert claimed <= beyond_chance(0.05, count)


@pytest.mark.simulation
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
