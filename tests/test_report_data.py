"""Figure data against numbers worked out by hand."""

import pytest
from ray.tune.schedulers import ASHAScheduler

from search.record import create_run
from search.report_data import (
    alpha_curves,
    early_stops,
    learning_curves,
    point_panels,
    rung_counts,
    rungs_of,
)
from search.strata import REDUCTION_FACTOR, rungs
from search.table import trials_table
from tests.report_runs import config, fail, report_evaluations, sweep

GROWTH = {"alpha_schedule": "cosine_growth"}
FIRST = config(sharpness=1.0, **GROWTH)
SECOND = config(sharpness=2.0, **GROWTH)
THIRD = config()
RANDOM = config("random", "none")
BROKEN = config("random", alpha=0.25)


@pytest.fixture
def run(tmp_path):
    """Three from the teacher, the weakest stopped at two; a random one under way, one failed."""
    made = create_run(tmp_path / "run", sweep(), [FIRST, SECOND, THIRD, RANDOM, BROKEN])
    report_evaluations(made, FIRST, (0.80, 0.90, 0.92, 0.91))
    report_evaluations(made, SECOND, (0.70, 0.80, 0.95, 0.93))
    report_evaluations(made, THIRD, (0.60, 0.70), stop=True)
    report_evaluations(made, RANDOM, (0.50,))
    fail(made, BROKEN)
    return made


def test_curves_by_stratum_the_higher_first(run):
    spread, random = learning_curves(run)
    assert [spread.stratum, random.stratum] == ["teacher_spread", "random"]
    assert [c.accuracies for c in spread.curves] == [
        (0.80, 0.90, 0.92, 0.91),
        (0.70, 0.80, 0.95, 0.93),
        (0.60, 0.70),
    ]
    assert [c.outcome for c in spread.curves] == ["finished", "finished", "stopped"]
    assert [(c.digest, c.accuracies) for c in random.curves] == [(RANDOM.digest, (0.5,))]
    assert (spread.evaluations, spread.rungs) == (4, (2,))


def test_stopped_trial_is_ranked_at_equal_numbers_of_evaluations(run):
    (stop,) = early_stops(run)
    assert (stop.words, stop.stratum) == (THIRD.words(), "teacher_spread")
    assert (stop.evaluations, stop.rank, stop.among) == (2, 3, 3)
    assert stop.best5 == pytest.approx(0.65)
    assert stop.median == pytest.approx(0.75)  # of 0.85, 0.75 and 0.65 after two each


def test_rungs_count_who_came_and_who_ended_there(run):
    found = {(r.stratum, r.evaluations): (r.reached, r.stopped) for r in rung_counts(run)}
    assert found == {("teacher_spread", 2): (3, 1), ("random", 2): (0, 0)}


def test_no_rungs_where_nothing_is_stopped(run):
    run.sweep["scheduler"] = "fifo"
    assert rungs_of(run) == ()
    assert rung_counts(run) == []


@pytest.mark.parametrize(
    ("evaluations", "grace", "expected"),
    [
        (15, 3, [3, 6, 12]),
        (8, 2, [2, 4]),
        (4, 4, []),
        (1, 3, []),
        (8, 1, [1, 2, 4]),
        (9, 2, [2, 4, 8]),
    ],
)
def test_rungs_are_where_ray_has_them(evaluations, grace, expected):
    assert rungs(evaluations, grace) == expected
    bracket = ASHAScheduler(
        max_t=evaluations,
        grace_period=min(grace, evaluations),
        reduction_factor=REDUCTION_FACTOR,
    )._brackets[0]
    milestones = sorted(milestone for milestone, _ in bracket._rungs)
    assert [m for m in milestones if m < evaluations] == expected


def test_alpha_curves_by_schedule_and_value():
    curves = alpha_curves([SECOND, FIRST, THIRD, RANDOM, FIRST])
    assert list(curves) == ["fixed", "cosine_growth"]
    assert [(c.value, c.trials) for c in curves["cosine_growth"]] == [(1.0, 2), (2.0, 1)]
    assert [(c.value, c.trials) for c in curves["fixed"]] == [(0.5, 2)]
    assert set(curves["fixed"][0].alpha) == {0.5}
    growth = curves["cosine_growth"][0]
    assert (growth.progress[0], growth.progress[-1]) == (0.0, 1.0)
    assert (growth.alpha[0], growth.alpha[-1]) == (0.0, pytest.approx(1.0))
    held = [alpha for p, alpha in zip(growth.progress, growth.alpha, strict=True) if p <= 0.1]
    assert set(held) == {0.0}
    middle = growth.progress.index(0.55)  # half way after the hold: 1 - cos(pi / 4)
    assert growth.alpha[middle] == pytest.approx(1 - 0.5**0.5, abs=0.01)


def test_points_by_initialisation_and_schedule(run):
    table = trials_table(run)
    panels = point_panels(table)
    assert [(p.initialisation, p.schedule, len(p.points)) for p in panels] == [
        ("teacher_spread", "fixed", 1),
        ("teacher_spread", "cosine_growth", 2),
        ("random", "fixed", 1),
        ("random", "cosine_growth", 0),
    ]
    first, second = panels[1].points
    assert (first.digest, first.value, first.layers, first.whole) == (
        FIRST.digest,
        1.0,
        "1,2,3",
        True,
    )
    assert (first.best5, second.value, second.best5) == (
        pytest.approx((0.8 + 0.9 + 0.92 + 0.91) / 4),
        2.0,
        pytest.approx((0.7 + 0.8 + 0.95 + 0.93) / 4),
    )
    row = table[table["digest"] == FIRST.digest].iloc[0]
    assert (first.low, first.high) == (row["low"], row["high"])
    stopped = panels[0].points[0]
    assert (stopped.value, stopped.whole) == (0.5, False)
