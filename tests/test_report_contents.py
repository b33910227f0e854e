"""The sentences of a report, and its tables in order."""

import pytest

from search.record import create_run, read_events
from search.report_contents import gather, leaderboard_rows, moving_together, status, told_apart
from search.report_summary import leading, rounded, summarise, tied_digests
from search.table import trials_table
from tests.report_runs import SENTENCES, TEACHER, config, fail, report_evaluations, sweep

BEST = config(alpha=0.5)
NEAR = config(alpha=0.25)
FAR = config(alpha=0.75)
SHORT = config(alpha=0.1)
RANDOM = config("random", "none")


@pytest.fixture
def run(tmp_path):
    return create_run(tmp_path / "run", sweep(), [SHORT, FAR, NEAR, BEST, RANDOM])


@pytest.fixture
def finished(run):
    """One tied with the best, one 30 points behind, one stopped, another stratum."""
    report_evaluations(run, BEST, (0.85, 0.86, 0.86, 0.87))
    report_evaluations(run, NEAR, (0.85, 0.86, 0.86, 0.86))
    report_evaluations(run, FAR, (0.55, 0.56, 0.56, 0.56))
    report_evaluations(run, SHORT, (0.95, 0.96), stop=True)
    report_evaluations(run, RANDOM, (0.7,) * 4)
    return run


def summary_of(run, **more):
    return summarise(trials_table(run), TEACHER, SENTENCES, **more)


def test_headline_names_the_best_that_finished(finished):
    table = trials_table(finished)
    row = table.set_index("digest").loc[BEST.digest]
    assert summary_of(finished).headline == (
        f"teacher_spread, layers 1,2,3, fixed 0.5 leads: best5 0.8600 ({row['low']:.3f} to "
        f"{row['high']:.3f}), 90.5% of the teacher's 0.9500."
    )
    assert leading(table) == {"teacher_spread": BEST.digest, "random": RANDOM.digest}
    assert tied_digests(table) == {BEST.digest, NEAR.digest, RANDOM.digest}


def test_ties_and_other_strata_are_said(finished):
    summary = summary_of(finished)
    assert summary.tied == (
        "Tied with it: 1 of the 2 others that finished (layers 1,2,3, fixed 0.25)."
    )
    assert summary.others == (
        "In random: logits only, fixed 0.5 leads with 0.7000, 16.00 points below. "
        "No other trial of its stratum ran to its end.",
    )


def test_what_is_open_is_said(finished):
    said = " ".join(summary_of(finished, unmoved=1).open)
    assert "On 200 sentences an accuracy near 0.81 is known to within 5.48 points only" in said
    assert "What the 1 trial that ASHA stopped early would have reached" in said
    assert "each recipe ran once" in said
    assert "What 1 trial can do, with the same answers" in said
    assert "not ended" not in said


def test_no_tie_no_doubt_which_is_best(run):
    report_evaluations(run, BEST, (0.95,) * 4)
    report_evaluations(run, FAR, (0.5,) * 4)
    summary = summary_of(run)
    assert summary.tied == "Not tied with it: the 1 other that finished."
    assert not any("tied" in sentence for sentence in summary.open)
    assert "Anything about 3 trials not ended." in summary.open


def test_before_any_trial_has_finished(run):
    assert summary_of(run).headline == "No trial has been evaluated yet: nothing leads."
    report_evaluations(run, BEST, (0.8, 0.9))
    assert summary_of(run).headline == (
        "No trial has run to its end yet. Highest so far: teacher_spread, layers 1,2,3, fixed 0.5, "
        "0.8500 after 2 of 4 evaluations."
    )


def test_all_failed(run):
    for trial in list(run.trials.values()):
        fail(run, trial.config)
    assert summary_of(run).headline == "All of 5 trials failed: there is nothing to compare."
    assert status(run, []) == "Complete. 5 trials: 0 finished, 0 stopped early, 5 failed."


def test_status_of_a_run_that_goes_on(run):
    report_evaluations(run, BEST, (0.8,) * 4)
    assert status(run, [{"time": 0.0}]) == (
        "Running or interrupted; last event 1970-01-01 00:00 UTC. "
        "5 trials: 1 finished, 0 stopped early, 4 not ended."
    )


def test_leaderboard_has_the_finished_before_the_stopped(finished):
    found = leaderboard_rows(trials_table(finished))
    assert list(found) == ["teacher_spread", "random"]
    order = [config.digest for config in (BEST, NEAR, FAR, SHORT)]
    assert found["teacher_spread"]["digest"].tolist() == order


def test_settings_that_move_together_are_said(tmp_path):
    configs = [
        config("random", "none", learning_rate=1e-4),
        config("teacher_spread", "none", learning_rate=5e-5),
        config("teacher_lower", "none", learning_rate=5e-5),
        config("random", "none", learning_rate=1e-4, temperature=4.0),
        config("teacher_spread", "none", learning_rate=5e-5, temperature=4.0),
        config("teacher_lower", "none", learning_rate=5e-5, temperature=4.0),
    ]
    table = trials_table(create_run(tmp_path / "run", sweep(), configs))
    assert told_apart(table) == ["initialisation", "temperature", "learning_rate"]
    assert moving_together(table) == ["learning_rate follows from initialisation"]


def test_nothing_follows_from_a_setting_that_is_never_the_same_twice(tmp_path):
    configs = [
        config("random" if number % 2 else "teacher_spread", "none", temperature=1.0 + number)
        for number in range(6)
    ]
    table = trials_table(create_run(tmp_path / "run", sweep(), configs))
    assert told_apart(table) == ["initialisation", "temperature"]
    assert moving_together(table) == []


def test_importance_only_of_groups_that_are_large_enough(tmp_path):
    configs = [config(alpha=0.1 * n) for n in range(9)] + [config("random", "none")]
    run = create_run(tmp_path / "run", sweep(), configs)
    for number, chosen in enumerate(configs):
        report_evaluations(run, chosen, (0.5 + 0.03 * number,) * 4)
    found = gather(run, read_events(run.folder)).importance
    assert found.groupby("stratum")["trials"].first().to_dict() == {
        "all trials": 10,
        "teacher_spread": 9,
    }
    assert found["stratum"].nunique() == 2


def test_gathered_report_of_a_whole_run(finished):
    report = gather(finished, read_events(finished.folder))
    assert (report.name, report.evaluations, report.teacher) == ("run", 4, TEACHER)
    assert report.importance.empty  # too few trials
    assert set(report.marginals) == {"initialisation", "aligned_layers", "alpha"}
    assert dict(report.provenance)["data digest"] == "datadigest"
    assert dict(report.provenance)["versions"] == "python 3.11.7, ray 2.60.0"
    assert report.inputs == (
        "space schedules, preset sst2, 1,000 training sentences, 200 evaluation sentences"
    )


def test_long_numbers_are_rounded_where_they_are_read():
    words = "random, layers 1,2,3, weight 7287.934, cosine_growth k=0.234683, T=2.5, seed 12"
    assert rounded(words) == (
        "random, layers 1,2,3, weight 7288, cosine_growth k=0.235, T=2.5, seed 12"
    )
    assert rounded("weight 1.5e-05, fixed 0.25") == "weight 1.5e-05, fixed 0.25"
