"""Progress of a sweep in numbers, each worked out by hand."""

from pathlib import Path

import pytest

from search.policy.progress import describe_time, progress_of
from search.policy.still_to_come import to_suggest
from search.record.run import Run
from search.record.trial_record import TrialRecord
from tests.made_runs import asked, made_inputs, made_plan, recipe


def make_run(*trials, seconds=60.0, seeds=False, labelled=0.0, starting=0.0, **changes):
    """From outcomes and evaluations of 10 of recipes, or seeds of one, in so many seconds."""
    found = {}
    for number, (outcome, count) in enumerate(trials):
        config = recipe(0 if seeds else number, evaluations=10, seed=number if seeds else 0)
        found[config.digest] = TrialRecord(config, outcome, evaluations=[{}] * count)
    inputs = made_inputs(outputs_seconds=labelled)
    plan = made_plan([record.config for record in found.values()], asked(**changes), inputs=inputs)
    return Run(Path("mine"), plan, found, seconds=seconds, starting_seconds=starting)


ALL = {"finished": 10, "stopped": 2, "failed": 1, "running": 3, "waiting": 4, "pending": 0}


def test_counts_and_words():
    progress = progress_of(make_run(*ALL.items()))
    assert progress.counts == dict.fromkeys(ALL, 1)
    # 30 of the trials that ended count as made, 3 and 4 of the others; 23 are left.
    assert progress.seconds_left == pytest.approx(60 * 23 / 37)
    before = {"labelled": 40.0, "starting": 20.0}  # of the trials
    later = progress_of(make_run(*ALL.items(), seconds=120.0, **before))
    assert later.seconds_left == progress.seconds_left
    assert progress.describe() == (
        "3 of 6 ended (1 finished, 1 stopped early, 1 failed), "
        "1 running, 1 waiting, 1 pending, about 37 s left"
    )
    between = progress_of(make_run(("finished", 10), ("pending", 0))).describe()
    assert between.startswith("1 of 2 ended (1 finished, 0 stopped early), 1 pending, about ")
    # Where trials are promoted, the one that waits counts as over.
    promoted = progress_of(make_run(*ALL.items(), scheduler="promotion"))
    assert promoted.seconds_left == pytest.approx(60 * 17 / 43)


def test_time_in_the_unit_that_reads_best_but_before_a_trials_steps_and_after_the_last():
    texts = {0: "0 s", 89: "89 s", 90: "2 min", 5340: "89 min", 5400: "1.5 h", 36000: "10.0 h"}
    assert [*map(describe_time, texts)] == [f"about {text}" for text in texts.values()]
    for trials in (
        (("running", 0), ("pending", 0)),
        (("running", 5), ("running", 4), ("pending", 0)),  # most of the time was a worker's start
        (("finished", 10), ("stopped", 2)),
    ):
        progress = progress_of(make_run(*trials))
        assert progress.seconds_left is None
        assert "left" not in progress.describe()


def test_trials_that_a_searcher_will_add_are_counted_where_their_number_is_known():
    two, searched = (("finished", 10), ("finished", 10)), {"searcher": "optuna"}
    run = make_run(*two, seeds=True, samples=4, **searched)
    assert to_suggest(run) == 3  # seeds apart, the two are one configuration
    assert (progress_of(run).total, progress_of(run).seconds_left) == (
        5,
        pytest.approx(60 * 30 / 20),
    )
    assert to_suggest(make_run(*two, seeds=True)) == 0


def test_time_budget_ends_what_has_no_other_end_and_shortens_a_long_search():
    trials = (("finished", 10), ("running", 6))
    for samples, total in ((None, 2), (1000, 1000)):
        asked_for = {"samples": samples, "time_budget": 500.0, "searcher": "optuna"}
        run = make_run(*trials, seconds=450.0, **asked_for)
        assert (progress_of(run).seconds_left, progress_of(run).total) == (50.0, total)
        spent = make_run(*trials, seconds=600.0, **asked_for)
        assert progress_of(spent).seconds_left == pytest.approx(600 * 4 / 16)
