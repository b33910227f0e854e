"""Progress of a sweep in numbers, each worked out by hand."""

from pathlib import Path

import pytest

from search.record.run import Run
from search.record.trial_record import (
    FAILED,
    FINISHED,
    PENDING,
    RUNNING,
    STOPPED,
    WAITING,
    TrialRecord,
)
from search.results.progress import describe_time, measure
from tests.made_runs import asked, made_plan
from trainable.config.trial_config import TrialConfig


def make_run(*trials, seconds=60.0, seeds=False, **changes):
    """A run from outcomes and evaluations of 10, as one that took so many seconds.

    Each trial is a recipe of its own, or a seed of the same.
    """
    records = []
    for number, (outcome, count) in enumerate(trials):
        apart = {"seed": number} if seeds else {"learning_rate": 1e-5 * (number + 1)}
        config = TrialConfig(alpha=0.5, evaluations=10, **apart)
        records.append(TrialRecord(config, outcome, evaluations=[{}] * count))
    plan = made_plan([record.config for record in records], asked(**changes))
    found = {record.config.digest: record for record in records}
    return Run(Path("mine"), plan, found, seconds=seconds)


ALL = ((FINISHED, 10), (STOPPED, 2), (FAILED, 1), (RUNNING, 3), (WAITING, 4), (PENDING, 0))


def test_counts_and_words():
    progress = measure(make_run(*ALL))
    assert progress.total == 6
    assert progress.counts == dict.fromkeys([outcome for outcome, _ in ALL], 1)
    # 30 of the trials that ended count as made, 3 and 4 of the others; 23 are left.
    assert progress.seconds_left == pytest.approx(60 * 23 / 37)
    assert progress.describe() == (
        "3 of 6 ended (1 finished, 1 stopped early, 1 failed), "
        "1 running, 1 waiting, 1 pending, about 37 s left"
    )
    between = measure(make_run((FINISHED, 10), (PENDING, 0))).describe()
    assert between.startswith("1 of 2 ended (1 finished, 0 stopped early), 1 pending, about ")
    promoted = measure(make_run(*ALL, scheduler="promotion"))  # the one that waits counts as over
    assert promoted.seconds_left == pytest.approx(60 * 17 / 43)


def test_no_time_is_told_before_the_first_evaluation_and_after_the_last():
    for trials in (((RUNNING, 0), (PENDING, 0)), ((FINISHED, 10), (STOPPED, 2))):
        progress = measure(make_run(*trials))
        assert progress.seconds_left is None
        assert "left" not in progress.describe()


def test_trials_that_a_searcher_will_add_are_counted_where_their_number_is_known():
    two, searched = ((FINISHED, 10), (FINISHED, 10)), {"searcher": "optuna"}
    run = make_run(*two, seeds=True, samples=4, **searched)
    assert run.to_suggest == 3  # seeds apart, the two are one configuration
    assert (measure(run).total, measure(run).seconds_left) == (5, pytest.approx(60 * 30 / 20))
    assert make_run(*two, seeds=True).to_suggest == 0


def test_time_budget_ends_what_has_no_other_end_and_shortens_a_long_search():
    trials = ((FINISHED, 10), (RUNNING, 6))
    for samples, total in ((None, 2), (1000, 1000)):
        asked_for = {"samples": samples, "time_budget": 500.0, "searcher": "optuna"}
        run = make_run(*trials, seconds=450.0, **asked_for)
        assert (measure(run).seconds_left, measure(run).total) == (50.0, total)
        spent = make_run(*trials, seconds=600.0, **asked_for)
        assert measure(spent).seconds_left == pytest.approx(600 * 4 / 16)


def test_time_in_the_unit_that_reads_best():
    texts = {0: "0 s", 89: "89 s", 90: "2 min", 5340: "89 min", 5400: "1.5 h", 36000: "10.0 h"}
    assert {seconds: describe_time(seconds) for seconds in texts} == {
        seconds: f"about {text}" for seconds, text in texts.items()
    }
