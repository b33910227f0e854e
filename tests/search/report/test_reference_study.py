"""The reference study's rows beside a run's: which trials are meant, and when they agree."""

from dataclasses import replace

import numpy as np
import pytest

from search.record.run import create_run
from search.report.reference_study import AGREES, HIGHER, LOWER, UNDECIDED, same_inputs, study_cells
from search.results.cells import NO_VALUE
from search.results.statistics import SEED_SD
from search.results.table import recipes_table, trials_table
from spaces.study import STUDY_ROWS, reference_row
from tests.report_runs import config, plan, reported, training_inputs

GROWING = {"alpha_schedule": "cosine_growth", "sharpness": 1.0}
CE_ONLY = config("teacher_spread", "none", alpha=1.0)
LOGITS = config("teacher_spread", "none")
WARM = config("teacher_spread", "none", temperature=4.0)
GROWTH = config("teacher_spread", "1,2,3", **GROWING)


def compared(folder, trials, metric="accuracy", **request):
    """Rows of cells by label, of a run of configurations with the shares of their evaluations."""
    inputs = replace(training_inputs(1000), metric=metric)
    run = reported(folder / "run", trials, inputs=inputs, **request)
    cells = study_cells(run, recipes_table(run, trials_table(run)))
    return {label: (table, *numbers) for table, label, *numbers in cells.rows}


@pytest.mark.parametrize("student_layers", [3, 6])
def test_each_row_of_the_study_is_found_on_any_seed(student_layers):
    for row in STUDY_ROWS:
        chosen = {"student_layers": student_layers, "seed": 3, "evaluations": 15, **row.alpha}
        assert reference_row(config(row.initialisation, row.layers, **chosen)) == row


def test_only_the_studys_own_settings_match_where_they_are_active():
    for inactive in ({"alpha": 1.0, "temperature": 4.0}, {"hidden_pool": "mean"}):
        assert reference_row(config("teacher_spread", "none", **inactive, hidden_weight=5.0))
    sharper = {**GROWING, "sharpness": 3.0}
    levers = ({"ema_decay": 0.98}, {"feedforward_share": 0.5}, {"transfer_share": 1.0})
    for changes in ({"hidden_weight": 100.0}, {"hidden_pool": "mean"}, sharper, *levers):
        assert not reference_row(config("random", "1,2,3", **changes))
    others = [config("teacher_lower", "none"), config("random", "none", alpha=0.25), WARM]
    others += [config("random", "none", relation_weight=10.0)]
    half = config("random", "1", student_layers=1, **GROWING)  # that has no lower half
    assert [*map(reference_row, [*others, half])] == [None] * 5


def test_level_and_gap_by_hand(tmp_path):
    """The same examples but ten, nested: a paired gap of 0.010 with a variance of 0.01 x 0.99."""
    rows = compared(tmp_path, {CE_ONLY: (0.880,) * 4, LOGITS: (0.890,) * 4, WARM: (0.9,) * 4})
    ce_only, logits = rows
    assert ce_only == "teacher_spread, cross-entropy only"
    table, study, ours, ends, verdict, *gaps, gap_ends, gap_verdict = rows[logits]
    assert [table, study, ours, verdict] == ["logits", "0.8931", "0.8900", AGREES]
    half = 1.96 * np.sqrt(0.89 * 0.11 / 1000)
    found = [float(end) for end in (*ends.split(" to "), *gap_ends.split(" to "))]
    np.testing.assert_allclose(found[:2], (0.89 - half, 0.89 + half), atol=0.003)
    assert [*gaps, gap_verdict] == ["+0.78", "+1.00", UNDECIDED]
    half = 196 * np.sqrt(2 * SEED_SD**2 + 0.01 * 0.99 / 999)
    np.testing.assert_allclose(found[2:], (1.0 - half, 1.0 + half), atol=0.01)


def test_a_gap_is_to_the_baseline_of_its_own_depth_and_levels_are_of_the_studys(tmp_path):
    """As `--against depth` has both in one run."""
    shallow = {replace(c, student_layers=3): (s,) * 4 for c, s in ((CE_ONLY, 0.8), (LOGITS, 0.81))}
    deep = {CE_ONLY: (0.880,) * 4, LOGITS: (0.885,) * 4}
    both = compared(tmp_path, {**deep, **shallow})
    assert [numbers[6] for numbers in both.values() if numbers[0] == "logits"] == ["+0.50", "+1.00"]
    for trials, judged in ((deep, True), (shallow, False)):
        rows = compared(tmp_path / f"{judged}", trials).values()
        assert all((verdict != "not compared") == judged for *_, verdict, _, _, _, _ in rows)


def test_what_disagrees_has_not_finished_or_has_no_baseline(tmp_path):
    base, logits = compared(tmp_path, {CE_ONLY: (0.95,) * 4, LOGITS: (0.80,) * 4}).values()
    assert (logits[4], logits[-1]) == (LOWER, LOWER)
    assert (base[4], *base[5:]) == (HIGHER, *[NO_VALUE] * 4)
    near = {CE_ONLY: (0.875,) * 4, LOGITS: (0.892,) * 4}
    assert [*compared(tmp_path / "near", near).values()][1][-1] == AGREES
    trials = {LOGITS: (0.9,) * 4, GROWTH: (0.9, 0.9), CE_ONLY: ()}
    (row,) = compared(tmp_path / "begun", trials).values()
    assert (row[0], row[-1]) == ("logits", NO_VALUE)
    assert compared(tmp_path / "mini", trials, preset="mini") == {}
    whole = {CE_ONLY: (0.95,) * 4, LOGITS: (0.80,) * 4}
    assert compared(tmp_path / "other", whole, "macro_f1") == {}  # the study's are of accuracy


def test_levels_are_compared_on_the_studys_own_inputs_only(tmp_path):
    for n, changes in enumerate(({}, {"preset": "mini"}, {"max_train_samples": 100})):
        asked = {"space": "study", "preset": "sst2"} | changes
        assert same_inputs(create_run(tmp_path / f"{n}", plan(LOGITS, **asked))) == (not changes)
