"""Sentences by value, and whose difference is claimed.

How often that is wrong follows from `seeds_difference`, simulated in tests/test_statistics.py.
"""

import numpy as np
import pytest

from search.statistics import Difference, holm, seeds_difference
from search.verdicts import Retrained, Verdict, in_common, judge, recipe_names
from trainable.config import TrialConfig

GROWTH = TrialConfig(alpha_schedule="cosine_growth", sharpness=2.0, aligned_layers="1,2,3")
VSHAPE = TrialConfig(alpha_schedule="cosine_vshape", sharpness=0.5, aligned_layers="1,2,3")
FIXED = TrialConfig(alpha=0.5, aligned_layers="1,2,3")
CE_ONLY = TrialConfig(alpha=1.0)
NAMES = ("cosine_growth with sharpness 2", "fixed alpha 0.5")


def said(estimate, low, high, adjusted, seeds=5):
    difference = Difference(estimate, low, high, adjusted, 872, seeds)
    verdict = Verdict((GROWTH, FIXED), NAMES, seeds, difference, adjusted)
    return verdict.shown, verdict.sentence()


@pytest.mark.parametrize(
    ("numbers", "shown", "sentence"),
    [
        (
            (0.004, -0.001, 0.009, 0.2137),
            False,
            "cosine_growth with sharpness 2 is better than fixed alpha 0.5 by 0.4 points (95 % "
            "interval -0.1 to 0.9, 5 seeds, adjusted p = 0.213): not shown.",
        ),
        (
            (0.0213, 0.0104, 0.0322, 0.0002),
            True,
            "cosine_growth with sharpness 2 is better than fixed alpha 0.5 by 2.1 points (95 % "
            "interval 1.0 to 3.2, 5 seeds, adjusted p < 0.001): shown.",
        ),
        (
            (-0.004, -0.009, 0.001, 0.05),
            False,
            "cosine_growth with sharpness 2 is worse than fixed alpha 0.5 by 0.4 points (95 % "
            "interval -0.1 to 0.9, 5 seeds, adjusted p = 0.050): not shown.",
        ),
        (
            (-0.0004, -0.005, 0.0004, 1.0),
            False,
            "cosine_growth with sharpness 2 and fixed alpha 0.5 differ by less than 0.1 points "
            "(95 % interval -0.5 to 0.0, 5 seeds, adjusted p = 1.000): not shown.",
        ),
    ],
)
def test_sentence(numbers, shown, sentence):
    assert said(*numbers) == (shown, sentence)


def students(rights, sentences=400, seeds=None):
    """A recipe whose seeds have the first so many of the sentences right."""
    made = Retrained()
    for seed, right in zip(seeds or range(1, len(rights) + 1), rights, strict=True):
        made.last[seed] = np.arange(sentences) < right
        made.best5[seed] = right / sentences
    return made


def test_p_values_are_holms_of_all_comparisons():
    rights = {
        GROWTH: (360, 364, 356, 361),
        VSHAPE: (358, 361, 355, 362),
        FIXED: (350, 356, 349, 352),
        CE_ONLY: (355, 350, 359, 361),
    }
    retrained = {recipe: students(found) for recipe, found in rights.items()}
    pairs = [(GROWTH, FIXED), (GROWTH, CE_ONLY), (VSHAPE, FIXED), (VSHAPE, CE_ONLY)]
    verdicts = judge(retrained, [*pairs, (GROWTH, VSHAPE)])
    alone = [
        seeds_difference(
            *(np.array(list(retrained[r].last.values())) for r in v.pair), same_seeds=False
        )
        for v in verdicts
    ]
    assert [v.difference for v in verdicts] == alone
    p_values = [difference.p_value for difference in alone]
    assert [v.adjusted for v in verdicts] == holm(p_values).tolist()
    assert verdicts[0].adjusted == pytest.approx(min(1, 5 * min(p_values)))
    assert [v.shown for v in verdicts] == [v.adjusted < 0.05 for v in verdicts]
    assert p_values[2] < 0.05 < verdicts[2].adjusted  # the correction decides here


def test_difference_is_first_less_second_over_all_seeds_that_finished():
    retrained = {
        GROWTH: students((360, 356, 364), seeds=(1, 2, 3)),
        FIXED: students((352, 344), seeds=(3, 1)),
    }
    (verdict,) = judge(retrained, [(GROWTH, FIXED)])
    assert verdict.seeds == 2
    assert verdict.difference.estimate == pytest.approx((360 - 348) / 400)
    assert verdict.sentence().startswith(f"{NAMES[0]} is better than {NAMES[1]} by 3.0 points")


def test_pairs_of_a_single_seed_don_t_count_as_comparisons():
    retrained = {
        GROWTH: students((360, 364, 356)),
        FIXED: students((350, 355, 347)),
        CE_ONLY: students((350,)),
    }
    both = judge(retrained, [(GROWTH, FIXED), (GROWTH, CE_ONLY)])
    (alone,) = judge(retrained, [(GROWTH, FIXED)])
    assert both[0] == alone
    assert (both[1].difference, both[1].seeds, both[1].shown) == (None, 1, False)
    assert both[1].sentence() == (
        f"{NAMES[0]} is not compared with cross-entropy only: 1 seed of one finished."
    )
    assert judge({GROWTH: Retrained(), FIXED: Retrained()}, [(GROWTH, FIXED)])[0].seeds == 0


def change(recipe, **settings):
    return TrialConfig.from_dict(recipe.to_dict() | settings)


@pytest.mark.parametrize(
    ("recipes", "names", "common"),
    [
        (
            [GROWTH, VSHAPE, FIXED, CE_ONLY],
            [*NAMES[:1], "cosine_vshape with sharpness 0.5", *NAMES[1:], "cross-entropy only"],
            "teacher_spread, layers 1,2,3",
        ),
        (
            [GROWTH, change(GROWTH, initialisation="random", learning_rate=1e-4)],
            ["cosine_growth with sharpness 2 (teacher_spread)"]
            + ["cosine_growth with sharpness 2 (random)"],
            "layers 1,2,3",
        ),
        (
            [FIXED, change(FIXED, aligned_layers="none"), CE_ONLY],
            ["fixed alpha 0.5 (layers 1,2,3)", "fixed alpha 0.5 (logits only)"]
            + ["cross-entropy only"],
            "teacher_spread",
        ),
        (
            [change(GROWTH, temperature=4.0, hidden_pool="mean", hidden_weight=100.0)],
            ["cosine_growth with sharpness 2"],
            "teacher_spread, layers 1,2,3, T=4, pool mean, weight 100",
        ),
        (
            [GROWTH, change(GROWTH, hidden_pool="tokens"), change(GROWTH, hidden_weight=1e3)],
            [
                "cosine_growth with sharpness 2 (pool cls, weight 1)",
                "cosine_growth with sharpness 2 (pool tokens, weight 1)",
                "cosine_growth with sharpness 2 (pool cls, weight 1000)",
            ],
            "teacher_spread, layers 1,2,3",
        ),
        (
            [CE_ONLY, change(CE_ONLY, learning_rate=1e-4), change(CE_ONLY, epochs=1)],
            [
                "cross-entropy only (learning_rate 5e-05, epochs 3)",
                "cross-entropy only (learning_rate 0.0001, epochs 3)",
                "cross-entropy only (learning_rate 5e-05, epochs 1)",
            ],
            "teacher_spread",
        ),
    ],
)
def test_names_tell_recipes_apart(recipes, names, common):
    assert list(recipe_names(recipes).values()) == names
    assert in_common(recipes) == common


def test_against_its_own_baseline_a_finalist_is_not_described_twice():
    other = change(GROWTH, initialisation="random")
    fixed = change(FIXED, initialisation="random")
    retrained = {recipe: students((5, 6)) for recipe in (GROWTH, other, FIXED, fixed)}
    verdicts = judge(retrained, [(other, fixed), (GROWTH, other)])
    assert [v.names for v in verdicts] == [
        ("cosine_growth with sharpness 2 (random)", "fixed alpha 0.5"),
        tuple(f"cosine_growth with sharpness 2 ({i})" for i in ("teacher_spread", "random")),
    ]
