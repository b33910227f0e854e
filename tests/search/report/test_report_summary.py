"""The sentences of a report."""

import re
from dataclasses import asdict, replace

import pytest

from search.record.run import create_run
from search.report.contents import describe_inputs, gather, provenance, status
from search.results.confirmation import Confirmation
from tests.report_runs import config, fail, plan, report_evaluations, training_inputs

BEST, NEAR, FAR, SHORT = (config(alpha=alpha) for alpha in (0.5, 0.25, 0.75, 0.1))
RANDOM = config("random", "none")


@pytest.fixture
def run(tmp_path):
    return create_run(tmp_path / "run", plan(SHORT, FAR, NEAR, BEST, RANDOM))


def test_a_complete_run(run):
    report_evaluations(run, BEST, (0.85, 0.86, 0.86, 0.87))
    report_evaluations(run, NEAR, (0.85, 0.86, 0.86, 0.86))
    report_evaluations(run, FAR, (0.55, 0.56, 0.56, 0.56))
    report_evaluations(run, SHORT, (0.95, 0.96), stop=True)
    report_evaluations(run, RANDOM, (0.7,) * 4)
    report = gather(run)
    best = report.recipes.iloc[0]
    assert report.summary.headline == (
        "Best: teacher_spread, layers 1,2,3, fixed 0.5. best5 0.8600 (95% interval "
        f"{best['low']:.3f} to {best['high']:.3f}), 90.5% of the teacher's 0.9500. As the "
        "highest of 4, best5 0.8600 is expected to be "
        f"{100 * (0.86 - best['expected']):.2f} points too high."
    )
    assert 0.858 < best["expected"] < 0.86
    near = report.recipes.iloc[1]
    low, high = (f"{100 * near[end]:+.2f}" for end in ("gap_low", "gap_high"))
    assert report.summary.tied == (
        "Not significantly different from the best, with the 95% interval of the difference in "
        f"points: teacher_spread, layers 1,2,3, fixed 0.25 ({low} to {high}) "
        "(1 of 3 other finished recipes)."
    )
    text = " ".join(report.summary.limitations)
    # 1.96 sqrt(0.8588 * 0.1412 / 200)
    assert "on 200 validation examples the 95% interval of an accuracy of 0.86 is ±4.8 poi" in text
    assert "Stopped early: 1 recipe." in text
    assert "Each recipe ran on one seed" in text
    assert "one label" not in text
    assert status(run) == ("Complete. Trials: 5 of 5 ended (4 finished, 1 stopped early).")


def test_a_share_of_a_teacher_that_is_no_better_than_0_is_left_out(run):
    for each in (BEST, NEAR, FAR, RANDOM, SHORT):
        report_evaluations(run, each, (0.85,) * 4)
    teacher = replace(run.plan.inputs.teacher, score=-0.1)
    run.plan = replace(run.plan, inputs=replace(run.plan.inputs, teacher=teacher))
    headline = gather(run).summary.headline
    assert "teacher's" not in headline
    assert re.match(r"Best: .*\(95% interval [^)]*\)\. As the highest", headline)


def test_students_of_one_label_and_stopped_ones_are_no_rivals(run):
    report_evaluations(run, BEST, (0.95,) * 4)
    for weak in (NEAR, FAR, RANDOM):
        report_evaluations(run, weak, (0.6,) * 4)
    report_evaluations(run, SHORT, (0.9,), stop=True)
    tied = gather(run).summary.tied
    assert tied == (
        "Significantly better than all 3 other finished recipes. Not counted: 1 stopped early."
    )
    for weak in (NEAR, FAR, RANDOM):
        run.trials[weak.digest].evaluations[0]["one_label"] = True
    summary = gather(run).summary
    assert summary.tied == (
        "No other recipe has finished that can be compared with it. Not counted: 3 with one label "
        "only, 1 stopped early."
    )
    assert any(sentence.startswith("3 recipes learned nothing") for sentence in summary.limitations)


def confirm(run, finalist, shares):
    """A confirmation of the run on two seeds, whose trials of each alpha have these shares right;
    the summaries of both before its last trial."""
    started = run.plan.provenance["started"]
    made = Confirmation("run", started, (finalist,), (0.9,), (4, 5), (2,))
    planned = replace(plan(*made.trials()), confirms=asdict(made))
    fresh = create_run(run.folder.with_name("run-confirm"), planned)
    for trial in made.trials():
        before = gather(run).summary, gather(fresh).summary
        report_evaluations(fresh, trial, (shares[trial.alpha],) * 4)
    return fresh, before


def test_a_complete_confirmation_leads_its_report_and_that_of_the_run(run):
    for trial, share in ((NEAR, 0.9), (FAR, 0.8)):
        report_evaluations(run, trial, (share,) * 4)
    assert "search.confirm" in " ".join(gather(run).summary.limitations)
    fresh, before = confirm(run, NEAR, {0.25: 0.9, 0.5: 0.7, 1.0: 0.9})
    assert all(summary.headline.startswith("Best: teacher_spread, ") for summary in before)
    assert "Not finished yet: 1 recipe." in before[1].limitations
    layers = "teacher_spread, layers 1,2,3"
    better = f"{layers}, fixed 0.25 is significantly better than {layers}, fixed 0.5: +20.00 points"
    equal = f"{layers}, fixed 0.25 is not significantly different from teacher_spread, cross-entrop"
    ours, its = gather(run).summary, gather(fresh).summary
    assert ours.headline.startswith(f"On fresh seeds (run-confirm): {better}")
    assert "This run alone: Best: " in ours.tied
    assert its.headline.startswith(better)
    assert its.tied.startswith(equal)
    for summary in (ours, its):
        assert "search.confirm" not in " ".join(summary.limitations)
    assert describe_inputs(fresh).startswith("Confirmation of run, preset sst2, 1,000 training ")


def test_a_best_recipe_without_bits_is_not_compared(run):
    report_evaluations(run, BEST, (0.9,) * 4)
    report_evaluations(run, FAR, (0.5,) * 4)
    for evaluation in run.trials[BEST.digest].evaluations:
        evaluation["predictions"] = ""
    summary = gather(run).summary
    assert "best5 0.9000 (95% interval -)" in summary.headline
    assert summary.tied.startswith("Its per-example results are missing")
    assert any("results of 1 recipe are missing" in sentence for sentence in summary.limitations)


def test_before_any_trial_has_finished(run):
    assert gather(run).summary.headline == "No result yet: no trial has been evaluated."
    report_evaluations(run, BEST, (0.8, 0.9))
    report = gather(run)
    assert report.summary.headline == (
        "No trial has finished yet. Highest best5 so far: 0.8500 after 2 of 4 evaluations, "
        "teacher_spread, layers 1,2,3, fixed 0.5."
    )
    assert status(run).startswith("Not complete: running or interrupted; last event 20")
    assert "Trials: 0 of 5 ended (0 finished, 0 stopped early), 1 running, " in status(run)


def test_all_failed(run):
    for trial in list(run.trials.values()):
        fail(run, trial.config)
    report = gather(run)
    assert report.summary.headline == "No result: 5 recipes failed."
    assert status(run) == (
        "Complete. Trials: 5 of 5 ended (0 finished, 0 stopped early, 5 failed)."
    )


def test_inputs_and_provenance(tmp_path):
    inputs = training_inputs(200, full=872, whole_teacher=0.94)
    run = create_run(tmp_path / "run", plan(BEST, inputs=inputs))
    run.append({"event": "session", "provenance": {"command": "made up", "commit": "0" * 40}})
    assert describe_inputs(run) == (
        "Space schedules, preset sst2, 1,000 training examples, 200 in the validation subset. "
        "Teacher accuracy: 0.9500 on the validation subset of 200, 0.9400 on all 872."
    )
    found = dict(provenance(run))
    assert found["data digest"] == "datadigest"
    assert found["versions"] == "python 3.11.7, ray 2.60.0"
    assert found["session 1"].endswith("made up, commit 000000000")
