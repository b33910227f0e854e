"""Progress of a sweep in numbers, each worked out by hand."""

import pytest

from search.progress import measure, still_to_be_suggested, time_left
from search.record import (
    FAILED,
    FINISHED,
    PARAMETERS,
    PENDING,
    RUNNING,
    STOPPED,
    WAITING,
    Run,
    TrialRecord,
)
from search.request import Request
from trainable.config import TrialConfig


def make_run(*trials, scheduler="fifo", seeds=False):
    """A run from (outcome, evaluations, seconds each) with 10 evaluations a whole trial.

    Each is a recipe of its own, or a seed of the same. Those that run have just started or been
    evaluated.
    """
    records = {}
    for number, (outcome, count, seconds) in enumerate(trials):
        apart = {"seed": number} if seeds else {"learning_rate": 1e-5 * (number + 1)}
        config = TrialConfig(alpha=0.5, evaluations=10, **apart)
        one = {"training_seconds": seconds * 0.75, "evaluation_seconds": seconds * 0.25}
        # scores in descending order: none like another, the first is never stopped
        scores = {"accuracy": 0.9 - number / 100, "best5_accuracy": 0.9 - number / 100}
        done = [{**one, **scores, "accuracy": 0.5 + n / 100} for n in range(count)]
        records[config.digest] = TrialRecord(config, outcome, evaluations=done)
    sweep = {"scheduler": scheduler, "grace_evaluations": 2, "compare_within": []}
    run = Run(None, sweep, records)
    for digest, trial in records.items():
        if trial.outcome == RUNNING:
            run.timeline.since[digest] = run.timeline.now
    return run


def test_before_the_first_evaluation_no_time_is_told():
    progress = measure(make_run((RUNNING, 0, 0), (PENDING, 0, 0)), 2)
    assert progress.seconds_left is None
    assert progress.words() == "0 of 2 ended (0 finished, 0 stopped early), 1 running"


def test_counts_by_outcome():
    run = make_run(
        (FINISHED, 10, 1.0),
        (STOPPED, 2, 1.0),
        (STOPPED, 4, 1.0),
        (FAILED, 1, 1.0),
        (RUNNING, 3, 1.0),
        (PENDING, 0, 1.0),
    )
    progress = measure(run, 1)
    counts = {FINISHED: 1, STOPPED: 2, FAILED: 1, RUNNING: 1, PENDING: 1, WAITING: 0}
    assert progress.counts == counts
    assert progress.total == 6


def test_trials_that_wait_are_said_and_still_have_to_go_on():
    run = make_run((FINISHED, 10, 1.0), (WAITING, 4, 1.0), (WAITING, 4, 1.0), seeds=True)
    progress = measure(run, 4)
    assert progress.words().startswith("1 of 3 ended (1 finished, 0 stopped early), 0 running, 2 w")
    assert progress.seconds_left == pytest.approx(2 * 6 * 1.0 / 2)


def test_words_with_and_without_failures():
    failed = measure(make_run((FINISHED, 10, 1.0), (FAILED, 0, 1.0), (RUNNING, 0, 1.0)), 1)
    assert failed.words() == (
        "2 of 3 ended (1 finished, 0 stopped early, 1 failed), 1 running, about 10 s left"
    )
    well = measure(make_run((FINISHED, 10, 1.0), (RUNNING, 4, 1.0)), 1)
    assert well.words() == ("1 of 2 ended (1 finished, 0 stopped early), 1 running, about 6 s left")


def test_without_asha_all_evaluations_are_still_to_come():
    run = make_run((RUNNING, 2, 3.0), (PENDING, 0, 0), (PENDING, 0, 0))
    assert measure(run, 1).seconds_left == pytest.approx((8 + 10 + 10) * 3.0)


def test_with_asha_some_trials_are_expected_to_be_stopped():
    """The chance of a later trial is a half at the first rung: 2, 4, 8 or 10 evaluations."""
    run = make_run((RUNNING, 9, 3.0), *[(PENDING, 0, 0)] * 40, scheduler="asha")
    seconds = measure(run, 1).seconds_left
    assert (1 + 40 * 3.5) * 3.0 < seconds < (1 + 40 * 6.0) * 3.0


def test_first_at_a_rung_is_not_expected_to_be_stopped():
    run = make_run((RUNNING, 1, 3.0), scheduler="asha")
    assert measure(run, 1).seconds_left == pytest.approx(9 * 3.0)


def test_failed_trials_do_not_shorten_what_is_expected():
    run = make_run((FINISHED, 10, 1.0), (FAILED, 0, 0), (PENDING, 0, 0))
    assert measure(run, 1).seconds_left == pytest.approx(10.0)


def test_trial_that_is_tried_again_has_only_its_remaining_evaluations_to_come():
    """A retry goes on from its checkpoint; it waits with the evaluations that it had."""
    run = make_run((FINISHED, 10, 2.0), (PENDING, 7, 2.0))
    assert measure(run, 1).seconds_left == pytest.approx(3 * 2.0)


def test_seconds_of_an_evaluation_are_the_mean_over_all():
    run = make_run((FINISHED, 10, 1.0), (STOPPED, 10, 3.0), (PENDING, 0, 0))
    assert measure(run, 1).seconds_left == pytest.approx(10 * 2.0)


def test_trials_side_by_side_share_the_time():
    run = make_run((FINISHED, 10, 1.0), *[(PENDING, 0, 0)] * 8)
    assert measure(run, 1).seconds_left == pytest.approx(80.0)
    assert measure(run, 4).seconds_left == pytest.approx(20.0)


def test_last_trial_cannot_be_shared_among_places():
    run = make_run((FINISHED, 10, 1.0), (RUNNING, 2, 1.0))
    assert measure(run, 4).seconds_left == pytest.approx(8.0)


def searched(run, **asked):
    """The run as one whose configurations a searcher suggests."""
    request = Request("recipe", "mini", "cache", **asked)
    run.sweep |= {PARAMETERS: [], "requests": [request.to_dict()]}
    return run


def test_trials_to_be_suggested_are_waited_for():
    done = make_run((FINISHED, 10, 1.0), (FINISHED, 10, 1.0), seeds=True)
    run = searched(done, samples=4, seeds=1)
    assert still_to_be_suggested(run) == 3  # seeds apart, the two are one configuration
    assert measure(run, 1).seconds_left == pytest.approx(30.0)
    assert measure(searched(done, samples=4, seeds=2), 1).seconds_left == pytest.approx(60.0)
    assert still_to_be_suggested(searched(done, samples=4, seeds=3)) == 3 * 3 + 1
    assert len(run.missing_seeds) == 1


def test_time_budget_ends_what_has_no_other_end():
    run = searched(make_run((FINISHED, 10, 1.0), (RUNNING, 6, 1.0)), time_budget=500.0)
    run.seconds = 450.0
    assert measure(run, 1).seconds_left == pytest.approx(50.0 + 4.0)
    run.seconds = 600.0
    assert measure(run, 1).seconds_left == pytest.approx(4.0)


def test_time_budget_shortens_a_long_search():
    run = searched(make_run((RUNNING, 6, 1.0)), samples=1000, time_budget=500.0)
    assert measure(run, 1).seconds_left == pytest.approx(500.0 + 4.0)


def test_nothing_is_left_when_all_ended():
    progress = measure(make_run((FINISHED, 10, 1.0), (STOPPED, 2, 1.0)), 2)
    assert progress.seconds_left is None
    assert progress.words() == "2 of 2 ended (1 finished, 1 stopped early), 0 running"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "about 0 s left"),
        (89, "about 89 s left"),
        (90, "about 2 min left"),
        (240, "about 4 min left"),
        (5340, "about 89 min left"),
        (5400, "about 1.5 h left"),
        (36000, "about 10.0 h left"),
    ],
)
def test_time_in_the_unit_that_reads_best(seconds, words):
    assert time_left(seconds) == words


def test_trials_that_a_searcher_will_add_are_counted_where_their_number_is_known():
    run = searched(make_run((FINISHED, 10, 1.0), (RUNNING, 6, 1.0)), samples=9)
    total = len(run.trials) + still_to_be_suggested(run)
    assert measure(run, 1).words().startswith(f"1 of {total} ended")
    endless = searched(make_run((FINISHED, 10, 1.0), (RUNNING, 6, 1.0)), time_budget=500.0)
    assert measure(endless, 1).words().startswith("1 of 2 ended")
