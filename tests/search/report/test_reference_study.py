"""The reference study's rows beside a run's: which trials are meant, and when they agree."""

import numpy as np
import pytest

from search.record.run import create_run
from search.report.reference_study import AGREES, HIGHER, LOWER, same_inputs, study_cells
from search.results.cells import NO_VALUE
from search.results.table import recipes_table, trials_table
from spaces.study import STUDY_ROWS, reference_row
from tests.report_runs import config, plan, report_evaluations, training_inputs
from trainable.config.trial_config import TrialConfig

GROWING = {"alpha_schedule": "cosine_growth", "sharpness": 1.0}
CE_ONLY = config("teacher_spread", "none", alpha=1.0)
LOGITS = config("teacher_spread", "none")
WARM = config("teacher_spread", "none", temperature=4.0)
GROWTH = config("teacher_spread", "1,2,3", **GROWING)


def compared(folder, trials, **request):
    """Rows of cells by label, of a run of configurations with the shares of their evaluations."""
    run = create_run(folder / "run", plan(*trials, inputs=training_inputs(1000), **request))
    for chosen, shares in trials.items():
        report_evaluations(run, chosen, shares)
    cells = study_cells(run, recipes_table(run, trials_table(run)))
    return {label: (table, *numbers) for table, label, *numbers in cells.rows}


@pytest.mark.parametrize("student_layers", [3, 6])
def test_each_row_of_the_study_is_found_on_any_seed(student_layers):
    for row in STUDY_ROWS:
        chosen = TrialConfig(
            initialisation=row.initialisation,
            aligned_layers=row.layers,
            student_layers=student_layers,
            seed=3,
            **row.alpha,
        )
        assert reference_row(chosen) == row


@pytest.mark.parametrize(
    ("chosen", "found"),
    [
        (WARM, False),
        (config("teacher_spread", "none", alpha=1.0, temperature=4.0), True),  # inactive there
        (config("random", "1,2,3", hidden_weight=100.0), False),
        (config("random", "1,2,3", hidden_pool="mean"), False),
        (config("teacher_spread", "none", hidden_pool="mean", hidden_weight=5.0), True),
        (config("random", "1,2,3", **GROWING | {"sharpness": 3.0}), False),
        (config("teacher_lower", "none"), False),
        (config("random", "none", alpha=0.25), False),
        (config("random", "1", student_layers=1, **GROWING), False),  # that has no lower half
    ],
)
def test_only_the_studys_own_settings_match_where_they_are_active(chosen, found):
    assert (reference_row(chosen) is not None) == found


def test_level_and_gap_by_hand(tmp_path):
    """The same examples but ten: a paired gap of 0.010 with a standard error of 0.0031."""
    rows = compared(tmp_path, {CE_ONLY: (0.880,) * 4, LOGITS: (0.890,) * 4, WARM: (0.9,) * 4})
    assert list(rows) == [
        "teacher_spread, cross-entropy only",
        "teacher_spread, logits only, fixed 0.5",
    ]
    table, study, ours, ends, verdict, *gaps, gap_verdict = rows[list(rows)[1]]
    assert (table, study, ours, verdict, gap_verdict) == (
        *("logits", "0.8931", "0.8900", AGREES, AGREES),
    )
    half = 1.96 * np.sqrt(0.89 * 0.11 / 1000)
    low, high = map(float, ends.split(" to "))
    np.testing.assert_allclose((low, high), (0.89 - half, 0.89 + half), atol=0.003)
    assert gaps[:2] == ["+0.78", "+1.00"]
    np.testing.assert_allclose([*map(float, gaps[2].split(" to "))], (0.4, 1.65), atol=0.25)


def test_study_outside_our_interval(tmp_path):
    base, logits = compared(tmp_path, {CE_ONLY: (0.95,) * 4, LOGITS: (0.80,) * 4}).values()
    assert (logits[4], logits[-1]) == (LOWER, LOWER)
    assert (base[4], *base[5:]) == (HIGHER, NO_VALUE, NO_VALUE, NO_VALUE, NO_VALUE)


def test_what_has_not_finished_is_not_compared_and_without_a_baseline_no_gap(tmp_path):
    trials = {LOGITS: (0.9,) * 4, GROWTH: (0.9, 0.9), CE_ONLY: ()}
    (row,) = compared(tmp_path, trials).values()
    assert (row[0], row[-1]) == ("logits", NO_VALUE)
    assert compared(tmp_path / "mini", trials, preset="mini") == {}


@pytest.mark.parametrize(
    ("changes", "same"),
    [({}, True), ({"preset": "mini"}, False), ({"max_train_samples": 100}, False)],
)
def test_levels_are_compared_on_the_studys_own_inputs_only(tmp_path, changes, same):
    asked = {"space": "study", "preset": "sst2"} | changes
    run = create_run(tmp_path / "run", plan(LOGITS, **asked))
    assert same_inputs(run) == same
