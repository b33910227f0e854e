"""A run as tables: values by hand, runs in any state, no Ray and no torch, fast enough."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from search.record.run import Run
from search.record.trial_record import TrialRecord
from search.results.cells import compact
from search.results.statistics import best5_scores, mean_interval
from search.results.table import recipes_table, rounded, trials_table
from tests.report_runs import TEACHER, evaluation, plan, training_inputs
from trainable.config.trial_config import TrialConfig

EXAMPLES = 1000


def evaluations(*rights):
    """Evaluations of which the first so many of 1,000 examples are right."""
    correct = [np.arange(EXAMPLES) < right for right in rights]
    before = [float(bits.mean()) for bits in correct]
    return [evaluation(n + 1, bits, before[:n]) for n, bits in enumerate(correct)]


def config(initialisation="random", **settings):
    return TrialConfig(initialisation=initialisation, **({"alpha": 0.5} | settings))


def make_run(*trials, examples=EXAMPLES, full=None, **request):
    asked = {"space": "logits", "compare_within": "init"} | request
    inputs = training_inputs(examples, full, 0.9 if full else None)
    planned = plan(*(trial.config for trial in trials), inputs=inputs, **asked)
    return Run(Path("mine"), planned, {trial.config.digest: trial for trial in trials})


def finished(*rights, **settings):
    return TrialRecord(config(**settings), "finished", evaluations=evaluations(*rights))


def without_bits(trial):
    return replace(trial, evaluations=[{**e, "predictions": ""} for e in trial.evaluations])


def recipes_of(run):
    return recipes_table(run, trials_table(run))


def test_row_by_hand():
    made = evaluations(500, 900, 910, 920, 930, 940, 905)
    made[-1]["full_score"] = 0.876
    trial = TrialRecord(config(alpha=0.25), "finished", evaluations=made, repeated=2)
    (row,) = trials_table(make_run(trial)).to_dict("records")
    best5 = (0.91 + 0.92 + 0.93 + 0.94 + 0.905) / 5
    wanted = {"initialisation": "random", "alpha": 0.25, "sharpness": None, "stratum": "random"}
    wanted |= {"digest": trial.config.digest, "folder": trial.config.folder_name, "reason": ""}
    wanted |= {"label": "random, logits only, fixed 0.25", "outcome": "finished", "repeated": 2}
    wanted |= {"inactive": "hidden_pool,hidden_weight,relation_heads", "tied": True}
    wanted |= {"evaluations": 7, "planned_evaluations": 15, "last": 0.905, "full_validation": 0.876}
    wanted |= dict.fromkeys(("best5", "common_best5"), pytest.approx(best5))
    wanted |= {"of_teacher": pytest.approx(best5 / TEACHER), "training_seconds": 14.0}
    wanted |= {"evaluation_seconds": 7.0, "saving_seconds": 3.5}
    assert {key: row[key] for key in wanted} == wanted
    half = 1.96 * np.sqrt(best5 * (1 - best5) / EXAMPLES)
    np.testing.assert_allclose((row["low"], row["high"]), (best5 - half, best5 + half), atol=0.003)


def test_a_row_a_trial_in_the_order_planned_and_a_recipe_by_outcome_and_best5():
    """Every outcome; the finished ones with three evaluations."""
    mixed = make_run(
        TrialRecord(config(temperature=1.0), "failed", "out of memory"),
        TrialRecord(config(temperature=1.5), "pending"),
        finished(700, 720, 710),
        TrialRecord(config(temperature=2.5), "stopped", evaluations=evaluations(690, 600)),
        finished(800, 780, 796, temperature=3.0),
        TrialRecord(config(temperature=3.5), "running", evaluations=evaluations(860)),
        finished(798, 792, 789, initialisation="teacher_spread"),
    )
    table = trials_table(mixed)
    assert list(table["digest"]) == list(mixed.trials)
    assert list(table["evaluations"]) == [0, 0, 3, 2, 3, 1, 3]
    scores = ["best5", "low", "of_teacher", "last", "full_validation", "tied"]
    assert table[scores][:2].isna().all(axis=None)
    # 0.710 against 0.792 and 0.793 on nested examples, whatever the stratum
    assert table["tied"].tolist() == [pd.NA, pd.NA, False, pd.NA, True, pd.NA, True]
    after_two = [np.nan, np.nan, 0.71, 0.645, 0.79, np.nan, 0.795]
    np.testing.assert_allclose(table["common_best5"], after_two, rtol=0, atol=1e-12)
    recipes = recipes_of(mixed)
    outcomes = [*["finished"] * 3, "stopped", "running", "pending", "failed"]
    assert recipes["outcome"].tolist() == outcomes
    assert recipes["best5"].round(4).tolist()[:5] == [0.793, 0.792, 0.71, 0.645, 0.86]
    of_best = table.set_index("digest").loc[recipes["digest"][0]]
    assert recipes.iloc[0][list(table.columns)].drop("digest").equals(of_best)
    running = make_run(TrialRecord(config(), "running", evaluations=evaluations(800)))
    assert trials_table(running)["common_best5"].isna().all()
    assert list(trials_table(make_run()).columns) == list(table.columns)
    assert len(recipes_of(make_run())) == 0


def test_what_can_not_be_compared_takes_no_part_in_ties():
    long = [finished(900, 900, evaluations=2, temperature=t) for t in (1.0, 2.0, 3.0)]
    short = finished(880, evaluations=1)
    run = make_run(long[0], without_bits(long[1]), long[2], short)
    table = trials_table(run)
    assert table["tied"].tolist() == [True, pd.NA, True, pd.NA]
    assert table["low"].isna().tolist() == [False, True, False, False]
    assert table["best5"].tolist() == [0.9, 0.9, 0.9, 0.88]
    assert trials_table(make_run(without_bits(long[0]), long[1]))["tied"].isna().all()


def test_a_recipe_has_the_means_over_the_seeds_that_came_furthest():
    """Recipes on two seeds: both finished, one failed, one to come (as in a race), stopped, under
    way, pending, both failed."""

    def recipe(temperature, *seeds):
        for seed, (outcome, *rights) in enumerate(seeds):
            made = config(temperature=temperature, seed=seed)
            reason = rights.pop() if outcome == "failed" else ""
            yield TrialRecord(made, outcome, reason, evaluations=evaluations(*rights))

    seeded = make_run(
        *recipe(1.0, ("finished", 800, 820), ("finished", 880, 900)),
        *recipe(1.5, ("finished", 860, 870), ("failed", "loss is nan")),
        *recipe(2.0, ("finished", 840, 850), ("running", 990)),
        *recipe(2.5, ("stopped", 950), ("stopped", 930)),
        *recipe(3.5, ("waiting", 960, 970), ("running", 940)),
        *recipe(4.5, ("pending",), ("pending",)),
        *recipe(5.5, ("failed", "first"), ("failed", "second")),
    )
    found = recipes_of(seeded)
    shown = found[["outcome", "seeds", "evaluations", "reason"]].itertuples(index=False, name=None)
    assert list(shown) == [
        ("finished", 1, 2, "seed 1 failed, loss is nan"),
        ("finished", 2, 2, ""),
        ("finished", 1, 2, ""),
        ("stopped", 2, 1, ""),
        ("running", 1, 2, ""),
        ("pending", 2, 0, ""),
        ("failed", 2, 0, "seed 0 failed, first; seed 1 failed, second"),
    ]
    assert found["planned_seeds"].tolist() == [2] * 7
    assert found["tied"].tolist() == [True] * 3 + [pd.NA] * 4
    best5 = [0.865, 0.85, 0.845, 0.94, 0.965, np.nan, np.nan]
    np.testing.assert_allclose(found["best5"], best5, rtol=0, atol=1e-12)
    np.testing.assert_allclose(found["last"][:4], [0.87, 0.86, 0.85, 0.94], rtol=0, atol=1e-12)
    assert found["training_seconds"].tolist() == [4.0, 8.0, 6.0, 4.0, 6.0, 0.0, 0.0]
    assert not found["label"].str.contains("seed").any()
    # The interval is over examples, and over seeds where there are several.
    for row, seeds in ((1, ((800, 820), (880, 900))), (0, ((860, 870),))):
        scores = [best5_scores([np.arange(EXAMPLES) < n for n in rights]) for rights in seeds]
        wanted = mean_interval(np.array(scores))
        assert tuple(found.loc[row, ["low", "high"]]) == wanted


def test_ties_of_recipes_are_those_of_means_and_stand_with_each_seed():
    rights = ((860, 870), (880, 848), (500, 600))
    trials = [
        finished(right, temperature=recipe + 1.0, seed=seed)
        for recipe, of_recipe in enumerate(rights)
        for seed, right in enumerate(of_recipe)
    ]
    run, lost = make_run(*trials), make_run(without_bits(trials[0]), *trials[1:])
    assert recipes_of(run)["tied"].tolist() == [True, True, False]
    assert trials_table(run)["tied"].tolist() == [True] * 4 + [False] * 2
    assert recipes_of(lost)[["low", "tied"]].isna().iloc[0].all()


def test_expected_is_best5_without_the_luck_of_seeds_and_examples():
    """By hand: three equal recipes and one that answers two more of 1,000 examples are no further
    apart than noise, and so all expected at the mean weighted by 1 / variance."""
    settings = [{"temperature": t} for t in (1.0, 2.0, 3.0)]
    trials = [finished(800, seed=s, **settings[0]) for s in (0, 1)]  # half the variance of seeds
    trials += [finished(800, **settings[1]), finished(802, **settings[2])]
    run = make_run(*trials)
    recipes = recipes_of(run)
    # gaps to the mean of all: a third of the third's, on two examples
    gap = 0.002 * 0.998 * 1000 / 999 / 1000
    mean_own = gap * (4 / 9 + 1 / 9 + 1 / 9) / 2
    own = np.array([4 / 9, 1 / 9, 1 / 9]) * gap - mean_own / 3  # that of the others is 0 then
    weights = 1 / (0.004**2 / np.array([1, 2, 1]) + (3 * own).clip(0))
    wanted = weights @ [0.802, 0.8, 0.8] / weights.sum()
    np.testing.assert_allclose(recipes["expected"], [wanted] * 3, rtol=0, atol=1e-5)
    assert recipes["best5"][0] == 0.802
    table = trials_table(make_run(*trials, without_bits(finished(700, temperature=4.0))))
    assert table["expected"].isna().tolist() == [False] * 4 + [True]


def test_the_interval_of_a_gap_is_for_other_examples_and_seeds():
    recipes = recipes_of(make_run(finished(800, temperature=1.0), finished(790, temperature=2.0)))
    half = 1.96 * np.sqrt(0.01 * 0.99 / 1000 + 2 * 0.004**2)  # ten examples, and a seed each
    ends = recipes.loc[1, ["gap_low", "gap_high"]]
    np.testing.assert_allclose(ends.astype(float), (-0.01 - half, -0.01 + half), atol=1e-5)
    assert recipes.loc[0, ["gap_low", "gap_high"]].tolist() == [0.0, 0.0]  # of the best to itself


def test_labels_are_short_and_rounded_where_they_are_read():
    label = "random, layers 1,2,3, weight 7287.934, cosine_growth k=0.234683, T=2.5, seed 12"
    short = "random, layers 1-3, w=7288, growth k=0.235, T=2.5, seed 12"
    assert compact(label) == short
    label = "layers 1,3,5, pool mean, weight 100, cosine_^shape k=1, lr 0.0001"
    assert compact(label) == "layers 1,3,5, mean, w=100, ^shape k=1, lr 0.0001"
    assert compact("random, weight decay 0.1, class weight balanced").endswith("weight balanced")
    assert rounded("weight 1.5e-05, fixed 0.25") == "weight 1.5e-05, fixed 0.25"
