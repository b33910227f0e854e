"""What a confirmation answers: its numbers by hand, and that print and files have them all."""

import io
import json
from dataclasses import asdict, replace

import numpy as np
import pytest
from rich.console import Console

from search.record.run import Run
from search.record.trial_record import TrialRecord
from search.results.confirmation import Confirmation
from search.results.confirmation_result import Row, conclude, print_conclusion, write_conclusion
from search.results.statistics import seeds_difference
from tests.made_runs import pack_right
from tests.report_runs import evaluation, plan, training_inputs
from tests.search.results.test_comparisons import CE_ONLY, FIXED, GROWTH
from trainable.config.fields import from_plain

EXAMPLES, WHOLE = 200, 1000
RIGHTS = {GROWTH: (180, 184, 182), FIXED: (170, 171, 172), CE_ONLY: (160, 165, 161)}


def evaluations(last, best5, full=None):
    """A poor first one, and the last with so many of the first examples right."""
    first = evaluation(1, np.zeros(EXAMPLES, bool))
    final = evaluation(2, np.arange(EXAMPLES) < last, best5=best5)
    if full is not None:
        bits = np.arange(WHOLE) < full
        final |= {"full_score": full / WHOLE, "full_predictions": pack_right(bits)}
    return [first, final]


@pytest.fixture
def make_run(tmp_path):
    """Three recipes on seeds 4, 5 and 6; `full` has how many each got right of the full split."""

    def make(full=None, asked=(3,), failed=()):
        confirmation = Confirmation("mine", "then", (GROWTH,), (0.95,), (4, 5, 6), asked)
        inputs = training_inputs(EXAMPLES, WHOLE if full else None)
        planned = plan(*confirmation.trials(), inputs=inputs)
        trials = {}
        for config in planned.trials:
            recipe, place = config.recipe, config.seed - 4
            right = RIGHTS[recipe][place]
            made = evaluations(right, right / EXAMPLES + 0.01, full and full[recipe][place])
            trials[config.digest] = TrialRecord(config, "finished", evaluations=made)
            if (recipe, config.seed) in failed:
                trials[config.digest] = TrialRecord(config, "failed", "loss is nan")
        return Run(tmp_path, replace(planned, confirms=asdict(confirmation)), trials)

    return make


def printed(conclusion):
    print_conclusion(conclusion, Console(file=(file := io.StringIO()), width=120))
    return file.getvalue()


def test_rows_by_hand(make_run):
    growth, *baselines = conclude(make_run()).rows
    bits = np.array([np.arange(EXAMPLES) < right for right in RIGHTS[GROWTH]])
    interval = seeds_difference(bits, np.zeros(bits.shape))
    ends = pytest.approx((interval.low, interval.high))
    name = "teacher_spread, layers 1,2,3, cosine_growth k=2"
    assert growth == Row(name, pytest.approx(0.91), ends, pytest.approx(0.92), 0.95, 3)
    assert [(row.recipe, row.last, row.chosen) for row in baselines] == [
        ("teacher_spread, layers 1,2,3, fixed 0.5", pytest.approx(0.855), None),
        ("teacher_spread, cross-entropy only", pytest.approx(0.81), None),
    ]


def test_final_evaluation_counts_and_not_best5_nor_the_order_of_trials(make_run):
    run = make_run()
    first = conclude(run).comparisons
    assert [v.difference.estimate for v in first] == pytest.approx([0.055, 0.1])
    for trial in run.trials.values():
        trial.evaluations[-1]["best5"] = 0.1
        trial.evaluations[0]["predictions"] = pack_right(np.ones(EXAMPLES, bool))
    assert conclude(run).comparisons == first
    turned = conclude(replace(run, trials=dict(reversed(run.trials.items())))).comparisons
    assert [v.adjusted for v in turned] == pytest.approx([v.adjusted for v in first])


def test_full_split_counts_where_there_is_one(make_run):
    """There the order of the recipes is another."""
    full = {GROWTH: (800, 801, 802), FIXED: (810, 811, 812), CE_ONLY: (700, 701, 702)}
    found = conclude(make_run(full))
    assert [row.last for row in found.rows] == pytest.approx([0.801, 0.811, 0.701])
    assert [v.difference.estimate for v in found.comparisons] == pytest.approx([-0.01, 0.1])
    assert found.examples == WHOLE
    assert "full validation split of 1,000 examples (best5: the subset of 200)" in printed(found)


def test_printed_and_written_have_the_same(make_run):
    run = make_run(asked=(2, 3))
    conclusion = conclude(run)
    write_conclusion(conclusion, run)
    texts = printed(conclusion), (run.folder / "confirm.md").read_text()
    for line in [*conclusion.sentences, *conclusion.notes]:
        assert all(f"- {line}\n" in text for text in texts)
    assert "Seeds were added later (2, then 3)" in texts[0]
    for text in texts:
        (row,) = [line for line in text.splitlines() if "cosine_growth k=2 |" in line]
        last, _, *more = [cell.strip() for cell in row.strip("|").split("|")][1:]
        assert [last, *more] == ["0.9100", "0.9200", "0.9500", "3"]
    values = json.loads((run.folder / "confirm.json").read_text())
    assert values == json.loads(json.dumps(asdict(conclusion)))
    assert from_plain(Confirmation, values["confirmation"]) == conclusion.confirmation


def test_failed_trials_are_listed_and_the_rest_is_compared_but_where_bits_are_lost(make_run):
    run = make_run(failed=[(FIXED, 5), (CE_ONLY, 4), (CE_ONLY, 6)])
    lost = next(t for t in run.trials.values() if (t.config.recipe, t.config.seed) == (GROWTH, 5))
    lost.evaluations[-1]["predictions"] = ""
    conclusion = conclude(run)
    assert [row.seeds for row in conclusion.rows] == [2, 2, 1]
    assert conclusion.comparisons[0].difference.estimate == pytest.approx((181 - 171) / EXAMPLES)
    assert conclusion.sentences[1].endswith(": 1 seed of one finished.")
    assert len(conclusion.failures) == 3
    text = printed(conclusion)
    assert "- failed: teacher_spread, cross-entropy only, seed 4: loss is nan\n" in text
    assert "Holm-adjusted for 1 comparison." in text
    assert "1 finished trial left out" in text


def test_where_all_failed_there_is_nothing_to_compare(make_run):
    run = make_run(failed=[(recipe, seed) for recipe in RIGHTS for seed in (4, 5, 6)])
    conclusion = conclude(run)
    assert [v.difference for v in conclusion.comparisons] == [None, None]
    write_conclusion(conclusion, run)
    assert "0 seeds of one finished" in printed(conclusion)
