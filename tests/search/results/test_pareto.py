"""The Pareto front: against brute force, and its gains against hand-made students."""

import random
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from search.results import pareto
from search.results.statistics import SEED_SD, recipes_difference
from search.results.table import recipes_table, trials_table
from tests.report_runs import answers, reported
from trainable.config.trial_config import TrialConfig

EXAMPLES = 200


def bits(right):
    """Answers of which so many are right; fewer are right among the same."""
    return answers(right / EXAMPLES)


def make_run(folder, students, against="depth", confirms=None):
    """Finished trials of one evaluation: (depth, seed, right answers of 200) each."""
    shares = {
        TrialConfig(alpha=0.5, student_layers=depth, evaluations=1, seed=seed): (right / EXAMPLES,)
        for depth, seed, right in students
    }
    run = reported(folder, shares, against=against)
    costs = {"3": 5.5, "2": 4.25, "1": 4.75}
    run.plan = replace(run.plan, costs=costs, confirms=confirms)
    return run


def rows_of(run):
    return list(pareto.costs_table(run, recipes_table(run, trials_table(run))).itertuples())


def printed_front(run):
    """Title and rows."""
    console = Console(record=True, width=140)
    pareto.print_pareto_front(run, recipes_table(run, trials_table(run)), console)
    return [line for line in console.export_text().splitlines() if "depth" in line]


def test_front_equals_brute_force():
    """A pair is on it unless another is as good in both, and better in one or earlier."""
    generator = random.Random(0)
    for _ in range(300):
        count = generator.randrange(9)
        pairs = [(generator.randrange(4), -generator.randrange(5)) for _ in range(count)]
        keys = [(*pair, n) for n, pair in enumerate(pairs)]
        wanted = [
            key
            for key in sorted(keys)
            if not any(o[0] <= key[0] and o[1] <= key[1] and o[:2] != key[:2] for o in keys)
            and not any(o[:2] == key[:2] and o < key for o in keys)
        ]
        front = pareto.pareto_front([cost for cost, _ in pairs], [-loss for _, loss in pairs])
        assert front == [key[2] for key in wanted]


def test_gain_is_over_the_next_cheaper_one_on_the_front(tmp_path):
    run = make_run(tmp_path / "mine", [(3, 0, 160), (2, 0, 158), (1, 0, 100)])
    run.replan({}, [TrialConfig(alpha=0.25, student_layers=1, evaluations=1)])  # has not ended
    found = rows_of(run)
    rows = [(row.cost, row.best5, row.on_front) for row in found]
    assert rows == [(1.0, 0.5, True), (2.0, 0.79, True), (3.0, 0.8, True)]
    gain = found[1].gain
    assert gain.estimate == pytest.approx(0.29)
    half = 1.959964 * np.sqrt(2 * SEED_SD**2 + 0.29 * 0.71 / 199)  # right answers are nested
    assert (gain.low, gain.high) == pytest.approx((0.29 - half, 0.29 + half), rel=1e-6)
    assert found[0].gain is None
    assert found[2].gain.estimate == pytest.approx(0.01)
    _, first, second, third = printed_front(run)
    assert first.rstrip().endswith("-")
    assert "+29.00" in second
    assert second.rstrip().endswith("yes")  # significant
    assert third.rstrip().endswith("no")
    equalled = rows_of(make_run(tmp_path / "other", [(3, 0, 150), (2, 0, 150), (1, 0, 160)]))
    assert [row.on_front for row in equalled] == [True, False, False]


def test_seeds_are_one_candidate_and_their_gain_is_the_recipes(tmp_path):
    students = [(2, 0, 100), (2, 1, 104), (3, 0, 150), (3, 1, 140)]
    first, second = rows_of(make_run(tmp_path / "mine", students))
    assert (first.seeds, first.best5, second.best5) == (2, pytest.approx(0.51), 0.725)
    matrices = [np.array([bits(n), bits(m)], dtype=float) for n, m in ((150, 140), (100, 104))]
    assert second.gain == recipes_difference(*matrices)


def test_nothing_is_weighed_where_that_was_not_asked(tmp_path):
    run = make_run(tmp_path / "mine", [(3, 0, 160), (2, 0, 150)], against=None)
    assert (pareto.pareto_trials(run), rows_of(run)) == ([], [])
    assert printed_front(run) == []


def test_the_best_seed_of_each_recipe_on_the_front_is_kept(tmp_path):
    """Means 140, 141 and 142 at 4.25, 4.75 and 5.5 ms."""
    students = [(3, 0, 160), (3, 1, 124), (2, 0, 130), (2, 1, 150), (1, 0, 141)]
    run = make_run(tmp_path / "mine", students, against="latency")
    kept = [(t.config.student_layers, t.config.seed) for t in pareto.pareto_trials(run)]
    assert kept == [(2, 1), (1, 0), (3, 0)]
    assert [row.cost for row in rows_of(run)] == [4.25, 4.75, 5.5]
