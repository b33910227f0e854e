"""A confirmation's comparisons: by hand, at looks, and simulations of whole confirmations."""

from dataclasses import asdict, replace

import numpy as np
import pytest

from search.policy.looks import wanted_at_look
from search.record.run import Run
from search.record.trial_record import TrialRecord
from search.results.comparisons import Comparison, compare, compare_at_looks, holm, retrained
from search.results.confirmation import Confirmation
from search.results.precision import last_level, spread_of
from search.results.statistics import Difference, seeds_difference
from tests.made_runs import made_inputs, made_plan, pack_right
from tests.search.results.test_tied import beyond_chance, students
from trainable.config.trial_config import TrialConfig

GROWTH = TrialConfig(alpha_schedule="cosine_growth", sharpness=2.0, aligned_layers="1,2,3")
FIXED = TrialConfig(alpha=0.5, aligned_layers="1,2,3")
CE_ONLY = TrialConfig(alpha=1.0)
NAMES = {GROWTH: "growth", FIXED: "fixed"}


def test_sentence():
    for estimate, adjusted, level, verdict, confidence, p in (
        (0.004, 0.2137, 0.05, "not significantly different from", "95", "= 0.213"),
        (0.0213, 0.0002, 0.0386, "significantly better than", "96.1", "< 0.001"),
        (-0.01, 0.0496, 4.2e-7, "significantly worse than", "99.999958", "= 0.049"),
    ):
        difference = Difference(estimate, estimate - 0.005, estimate + 0.007, adjusted)
        comparison = Comparison((GROWTH, FIXED), 5, difference, adjusted, level)
        points, low, high = (f"{100 * (estimate + gap):+.2f}" for gap in (0, -0.005, 0.007))
        assert comparison.sentence(NAMES) == (
            f"growth is {verdict} fixed: {points} points ({confidence}% interval {low} to {high}, "
            f"5 seeds, adjusted p {p})."
        )
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
    numbers = [(0.05, 0.02, 0.08, 0.001), (0.001, -0.004, 0.006, 0.7), (0.02, -0.02, 0.06, 0.2)]
    pairs = [(GROWTH, CE_ONLY), (FIXED, CE_ONLY), (GROWTH, FIXED)]
    before = [
        Comparison(pair, 3, Difference(*found), adjusted, 0.0114)
        for pair, found, adjusted in zip(pairs, numbers, (0.013, 1.0, 1.0), strict=True)
    ]
    found = {GROWTH: rights(360, 364, 356, 361, 362), FIXED: rights(350, 356, 349, 352, 351)}
    found[CE_ONLY] = rights(100, 390, 200, 300, 1)
    assert [known.decided(0.005) for known in before] == [True, True, False]
    now = compare(before, found, 0.0386, 0.005)
    alone = seeds_difference(np.array(found[GROWTH]), np.array(found[FIXED]), 0.0386)
    assert (now[:2], now[2].difference) == (before[:2], alone)
    # Two of three are not rejected yet; the other of the two has p 1.
    assert now[2].adjusted == pytest.approx(2 * alone.p_value * 0.05 / 0.0386)
    with_all = compare([Comparison(pair) for pair in pairs], found, 0.0386)
    scaled = holm([known.difference.p_value for known in with_all]) * 0.05 / 0.0386
    assert [known.adjusted for known in with_all] == pytest.approx(np.minimum(scaled, 1.0))


def test_pairs_of_a_single_seed_don_t_count_as_comparisons():
    retrained = {GROWTH: rights(360, 364, 356), FIXED: rights(350, 355, 347), CE_ONLY: rights(350)}
    pairs = [Comparison((GROWTH, FIXED)), Comparison((GROWTH, CE_ONLY))]
    both = compare(pairs, retrained)
    assert both[:1] == compare(pairs[:1], retrained)
    assert (both[1].difference, both[1].seeds) == (None, 1)


def confirmation(most, precision=None, finalists=(GROWTH,)):
    seeds, scores = tuple(range(1, most + 1)), (0.9,) * len(finalists)
    return Confirmation("mine", "then", finalists, scores, seeds, (most,), precision=precision)


def confirmed(made, bits, folder):
    """The comparisons that a confirmation ends with, and its run; `bits` [recipes, seeds, N] are
    what its trials get right."""
    inputs = made_inputs(examples={"train": 1, "evaluation": bits.shape[-1]})
    wanted = made.trials(made.looks[0])
    plan = made_plan(wanted, inputs=inputs, confirms=asdict(made))
    run = Run(folder, plan, {config.digest: TrialRecord(config) for config in wanted})
    while wanted:
        for config in wanted:
            right = bits[made.recipes.index(config.recipe), made.seeds.index(config.seed)]
            last = {"predictions": pack_right(right), "best5": 0.5}
            run.trials[config.digest] = TrialRecord(config, "finished", evaluations=[last])
        comparisons, wanted = compare_at_looks(run, made), wanted_at_look(run)
    return comparisons, run


def test_what_is_precise_enough_is_decided_too_and_each_look_has_its_level(tmp_path):
    """Growth against fixed and cross-entropy only; `test_looks` of the policy has the trials. Seeds
    differ by next to nothing."""
    right = 1000 * np.array([[0.9], [0.9], [0.7]]) + np.array([0, 1, -1, 2, -2])
    bits, levels = np.arange(1000) < right[..., None], [0.038603, 0.011397]
    comparisons, run = confirmed(confirmation(5), bits, tmp_path)
    assert [(known.seeds, known.significant) for known in comparisons] == [(5, False), (3, True)]
    assert [known.level for known in comparisons] == pytest.approx(levels, abs=1e-6)
    of_recipes = retrained(run, confirmation(5))
    assert [len(of_recipes[recipe]) for recipe in (GROWTH, FIXED, CE_ONLY)] == [5, 5, 3]
    comparisons, run = confirmed(confirmation(5, precision=0.02), bits, tmp_path)
    assert [(known.seeds, known.significant) for known in comparisons] == [(3, False), (3, True)]
    assert len(run.trials) == 9


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
