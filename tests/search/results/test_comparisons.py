"""A confirmation's comparisons: examples by value, p-values for all comparisons."""

import numpy as np
import pytest

from search.results.comparisons import Comparison, compare
from search.results.statistics import Difference, holm, seeds_difference
from trainable.config.trial_config import TrialConfig

GROWTH = TrialConfig(alpha_schedule="cosine_growth", sharpness=2.0, aligned_layers="1,2,3")
VSHAPE = TrialConfig(alpha_schedule="cosine_vshape", sharpness=0.5, aligned_layers="1,2,3")
FIXED = TrialConfig(alpha=0.5, aligned_layers="1,2,3")
CE_ONLY = TrialConfig(alpha=1.0)
NAMES = {GROWTH: "growth", FIXED: "fixed"}


@pytest.mark.parametrize(
    ("numbers", "sentence"),
    [
        (
            (0.004, -0.001, 0.009, 0.2137),
            "growth is not significantly different from fixed: +0.40 points (95% interval -0.10 "
            "to +0.90, 5 seeds, adjusted p = 0.213).",
        ),
        (
            (0.0213, 0.0104, 0.0322, 0.0002),
            "growth is significantly better than fixed: +2.13 points (95% interval +1.04 to "
            "+3.22, 5 seeds, adjusted p < 0.001).",
        ),
        (
            (-0.01, -0.017, -0.003, 0.0496),
            "growth is significantly worse than fixed: -1.00 points (95% interval -1.70 to -0.30, "
            "5 seeds, adjusted p = 0.049).",
        ),
    ],
)
def test_sentence(numbers, sentence):
    *interval, adjusted = numbers
    difference = Difference(*interval, adjusted)
    comparison = Comparison((GROWTH, FIXED), 5, difference, adjusted)
    assert comparison.sentence(NAMES) == sentence
    assert comparison.significant == (adjusted < 0.05)


@pytest.mark.parametrize(("seeds", "count"), [(0, "0 seeds"), (1, "1 seed")])
def test_sentence_of_too_few_seeds(seeds, count):
    comparison = Comparison((GROWTH, FIXED), seeds)
    assert not comparison.significant
    assert (
        comparison.sentence(NAMES) == f"growth is not compared with fixed: {count} of one finished."
    )


def compare_pairs(retrained, pairs):
    return compare([Comparison(pair) for pair in pairs], retrained)


def students(rights, examples=400):
    """A recipe whose seeds have the first so many of the examples right."""
    return [np.arange(examples) < right for right in rights]


def test_p_values_are_holms_of_all_comparisons():
    rights = {
        GROWTH: (360, 364, 356, 361),
        VSHAPE: (358, 361, 355, 362),
        FIXED: (350, 356, 349, 352),
        CE_ONLY: (355, 350, 359, 361),
    }
    retrained = {recipe: students(found) for recipe, found in rights.items()}
    pairs = [(GROWTH, FIXED), (GROWTH, CE_ONLY), (VSHAPE, FIXED), (VSHAPE, CE_ONLY)]
    comparisons = compare_pairs(retrained, [*pairs, (GROWTH, VSHAPE)])
    alone = [seeds_difference(*(np.array(retrained[r]) for r in v.pair)) for v in comparisons]
    assert [v.difference for v in comparisons] == alone
    p_values = [difference.p_value for difference in alone]
    assert [v.adjusted for v in comparisons] == holm(p_values).tolist()
    assert comparisons[0].adjusted == pytest.approx(min(1, 5 * min(p_values)))
    assert [v.significant for v in comparisons] == [v.adjusted < 0.05 for v in comparisons]
    assert p_values[2] < 0.05 < comparisons[2].adjusted  # the correction decides here


def test_pairs_of_a_single_seed_don_t_count_as_comparisons():
    retrained = {
        GROWTH: students((360, 364, 356)),
        FIXED: students((350, 355, 347)),
        CE_ONLY: students((350,)),
    }
    both = compare_pairs(retrained, [(GROWTH, FIXED), (GROWTH, CE_ONLY)])
    (alone,) = compare_pairs(retrained, [(GROWTH, FIXED)])
    assert both[0] == alone
    assert (both[1].difference, both[1].seeds) == (None, 1)
    assert compare_pairs({GROWTH: [], FIXED: []}, [(GROWTH, FIXED)])[0].seeds == 0
