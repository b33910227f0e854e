"""A run as tables: values by hand, runs in any state, no Ray and no torch, fast enough."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from search.record.events import RECORD
from search.record.run import SWEEP, Run, create_run
from search.record.trial_record import (
    FAILED,
    FINISHED,
    PENDING,
    RUNNING,
    STOPPED,
    WAITING,
    TrialRecord,
)
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
    return TrialRecord(config(**settings), FINISHED, evaluations=evaluations(*rights))


def without_bits(trial):
    lost = [{**evaluation, "predictions": ""} for evaluation in trial.evaluations]
    return replace(trial, evaluations=lost)


def recipes_of(run):
    return recipes_table(run, trials_table(run))


@pytest.fixture
def mixed():
    """Every outcome; the finished ones with three evaluations."""
    return make_run(
        TrialRecord(config(temperature=1.0), FAILED, "out of memory"),
        TrialRecord(config(temperature=1.5), PENDING),
        finished(700, 720, 710),
        TrialRecord(config(temperature=2.5), STOPPED, evaluations=evaluations(690, 600)),
        finished(800, 780, 796, temperature=3.0),
        TrialRecord(config(temperature=3.5), RUNNING, evaluations=evaluations(860)),
        finished(798, 792, 789, initialisation="teacher_spread"),
    )


def test_row_by_hand():
    made = evaluations(500, 900, 910, 920, 930, 940, 905)
    made[-1]["full_score"] = 0.876
    trial = TrialRecord(config(alpha=0.25), FINISHED, evaluations=made, repeated=2)
    (row,) = trials_table(make_run(trial)).to_dict("records")
    best5 = (0.91 + 0.92 + 0.93 + 0.94 + 0.905) / 5
    wanted = {
        "initialisation": "random",
        "alpha": 0.25,
        "sharpness": None,
        "planned_evaluations": 15,
        "digest": trial.config.digest,
        "label": "random, logits only, fixed 0.25",
        "folder": trial.config.folder_name,
        "inactive": "hidden_pool,hidden_weight,relation_heads",
        "stratum": "random",
        "outcome": FINISHED,
        "reason": "",
        "evaluations": 7,
        "repeated": 2,
        "best5": pytest.approx(best5),
        "of_teacher": pytest.approx(best5 / TEACHER),
        "last": 0.905,
        "full_validation": 0.876,
        "tied": True,
        "common_best5": pytest.approx(best5),
        "training_seconds": 14.0,
        "evaluation_seconds": 7.0,
        "saving_seconds": 3.5,
    }
    assert {key: row[key] for key in wanted} == wanted
    half = 1.96 * np.sqrt(best5 * (1 - best5) / EXAMPLES)
    np.testing.assert_allclose((row["low"], row["high"]), (best5 - half, best5 + half), atol=0.003)


def test_one_row_a_trial_in_the_order_planned(mixed):
    table = trials_table(mixed)
    assert list(table["digest"]) == list(mixed.trials)
    assert list(table["evaluations"]) == [0, 0, 3, 2, 3, 1, 3]
    for column in ("best5", "low", "of_teacher", "last", "full_validation", "tied"):
        assert table[column].isna()[:2].all(), column
    # 0.710 against 0.792 and 0.793 on nested examples, whatever the stratum
    assert table["tied"].tolist() == [pd.NA, pd.NA, False, pd.NA, True, pd.NA, True]
    after_two = [np.nan, np.nan, 0.71, 0.645, 0.79, np.nan, 0.795]
    np.testing.assert_allclose(table["common_best5"], after_two, rtol=0, atol=1e-12)
    running = make_run(TrialRecord(config(), RUNNING, evaluations=evaluations(800)))
    assert trials_table(running)["common_best5"].isna().all()
    empty = make_run()
    assert list(trials_table(empty).columns) == list(table.columns)
    assert len(recipes_of(empty)) == 0


def test_what_can_not_be_compared_takes_no_part_in_ties():
    long = [finished(900, 900, evaluations=2, temperature=t) for t in (1.0, 2.0, 3.0)]
    short = finished(880, evaluations=1)
    run = make_run(long[0], without_bits(long[1]), long[2], short)
    table = trials_table(run)
    assert table["tied"].tolist() == [True, pd.NA, True, pd.NA]
    assert table["low"].isna().tolist() == [False, True, False, False]
    assert table["best5"].tolist() == [0.9, 0.9, 0.9, 0.88]
    assert trials_table(make_run(without_bits(long[0]), long[1]))["tied"].isna().all()


def test_recipes_stand_by_outcome_and_then_by_best5(mixed):
    found = recipes_of(mixed)
    assert list(zip(found["outcome"], found["best5"].round(4), strict=True))[:5] == [
        (FINISHED, 0.793),
        (FINISHED, 0.792),
        (FINISHED, 0.71),
        (STOPPED, 0.645),
        (RUNNING, 0.86),
    ]
    assert found["outcome"].tolist()[5:] == [PENDING, FAILED]
    columns = list(trials_table(mixed).columns)
    of_best = trials_table(mixed).set_index("digest").loc[found["digest"][0]]
    assert found.iloc[0][columns].drop("digest").equals(of_best)


@pytest.fixture
def seeded():
    """Recipes on two seeds: both finished, one failed, stopped, under way, pending, both failed."""

    def seed(number, outcome, *rights, reason="", temperature):
        made = config(temperature=temperature, seed=number)
        return TrialRecord(made, outcome, reason, evaluations=evaluations(*rights))

    return make_run(
        seed(0, FINISHED, 800, 820, temperature=1.0),
        seed(1, FINISHED, 880, 900, temperature=1.0),
        seed(0, FINISHED, 860, 870, temperature=1.5),
        seed(1, FAILED, reason="loss is nan", temperature=1.5),
        seed(0, STOPPED, 950, temperature=2.5),
        seed(1, STOPPED, 930, temperature=2.5),
        seed(0, WAITING, 960, 970, temperature=3.5),
        seed(1, RUNNING, 940, temperature=3.5),
        seed(0, PENDING, temperature=4.5),
        seed(1, PENDING, temperature=4.5),
        seed(0, FAILED, reason="first", temperature=5.5),
        seed(1, FAILED, reason="second", temperature=5.5),
    )


def test_a_recipe_has_the_means_over_the_seeds_that_came_furthest(seeded):
    found = recipes_of(seeded)
    shown = found[["outcome", "seeds", "evaluations", "reason"]].itertuples(index=False, name=None)
    assert list(shown) == [
        (FINISHED, 1, 2, "seed 1 failed, loss is nan"),
        (FINISHED, 2, 2, ""),
        (STOPPED, 2, 1, ""),
        (RUNNING, 1, 2, ""),
        (PENDING, 2, 0, ""),
        (FAILED, 2, 0, "seed 0 failed, first; seed 1 failed, second"),
    ]
    assert found["planned_seeds"].tolist() == [2] * 6
    best5 = [0.865, 0.85, 0.94, 0.965, np.nan, np.nan]
    np.testing.assert_allclose(found["best5"], best5, rtol=0, atol=1e-12)
    np.testing.assert_allclose(found["last"][:3], [0.87, 0.86, 0.94], rtol=0, atol=1e-12)
    assert found["training_seconds"].tolist() == [4.0, 8.0, 4.0, 6.0, 0.0, 0.0]
    assert not found["label"].str.contains("seed").any()


def test_interval_is_over_examples_and_seeds_where_there_are_several(seeded):
    alone, two = recipes_of(seeded).iloc[0], recipes_of(seeded).iloc[1]
    scores = [
        best5_scores([np.arange(EXAMPLES) < right for right in rights])
        for rights in ((800, 820), (880, 900), (860, 870))
    ]
    for row, seeds in ((two, scores[:2]), (alone, scores[2:])):
        wanted = mean_interval(np.array(seeds), np.random.default_rng(0))
        assert (row["low"], row["high"]) == wanted


def test_ties_of_recipes_are_those_of_means_and_stand_with_each_seed():
    scores = {1.0: (860, 870), 2.0: (880, 848), 3.0: (500, 600)}
    trials = [
        finished(right, temperature=temperature, seed=seed)
        for temperature, rights in scores.items()
        for seed, right in enumerate(rights)
    ]
    run = make_run(*trials)
    assert recipes_of(run)["tied"].tolist() == [True, True, False]
    assert trials_table(run)["tied"].tolist() == [True] * 4 + [False] * 2
    lost = make_run(without_bits(trials[0]), *trials[1:])
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
    run = make_run(finished(800, temperature=1.0), finished(790, temperature=2.0))
    recipes = recipes_of(run)
    half = 1.96 * np.sqrt(0.01 * 0.99 / 1000 + 2 * 0.004**2)  # ten examples, and a seed each
    ends = recipes.loc[1, ["gap_low", "gap_high"]]
    np.testing.assert_allclose(ends.astype(float), (-0.01 - half, -0.01 + half), atol=1e-5)


def test_labels_are_short_and_rounded_where_they_are_read():
    label = "random, layers 1,2,3, weight 7287.934, cosine_growth k=0.234683, T=2.5, seed 12"
    short = "random, layers 1-3, w=7288, growth k=0.235, T=2.5, seed 12"
    assert compact(label) == short
    label = "layers 1,3,5, pool mean, weight 100, cosine_^shape k=1, lr 0.0001"
    assert compact(label) == "layers 1,3,5, mean, w=100, ^shape k=1, lr 0.0001"
    assert compact("random, weight decay 0.1, class weight balanced").endswith("weight balanced")
    assert rounded("weight 1.5e-05, fixed 0.25") == "weight 1.5e-05, fixed 0.25"


@pytest.fixture
def written(tmp_path):
    """A run on disk: one trial finished, one interrupted, one pending."""
    configs = [config(temperature=t, evaluations=2) for t in (1.0, 2.0, 3.0)]
    run = create_run(tmp_path / "mine", plan(*configs, inputs=training_inputs(EXAMPLES)))
    for trial, rights in zip(configs, [(800, 810), (700,), ()], strict=False):
        for values in evaluations(*rights):
            event = {"event": "evaluation", "decision": "continue", "evaluation": values}
            run.append({**event, "trial": trial.digest})
    return run


def test_a_folder_is_read_whichever_file_is_damaged(written):
    wanted = trials_table(written)
    pd.testing.assert_frame_equal(trials_table(str(written.folder)), wanted)
    (written.folder / SWEEP).write_bytes(b"{")
    pd.testing.assert_frame_equal(trials_table(written.folder), wanted)
    lines = (written.folder / RECORD).read_bytes().splitlines(keepends=True)
    (written.folder / RECORD).write_bytes(lines[0])
    columns = ["low", "high", "tied", "gap_low", "gap_high", "expected"]  # the copies have no bits
    found = trials_table(written.folder)
    assert found[columns].isna().all(axis=None)
    pd.testing.assert_frame_equal(found.drop(columns=columns), wanted.drop(columns=columns))
