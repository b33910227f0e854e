"""The study's rows beside a run's: which trials are meant, and when they agree."""

import numpy as np
import pytest

from search.record import create_run
from search.report_study import (
    AGREES,
    BASELINE,
    HIGHER,
    LOWER,
    NO_BASELINE,
    NOT_RUN,
    NOT_WHOLE,
    matching_trials,
    same_task,
    study_rows,
    verdict,
)
from search.table import trials_table
from spaces.study import STUDY_ROWS
from tests.report_runs import config, report_evaluations, sweep
from trainable.config import TrialConfig

CE_ONLY = config("teacher_spread", "none", alpha=1.0)
LOGITS = config("teacher_spread", "none")
LOGITS_AGAIN = config("teacher_spread", "none", seed=1)
WARM = config("teacher_spread", "none", temperature=4.0)
GROWTH = config("teacher_spread", "1,2,3", alpha_schedule="cosine_growth", sharpness=1.0)
SHARP = config("teacher_spread", "1,2,3", alpha_schedule="cosine_growth", sharpness=3.0)
SENTENCES = 1000


def make_run(folder, trials, **changes):
    """A run of configurations with the shares of their evaluations, None for those not begun."""
    plan = sweep(evaluation_sentences=SENTENCES, **changes)
    run = create_run(folder / "run", plan, list(trials))
    for chosen, shares in trials.items():
        if shares is not None:
            report_evaluations(run, chosen, shares)
    return run


def row(run, table, initialisation, schedule):
    (found,) = [
        r
        for r in study_rows(run)
        if (r.table, r.initialisation, r.schedule) == (table, initialisation, schedule)
    ]
    return found


def test_eighteen_rows_in_the_studys_order(tmp_path):
    rows = study_rows(make_run(tmp_path, {LOGITS: (0.9,) * 4}))
    assert [(r.table, r.initialisation, r.layers, r.study) for r in rows] == [
        (table, initialisation, layers, score)
        for table, initialisation, layers, _, score in STUDY_ROWS
    ]


def test_no_table_where_the_run_has_no_row_of_the_study(tmp_path):
    assert study_rows(make_run(tmp_path, {WARM: (0.9,) * 4, SHARP: (0.9,) * 4})) == []


def test_level_and_gap_by_hand(tmp_path):
    run = make_run(tmp_path, {CE_ONLY: (0.880,) * 4, LOGITS: (0.890,) * 4})
    found = row(run, "logits", "teacher_spread", "fixed 0.5")
    assert (found.study, found.study_gap) == (0.8931, pytest.approx(0.0078))
    assert (found.ours, found.gap) == (pytest.approx(0.89), pytest.approx(0.01))
    table = trials_table(run).set_index("digest").loc[LOGITS.digest]
    assert found.interval == (table["low"], table["high"])
    # the same sentences but ten: a paired gap of 0.010 with a standard error of 0.0031
    np.testing.assert_allclose(found.gap_interval, (0.004, 0.0165), atol=0.0025)
    assert (found.same_level, found.same_gap, found.seeds) == (AGREES, AGREES, 1)
    assert found.study_error == pytest.approx(0.01046, abs=1e-5)


def test_study_outside_our_interval(tmp_path):
    run = make_run(tmp_path, {CE_ONLY: (0.95,) * 4, LOGITS: (0.80,) * 4})
    found = row(run, "logits", "teacher_spread", "fixed 0.5")
    assert (found.same_level, found.same_gap) == (LOWER, LOWER)
    base = row(run, "baseline", "teacher_spread", "cross-entropy only")
    assert (base.same_level, base.same_gap) == (HIGHER, BASELINE)
    assert (base.gap, base.study_gap) == (None, None)


def test_seeds_of_a_row_are_averaged(tmp_path):
    run = make_run(tmp_path, {LOGITS: (0.88,) * 4, LOGITS_AGAIN: (0.90,) * 4})
    found = row(run, "logits", "teacher_spread", "fixed 0.5")
    assert (found.seeds, found.ours) == (2, pytest.approx(0.89))
    assert found.same_gap == NO_BASELINE


def test_trial_not_run_to_its_end_has_no_number(tmp_path):
    run = make_run(tmp_path, {LOGITS: (0.9, 0.9), GROWTH: None})
    for found in (
        row(run, "logits", "teacher_spread", "fixed 0.5"),
        row(run, "schedules", "teacher_spread", "cosine_growth"),
    ):
        assert (found.ours, found.interval, found.gap) == (None, None, None)
        assert (found.same_level, found.same_gap) == (NOT_WHOLE, NOT_WHOLE)
    other = row(run, "schedules", "random", "cosine_growth")
    assert (other.same_level, other.same_gap) == (NOT_RUN, NOT_RUN)


def test_only_the_studys_own_settings_match(tmp_path):
    run = make_run(tmp_path, dict.fromkeys((LOGITS, WARM, GROWTH, SHARP), (0.9,) * 4))
    matching = [t.config for r in STUDY_ROWS for t in matching_trials(run, r)]
    assert matching == [LOGITS, GROWTH]


def test_layers_are_named_for_the_students_depth(tmp_path):
    shallow = TrialConfig(aligned_layers="1", alpha=0.5, student_layers=3, evaluations=4)
    single = TrialConfig(
        aligned_layers="1", alpha=0.5, student_layers=1, evaluations=4, seed=1
    )  # has no lower half: no row, and no error
    run = make_run(tmp_path, {shallow: (0.9,) * 4, single: (0.9,) * 4})
    lower = ("layers", "teacher_spread", "lower", {"alpha_schedule": "fixed", "alpha": 0.5}, 0.9)
    assert [t.config for t in matching_trials(run, lower)] == [shallow]


@pytest.mark.parametrize(
    ("study", "said"), [(0.8, AGREES), (0.9, AGREES), (0.85, AGREES), (0.79, HIGHER), (0.91, LOWER)]
)
def test_verdict_is_by_our_interval(study, said):
    assert verdict(study, (0.8, 0.9)) == said


@pytest.mark.parametrize(
    ("request_", "same"),
    [
        ({"preset": "sst2"}, True),
        ({"preset": "mini"}, False),
        ({"preset": "sst2", "teacher": "roberta-base"}, False),
        ({"preset": "sst2", "dataset": "folder"}, False),
        ({"preset": "sst2", "train_sentences": 100}, False),
    ],
)
def test_levels_are_compared_on_the_studys_own_inputs_only(tmp_path, request_, same):
    run = make_run(tmp_path, {LOGITS: None}, requests=[{"space": "study", **request_}])
    assert same_task(run) == same
