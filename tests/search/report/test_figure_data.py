"""The numbers behind the figures and of costs, against hand-made runs and sums by hand."""

import pytest

from search.record.run import create_run
from search.report.figure_data import costs, evaluations_table, point_panels, rung_counts
from search.results.table import recipes_table, trials_table
from tests.report_runs import answers, config, evaluation, plan, report_evaluations, reported
from tests.search.results.test_recommendation import with_finals

BEST, FAR, SHORT = config(alpha=0.5), config(alpha=0.75), config(alpha=0.1)
RANDOM = config("random", "none")


def tables(run):
    trials = trials_table(run)
    recipes = recipes_table(run, trials)
    evaluations = evaluations_table(run, trials, recipes)
    return evaluations, rung_counts(run, evaluations, recipes)


@pytest.fixture
def run(tmp_path):
    best, far = (0.85, 0.86, 0.86, 0.87), (0.55, 0.56, 0.56, 0.56)
    shares = {RANDOM: (0.7,), SHORT: (0.95, 0.96), FAR: far, BEST: best}
    return reported(tmp_path / "run", shares, stopped=[SHORT])


def test_evaluations_with_the_best_stratum_first_and_ranks_and_what_happened_at_rungs(run):
    found, rungs = tables(run)
    assert found["stratum"].tolist() == ["teacher_spread"] * 10 + ["random"]
    ranks = {BEST.digest: 3, FAR.digest: 1, SHORT.digest: 0, RANDOM.digest: 0}
    assert found.groupby("digest")["rank"].first().to_dict() == ranks
    of_best = found.loc[found["digest"] == BEST.digest, "score"]
    assert of_best.tolist() == [0.85, 0.86, 0.86, 0.87]
    first, second = rungs.to_dict("records")
    # Of accuracies 0.86, 0.56 and 0.96 at the rung, each with an agreement of 0.5.
    median = pytest.approx((0.86 + 0.5) / 2, abs=1e-5)
    counts = {"stratum": "teacher_spread", "rung": 2, "reached": 3, "stopped": 1, "median": median}
    assert first == counts
    assert [second[key] for key in ("stratum", "reached", "stopped")] == ["random", 0, 0]


def test_finals_whose_evaluations_are_of_more_steps_have_a_panel_of_their_own(tmp_path):
    found, rungs = tables(with_finals(tmp_path / "run", [0.8, 0.82], [0.83]))
    assert found["stratum"].tolist() == ["finals"] * 2 + ["all trials"] * (len(found) - 2)
    assert "finals" not in set(rungs["stratum"])


def test_recipes_on_seeds_count_once_at_a_rung_by_their_mean(tmp_path):
    shares = {config(seed=0): (0.8,) * 2, config(seed=1): (0.9,) * 2}
    run = reported(tmp_path / "run", shares, stopped=shares, seeds=2)
    (row,) = tables(run)[1].to_dict("records")
    assert (row["reached"], row["stopped"]) == (1, 1)
    assert row["median"] == pytest.approx((0.85 + 0.5) / 2, abs=1e-5)


def test_points_by_initialisation_and_schedule_the_best_first(tmp_path):
    growth = config("random", alpha_schedule="cosine_growth", sharpness=2.0)
    shares = {RANDOM: (0.7,), BEST: (0.9,), growth: (0.8,), FAR: ()}
    panels = point_panels(trials_table(reported(tmp_path / "run", shares)))
    assert [(*key, rows["value"].tolist()) for key, rows in panels.items()] == [
        ("teacher_spread", "fixed", [0.5]),
        ("teacher_spread", "cosine_growth", []),
        ("random", "fixed", [0.5]),
        ("random", "cosine_growth", [2.0]),
    ]


def test_time_in_trials_what_asha_saved_and_evaluations_made_again(tmp_path, monkeypatch):
    """Events a second apart, but for a pause between two sessions."""
    times = iter([*range(1001, 1010), *range(9001, 9005)])
    monkeypatch.setattr("search.record.run.clock", lambda: float(next(times)))
    run = create_run(tmp_path / "run", plan(BEST, FAR, SHORT))  # 1001
    run.append({"event": "session", "provenance": {}})  # 1002
    report_evaluations(run, BEST, (0.8, 0.8, 0.8, 0.8))  # to 1007
    report_evaluations(run, FAR, (0.7,), stop=True)  # to 1009
    assert costs(run) == [
        ("training and evaluation", 5 * 3.0, "5 evaluations, summed over trials"),
        ("saving", 5 * 0.5, "writing checkpoints, while training waits"),
        ("wall time", 7.0, "sessions: 1, failures of trials: 0"),  # 1002 to 1009
        ("saved by stopping early", 9.0, "estimated: 3 evaluations skipped, 38% of the total time"),
        ("teacher", 40.0, "fine-tuning, once for all runs, not in the wall time"),
    ]
    run.append({"event": "session", "provenance": {}})  # 9001
    run.append({"event": "start", "trial": SHORT.digest})  # 9002
    assert ("wall time", 8.0, "sessions: 2, failures of trials: 0") in costs(run)
    run.append({"event": "repeated", "evaluations": 1, "trial": FAR.digest})
    again = {"event": "evaluation", "decision": "stop", "trial": FAR.digest}
    run.append({**again, "evaluation": evaluation(1, answers(0.6), seconds=7.0)})
    # At the mean of their trial's.
    assert ("repeated", 2 * 7.0, "2 evaluations, after interruptions") in costs(run)
