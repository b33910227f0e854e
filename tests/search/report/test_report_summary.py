"""The sentences of a report."""

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


def summary_of(run, shares, stopped=()):
    """Once these trials have had so many right, in each of four evaluations where it is one number;
    SHORT is stopped after its own."""
    for trial, right in shares.items():
        report_evaluations(run, trial, right if isinstance(right, tuple) else (right,) * 4)
    if stopped:
        report_evaluations(run, SHORT, stopped, stop=True)
    return gather(run).summary


def test_a_complete_run(run):
    near, far = (0.85, 0.86, 0.86, 0.86), (0.55, 0.56, 0.56, 0.56)
    shares = {BEST: (0.85, 0.86, 0.86, 0.87), NEAR: near, FAR: far, RANDOM: 0.7}
    summary = summary_of(run, shares, stopped=(0.95, 0.96))
    best, second = gather(run).recipes.iloc[0], gather(run).recipes.iloc[1]
    luck = f"{100 * (0.86 - best['expected']):.2f} points too high (the choice of its five best "
    luck += "evaluations not counted)."
    interval = f"(95% interval {best['low']:.3f} to {best['high']:.3f})"
    assert summary.headline == (
        f"Best: teacher_spread, layers 1,2,3, fixed 0.5. best5 0.8600 {interval}, 90.5% of the "
        "teacher's 0.9500."
    )
    assert summary.findings[0] == f"As the highest of 4, best5 0.8600 is expected to be {luck}"
    assert 0.858 < best["expected"] < 0.86
    low, high = (f"{100 * second[end]:+.2f}" for end in ("gap_low", "gap_high"))
    assert summary.findings[-1].endswith(
        f"points: teacher_spread, layers 1,2,3, fixed 0.25 ({low} to {high}) (1 of 3 other "
        "recipes). Not compared: 1 stopped early."
    )
    text = " ".join(summary.limitations)
    # 1.96 sqrt(0.8588 * 0.1412 / 200)
    assert "on 200 validation examples the 95% interval of an accuracy of 0.86 is ±4.8 poi" in text
    assert "Stopped early: 1 recipe." in text
    assert "Each recipe ran on one seed" in text
    assert "one label" not in text
    assert status(run) == "Complete. Trials: 5 of 5 ended (4 finished, 1 stopped early)."
    # A share of a teacher that is no better than 0 is left out.
    teacher = replace(run.plan.inputs.teacher, score=-0.1)
    run.plan = replace(run.plan, inputs=replace(run.plan.inputs, teacher=teacher))
    assert gather(run).summary.headline.endswith(f"{interval}.")


def test_students_of_one_label_and_stopped_ones_are_no_rivals(run):
    weak = dict.fromkeys((NEAR, FAR, RANDOM), 0.6)
    assert summary_of(run, {BEST: 0.95, **weak}, stopped=(0.9,)).findings[-1] == (
        "Significantly better than all 3 other recipes. Not compared: 1 stopped early."
    )
    for trial in weak:
        run.trials[trial.digest].evaluations[0]["one_label"] = True
    summary = gather(run).summary
    assert summary.findings[-1] == (
        "No other recipe has finished that can be compared with it. Not compared: 3 with one label "
        "only, 1 stopped early."
    )
    assert "Every example is given the same label (marked !) by 3 recipes" in " ".join(
        summary.limitations
    )


def test_one_label_is_no_rival_however_near(run):
    """As of most examples the label may be the same."""
    summary_of(run, {BEST: 0.87, NEAR: 0.86, FAR: 0.86, RANDOM: 0.5}, stopped=(0.5,))
    run.trials[FAR.digest].evaluations[0]["one_label"] = True
    summary = gather(run).summary
    assert "(1 of 2 other recipes). Not compared: 1 with one label only" in summary.findings[-1]
    assert "2 recipes are not significantly different" in " ".join(summary.limitations)


def test_what_examples_leave_open_is_not_what_seeds_do(tmp_path):
    """Of another metric than accuracy the noise is that of each trial's interval."""
    pairs = {replace(c, seed=n): 0.7 + n / 5 for c in (BEST, NEAR) for n in (0, 1)}
    inputs = replace(training_inputs(), metric="macro_f1")
    run = create_run(tmp_path / "run", plan(*pairs, inputs=inputs, seeds=2))
    for trial, right in pairs.items():
        report_evaluations(run, trial, (right,) * 4)
    report = gather(run)
    of_trials = (report.trials["high"] - report.trials["low"]).mean()
    assert (report.recipes["high"] - report.recipes["low"]).mean() > 2 * of_trials
    assert f"±{50 * of_trials:.1f} points" in " ".join(report.summary.limitations)


def test_a_trial_with_another_number_of_evaluations_is_not_said_to_be_worse(tmp_path):
    """As a search's short trials have, beside its finals."""
    long = replace(RANDOM, evaluations=2)
    run = create_run(tmp_path / "run", plan(BEST, FAR, long))
    report_evaluations(run, long, (0.5, 0.5))
    assert summary_of(run, {BEST: 0.95, FAR: 0.6}).findings[-1] == (
        "Significantly better than the only other recipe. Not compared: 1 of another length."
    )


def test_a_complete_confirmation_leads_its_report_and_that_of_the_run(run):
    assert "search.confirm" in " ".join(summary_of(run, {NEAR: 0.9, FAR: 0.8}).limitations)
    started, shares = run.plan.provenance["started"], {0.25: 0.9, 0.5: 0.7, 1.0: 0.9}
    made = Confirmation("run", started, (NEAR,), (0.9,), (4, 5), (2,))
    planned = replace(plan(*made.trials()), confirms=asdict(made))
    fresh = create_run(run.folder.with_name("run-confirm"), planned)
    for trial in made.trials():
        before = gather(run).summary, gather(fresh).summary  # at last before its last trial
        report_evaluations(fresh, trial, (shares[trial.alpha],) * 4)
    assert all(summary.headline.startswith("Best: teacher_spread, ") for summary in before)
    assert "Not finished yet: 1 trial." in before[1].limitations
    layers = "teacher_spread, layers 1,2,3"
    better = f"{layers}, fixed 0.25 is significantly better than {layers}, fixed 0.5: +20.00 points"
    equal = f"{layers}, fixed 0.25 is not significantly different from teacher_spread, cross-entrop"
    ours, its = gather(run).summary, gather(fresh).summary
    assert ours.headline.startswith(f"On fresh seeds (run-confirm): {better}")
    assert any(sentence.startswith("This run alone: Best: ") for sentence in ours.findings)
    assert its.headline.startswith(better)
    assert its.findings[0].startswith(equal)
    assert "search.confirm" not in " ".join((*ours.limitations, *its.limitations))
    assert describe_inputs(fresh).startswith("Confirmation of run, preset sst2, 1,000 training ")
    ours = summary_of(run, {RANDOM: 0.97})  # as in a run that was extended
    assert ours.headline.startswith("Before the run was extended, on fresh seeds (run-confirm): ")
    assert "search.confirm" in (hint := next(s for s in ours.limitations if "one seed" in s))
    assert hint.endswith("/run --name OTHER.")


def test_a_best_recipe_without_bits_is_not_compared(run):
    summary_of(run, {BEST: 0.9, FAR: 0.5})
    for evaluation in run.trials[BEST.digest].evaluations:
        evaluation["predictions"] = ""
    summary = gather(run).summary
    assert "best5 0.9000 (95% interval -)" in summary.headline
    assert summary.findings[-1].startswith("Its per-example results are missing")
    assert any("results of 1 recipe are missing" in sentence for sentence in summary.limitations)


def test_before_any_trial_has_finished_and_where_none_did(run):
    assert summary_of(run, {}).headline == "No result yet: no trial has been evaluated."
    assert summary_of(run, {BEST: (0.8, 0.9)}).headline == (
        "No trial has finished yet. Highest best5 so far: 0.8500 after 2 of 4 evaluations, "
        "teacher_spread, layers 1,2,3, fixed 0.5."
    )
    assert status(run).startswith("Not complete: running or interrupted; last event 20")
    assert "Trials: 0 of 5 ended (0 finished, 0 stopped early), 1 running, " in status(run)
    for trial in (BEST, NEAR, FAR, RANDOM):
        fail(run, trial)
    summary = summary_of(run, {}, stopped=(0.8, 0.9))
    assert summary.headline.startswith("No trial has finished. Highest best5: 0.8500 after 2 of 4")
    assert "search.confirm" not in " ".join(summary.limitations)
    fail(run, SHORT)
    assert gather(run).summary.headline == "No result: 5 recipes failed."
    assert "5 of 5 ended (0 finished, 0 stopped early, 5 failed)." in status(run)


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
    run.plan.provenance["commit"] = None  # outside git
    run.append({"event": "session", "provenance": {"command": "made up", "commit": None}})
    found = dict(provenance(run))
    assert "commit" not in found
    assert found["session 2"].endswith(" UTC, made up")
