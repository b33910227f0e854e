"""The Pareto front: against brute force, and its gains against hand-made students."""

import random
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from search.record.run import create_run
from search.results.pareto import (
    against,
    costs_table,
    pareto_front,
    pareto_trials,
    print_pareto_front,
)
from search.results.statistics import bootstrap_interval, seeds_difference
from search.results.table import recipes_table, trials_table
from tests.report_runs import answers, plan, report_evaluations
from trainable.config.trial_config import TrialConfig

EXAMPLES = 200


def bits(right):
    """Answers of which so many are right; fewer are right among the same."""
    return answers(right / EXAMPLES)


def make_run(folder, students, against="depth", confirms=None):
    """Finished trials of one evaluation: (depth, seed, right answers of 200) each."""
    configs = [
        TrialConfig(alpha=0.5, student_layers=depth, evaluations=1, seed=seed)
        for depth, seed, _ in students
    ]
    planned = plan(*configs, against=against)
    run = create_run(
        folder, replace(planned, costs={"3": 5.5, "2": 4.25, "1": 4.75}, confirms=confirms)
    )
    for config, (_, _, right) in zip(configs, students, strict=True):
        report_evaluations(run, config, (right / EXAMPLES,))
    return run


def rows_of(run):
    return list(costs_table(run, recipes_table(run, trials_table(run))).itertuples())


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
        front = pareto_front([cost for cost, _ in pairs], [-loss for _, loss in pairs])
        assert front == [key[2] for key in wanted]


def test_gain_is_over_the_next_cheaper_one_on_the_front(tmp_path):
    run = make_run(tmp_path / "mine", [(3, 0, 160), (2, 0, 158), (1, 0, 100)])
    found = rows_of(run)
    assert [(row.cost, row.best5, row.on_front) for row in found] == [
        (1.0, 0.5, True),
        (2.0, 0.79, True),
        (3.0, 0.8, True),
    ]
    generator = np.random.default_rng(0)
    gaps = bits(158).astype(float) - bits(100).astype(float)
    gain = found[1].gain
    assert gain.estimate == pytest.approx(0.29)
    assert (gain.low, gain.high) == bootstrap_interval(gaps, generator)
    assert found[0].gain is None
    assert found[2].gain.estimate == pytest.approx(0.01)
    equalled = rows_of(make_run(tmp_path / "other", [(3, 0, 150), (2, 0, 150), (1, 0, 160)]))
    assert [row.on_front for row in equalled] == [True, False, False]


def test_seeds_are_one_candidate_and_their_gain_is_the_recipes(tmp_path):
    students = [(2, 0, 100), (2, 1, 104), (3, 0, 150), (3, 1, 140)]
    first, second = rows_of(make_run(tmp_path / "mine", students))
    assert (first.seeds, first.best5, second.best5) == (2, pytest.approx(0.51), 0.725)
    matrices = [np.array([bits(n), bits(m)], dtype=float) for n, m in ((150, 140), (100, 104))]
    assert second.gain == seeds_difference(*matrices)


@pytest.mark.parametrize("changes", [{"against": None}, {"confirms": {}}])
def test_nothing_is_weighed_where_that_was_not_asked_nor_in_a_confirmation(tmp_path, changes):
    run = make_run(tmp_path / "mine", [(3, 0, 160), (2, 0, 150)], **changes)
    assert (against(run), pareto_trials(run), rows_of(run)) == ("", [], [])
    console = Console(record=True)
    print_pareto_front(run, recipes_table(run, trials_table(run)), console)
    assert console.export_text() == ""


def test_the_best_seed_of_each_recipe_on_the_front_is_kept(tmp_path):
    """Means 140, 141 and 142 at 4.25, 4.75 and 5.5 ms."""
    students = [(3, 0, 160), (3, 1, 124), (2, 0, 130), (2, 1, 150), (1, 0, 141)]
    run = make_run(tmp_path / "mine", students, against="latency")
    kept = [(t.config.student_layers, t.config.seed) for t in pareto_trials(run)]
    assert kept == [(2, 1), (1, 0), (3, 0)]
    assert [row.cost for row in rows_of(run)] == [4.25, 4.75, 5.5]


def test_only_trials_that_ran_to_their_end_count(tmp_path):
    run = make_run(tmp_path / "mine", [(3, 0, 160)])
    run.replan({}, [TrialConfig(alpha=0.5, student_layers=1, evaluations=1)])
    assert [row.cost for row in rows_of(run)] == [3.0]


def test_printed_front_says_which_gains_are_significant(tmp_path):
    run = make_run(tmp_path / "mine", [(3, 0, 160), (2, 0, 158), (1, 0, 100)])
    console = Console(record=True, width=140)
    print_pareto_front(run, recipes_table(run, trials_table(run)), console)
    lines = [line for line in console.export_text().splitlines() if "depth" in line]
    assert lines[0].startswith("Accuracy against depth")
    assert lines[1].rstrip().endswith("-")
    assert lines[2].rstrip().endswith("yes")
    assert "+29.00" in lines[2]
    assert lines[3].rstrip().endswith("no")
