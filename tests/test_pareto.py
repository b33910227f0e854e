"""The Pareto front: against brute force, and its gains against hand-made students."""

from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from search.pareto import candidates, cost_name, print_front
from search.record import create_run
from search.statistics import paired_difference, seeds_difference
from tests.report_runs import plan, training_inputs
from trainable.config import TrialConfig
from trainable.metrics import pack_bits

EXAMPLES = 200


def bits(right):
    """Answers of which the first so many are right."""
    return np.arange(EXAMPLES) < right


def make_run(folder, students, against="depth"):
    """Finished trials of one evaluation: (depth, seed, right answers of 200) each."""
    configs = [
        TrialConfig(alpha=0.5, student_layers=depth, evaluations=1, seed=seed)
        for depth, seed, _ in students
    ]
    planned = plan(*configs, inputs=training_inputs(EXAMPLES), against=against)
    run = create_run(folder, replace(planned, latency={"3": 5.5, "2": 4.25, "1": 2.0}))
    for config, (_, _, right) in zip(configs, students, strict=True):
        share = right / EXAMPLES
        values = {"evaluations": 1, "accuracy": share, "best5_accuracy": share}
        values["correct"] = pack_bits(bits(right))
        event = {"event": "evaluation", "decision": "continue", "evaluation": values}
        run.append(event | {"trial": config.digest})
    return run


def test_gain_is_over_the_next_cheaper_one_on_the_front(tmp_path):
    run = make_run(tmp_path / "mine", [(3, 0, 160), (2, 0, 158), (1, 0, 100)])
    found = candidates(run)
    assert [(c.cost, c.best5, c.on_front) for c in found] == [
        (1.0, 0.5, True),
        (2.0, 0.79, True),
        (3.0, 0.8, True),
    ]
    generator = np.random.default_rng(0)
    wanted = paired_difference(bits(158).astype(float), bits(100).astype(float), generator)
    assert found[1].gain == wanted
    assert found[0].gain is None
    assert found[2].gain.estimate == pytest.approx(0.01)


def test_one_that_something_cheaper_equals_is_not_on_the_front(tmp_path):
    found = candidates(make_run(tmp_path / "mine", [(3, 0, 150), (2, 0, 150), (1, 0, 160)]))
    assert [c.on_front for c in found] == [True, False, False]


def test_seeds_are_one_candidate_and_their_gain_is_the_recipes(tmp_path):
    students = [(2, 0, 100), (2, 1, 104), (3, 0, 150), (3, 1, 140)]
    first, second = candidates(make_run(tmp_path / "mine", students))
    assert (first.seeds, first.best5, second.best5) == (2, pytest.approx(0.51), 0.725)
    matrices = [np.array([bits(n), bits(m)], dtype=float) for n, m in ((150, 140), (100, 104))]
    assert second.gain == seeds_difference(*matrices)


def test_other_seeds_are_not_paired(tmp_path):
    """A seed that failed leaves its place to another: then rows of the two are of unlike seeds."""
    students = [(2, 0, 100), (2, 1, 104), (3, 1, 150), (3, 2, 140)]
    _, second = candidates(make_run(tmp_path / "mine", students))
    matrices = [np.array([bits(n), bits(m)], dtype=float) for n, m in ((150, 140), (100, 104))]
    assert second.gain == seeds_difference(*matrices, same_seeds=False)
    assert second.gain != seeds_difference(*matrices)


def test_latency_is_the_cost_where_that_was_asked(tmp_path):
    run = make_run(tmp_path / "mine", [(3, 0, 160), (2, 0, 150)], against="latency")
    assert [c.cost for c in candidates(run)] == [4.25, 5.5]
    assert cost_name(run) == "ms an example"


def test_nothing_where_nothing_was_asked(tmp_path):
    run = make_run(tmp_path / "mine", [(3, 0, 160)], against=None)
    assert (candidates(run), cost_name(run)) == ([], "")
    console = Console(record=True)
    print_front(run, console)
    assert console.export_text() == ""


def test_only_trials_that_ran_to_their_end_count(tmp_path):
    run = make_run(tmp_path / "mine", [(3, 0, 160)])
    run.replan({}, [TrialConfig(alpha=0.5, student_layers=1, evaluations=1)])
    assert [c.cost for c in candidates(run)] == [3.0]


def test_printed_front_says_which_gains_are_significant(tmp_path):
    run = make_run(tmp_path / "mine", [(3, 0, 160), (2, 0, 158), (1, 0, 100)])
    console = Console(record=True, width=140)
    print_front(run, console)
    lines = [line for line in console.export_text().splitlines() if "depth" in line]
    assert lines[0].startswith("Accuracy against depth")
    assert lines[1].rstrip().endswith("-")
    assert lines[2].rstrip().endswith("yes")
    assert "+29.00" in lines[2]
    assert lines[3].rstrip().endswith("no")
