"""How far a sweep is: counts, the time that is left, and at the end what is left to try."""

import math
from collections import Counter
from dataclasses import dataclass

from search.plan.rungs import PROMOTION
from search.policy.final_times import seconds_searched, seconds_to_end
from search.policy.still_to_come import (
    budget_to_search,
    finals_to_come,
    is_complete,
    to_suggest,
    too_short_to_search,
)
from search.record.run import Run
from search.record.trial_record import ENDED, FAILED, FINISHED, PENDING, RUNNING, STOPPED, WAITING
from search.results.recommendation import most_passes, passes_made
from trainable.config.options import AUGMENT
from trainable.data.batches import trial_steps


@dataclass(frozen=True)
class Progress:
    """Counts of trials, and seconds left: None before a trial's steps are made, and at the end.

    `total` has those that a searcher will add, where their number is known.
    """

    counts: Counter[str]
    total: int
    seconds_left: float | None

    def describe(self) -> str:
        """`7 of 18 ended (4 finished, 3 stopped early), 2 running, about 4 min left`."""
        counts = self.counts
        kinds = f"{counts[FINISHED]} finished, {counts[STOPPED]} stopped early"
        kinds += f", {counts[FAILED]} failed" if counts[FAILED] else ""
        text = f"{sum(counts[outcome] for outcome in ENDED)} of {self.total} ended ({kinds})"
        for outcome in (RUNNING, WAITING, PENDING):  # between two trials none may be running
            text += f", {counts[outcome]} {outcome}" if counts[outcome] else ""
        if self.seconds_left is not None:
            text += f", {describe_time(self.seconds_left)} left"
        return text


def progress_of(run: Run) -> Progress:
    """The progress of a run."""
    counts = Counter(trial.outcome for trial in run.trials.values())
    to_come = to_suggest(run)  # more seeds of the best are not foreseen
    known = math.isfinite(to_come) and not too_short_to_search(run)
    total = counts.total() + (int(to_come) if known else 0)
    return Progress(counts, total, _seconds_left(run, to_come))


def _seconds_left(run: Run, to_come: float) -> float | None:
    """Linear in the steps, once there are enough: those that a stopped or failed trial did not take
    count as taken.

    At most what is left of a time budget, and all of it where finals are to come; without one they
    take what the search leaves. Finals are all trained to their end.
    """
    trials = run.trials.values()
    if not any(trial.evaluations for trial in trials) or is_complete(run):
        return None
    if run.finals_begun and not to_come:
        return seconds_to_end(run, [t for t in trials if t.outcome not in ENDED])
    # If trials are promoted, most of those that wait go no further.
    over = (*ENDED, WAITING) if run.request.scheduler == PROMOTION else ENDED
    examples, done = run.plan.inputs.examples["train"], 0.0
    for trial in trials:
        share = len(trial.evaluations) / trial.config.evaluations
        done += trial_steps(examples, trial.config) * (1.0 if trial.outcome in over else share)
    planned = float(sum(trial_steps(examples, trial.config) for trial in trials))
    planned += to_come * trial_steps(examples, run.any_config) if to_come else 0
    # Before, most of the time was that in which workers start.
    known = math.isfinite(planned) and done >= trial_steps(examples, run.any_config)
    left = run.trial_seconds * (planned - done) / done if known else math.inf
    budget = run.request.time_budget
    if finals_to_come(run):
        spent = seconds_searched(run)
        left = run.request.whole_budget(spent + left) - spent
    elif budget is not None and to_come:
        left = min(left, budget - run.seconds)
    left = max(left, 0.0)
    return left if math.isfinite(left) else None


def unused_levers(run: Run) -> list[str]:
    """A sentence for a search with finals; none for any other, and as long as they are to come."""
    if not (run.request.finals and run.finished and is_complete(run)):
        return []
    passes, longest = max(passes_made(trial, run) for trial in run.finished), most_passes(run)
    short = too_short(run)
    left = {
        "unlabelled texts of your own (--transfer), which teach more than made ones": not (
            {*run.request.transfer_sources} - {AUGMENT}
        ),
        f"a search: {short}": short,
        f"more time: the longest trial passed over the examples {passes:.0f} times, and up to "
        f"{longest:.0f} have gained": passes < 0.9 * longest,
    }
    named = "; ".join(lever for lever, holds in left.items() if holds)
    return [f"Left to try: {named}."] if named else []


def too_short(run: Run) -> str:
    """`the time was too short, about 70 min or more are needed`, of a search that has none."""
    needed = f"{describe_time(budget_to_search(run))} or more are needed"
    return f"the time was too short, {needed}" if too_short_to_search(run) else ""


def describe_time(seconds: float) -> str:
    """`about 4 min`, or seconds or hours where those read better."""
    if seconds < 90:
        return f"about {seconds:.0f} s"
    if seconds < 5400:
        return f"about {seconds / 60:.0f} min"
    return f"about {seconds / 3600:.1f} h"


def describe_bytes(size: float) -> str:
    """`95 MB` or `1.7 GB`."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"
