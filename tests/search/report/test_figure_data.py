"""The numbers behind the figures, against hand-made runs."""

import pytest

from search.record.run import create_run
from search.report.figure_data import evaluations_table, point_panels, rung_counts
from search.results.table import recipes_table, trials_table
from tests.report_runs import config, plan, report_evaluations

BEST, FAR, SHORT = config(alpha=0.5), config(alpha=0.75), config(alpha=0.1)
RANDOM = config("random", "none")


def tables(run):
    trials = trials_table(run)
    recipes = recipes_table(run, trials)
    return trials, recipes, evaluations_table(run, trials, recipes)


@pytest.fixture
def run(tmp_path):
    made = create_run(tmp_path / "run", plan(RANDOM, SHORT, FAR, BEST))
    report_evaluations(made, BEST, (0.85, 0.86, 0.86, 0.87))
    report_evaluations(made, FAR, (0.55, 0.56, 0.56, 0.56))
    report_evaluations(made, SHORT, (0.95, 0.96), stop=True)
    report_evaluations(made, RANDOM, (0.7,))
    return made


def test_evaluations_with_the_best_stratum_first_and_ranks(run):
    *_, found = tables(run)
    assert found["stratum"].tolist() == ["teacher_spread"] * 10 + ["random"]
    ranks = {BEST: 3, FAR: 1, SHORT: 0, RANDOM: 0}
    of_trials = {trial.digest: rank for trial, rank in ranks.items()}
    assert found.groupby("digest")["rank"].first().to_dict() == of_trials
    of_best = found.loc[found["digest"] == BEST.digest, "score"]
    assert of_best.tolist() == [0.85, 0.86, 0.86, 0.87]


def test_rungs_say_who_came_and_who_was_stopped_by_the_score_that_decides(run):
    _, recipes, evaluations = tables(run)
    found = rung_counts(run, evaluations, recipes)
    assert found.to_dict("records")[0] == {
        "stratum": "teacher_spread",
        "rung": 2,
        "reached": 3,
        "stopped": 1,
        # Of accuracies 0.86, 0.56 and 0.96 at the rung, each with an agreement of 0.5.
        "median": pytest.approx((0.86 + 0.5) / 2, abs=1e-5),
    }
    assert found[["stratum", "reached", "stopped"]].iloc[1].tolist() == ["random", 0, 0]
    assert len(found) == 2


def test_recipes_on_seeds_count_once_at_a_rung_by_their_mean(tmp_path):
    seeds = [config(seed=seed) for seed in (0, 1)]
    run = create_run(tmp_path / "run", plan(*seeds, seeds=2))
    for one, share in zip(seeds, (0.8, 0.9), strict=True):
        report_evaluations(run, one, (share,) * 2, stop=True)
    _, recipes, evaluations = tables(run)
    (row,) = rung_counts(run, evaluations, recipes).to_dict("records")
    assert (row["reached"], row["stopped"]) == (1, 1)
    assert row["median"] == pytest.approx((0.85 + 0.5) / 2, abs=1e-5)


def test_points_by_initialisation_and_schedule_the_best_first(tmp_path):
    growth = config("random", alpha_schedule="cosine_growth", sharpness=2.0)
    run = create_run(tmp_path / "run", plan(RANDOM, BEST, growth, FAR))
    for chosen, share in ((RANDOM, 0.7), (BEST, 0.9), (growth, 0.8)):
        report_evaluations(run, chosen, (share,))
    panels = point_panels(trials_table(run))
    assert {key: rows["value"].tolist() for key, rows in panels.items()} == {
        ("teacher_spread", "fixed"): [0.5],
        ("teacher_spread", "cosine_growth"): [],
        ("random", "fixed"): [0.5],
        ("random", "cosine_growth"): [2.0],
    }
    assert next(iter(panels)) == ("teacher_spread", "fixed")
