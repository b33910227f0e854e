"""How far a sweep is, in numbers: counts and the time that is left."""

import math
from collections import Counter
from dataclasses import dataclass

from search.plan.rungs import PROMOTION
from search.record.run import Run
from search.record.trial_record import ENDED, FAILED, FINISHED, PENDING, RUNNING, STOPPED, WAITING


@dataclass(frozen=True)
class Progress:
    """Counts of trials, and seconds left: None before the first evaluation and after the last.

    `total` has those that a searcher will add, where their number is known.
    """

    counts: Counter[str]
    total: int
    seconds_left: float | None

    def describe(self) -> str:
        """`7 of 18 ended (4 finished, 3 stopped early), 2 running, about 4 min left`."""
        ended = sum(self.counts[outcome] for outcome in ENDED)
        kinds = [f"{self.counts[FINISHED]} finished", f"{self.counts[STOPPED]} stopped early"]
        kinds += [f"{self.counts[FAILED]} failed"] if self.counts[FAILED] else []
        text = f"{ended} of {self.total} ended ({', '.join(kinds)})"
        for outcome in (RUNNING, WAITING, PENDING):  # between two trials none may be running
            text += f", {count} {outcome}" if (count := self.counts[outcome]) else ""
        if self.seconds_left is not None:
            text += f", {describe_time(self.seconds_left)} left"
        return text


def measure(run: Run) -> Progress:
    """The progress of a run."""
    counts = Counter(trial.outcome for trial in run.trials.values())
    more = run.to_suggest  # more seeds of the best are not foreseen
    total = counts.total() + (int(more) if math.isfinite(more) else 0)
    return Progress(counts, total, _seconds_left(run, more))


def _seconds_left(run: Run, more: float) -> float | None:
    """Linear in the evaluations: those that a stopped or failed trial did not make count as made.

    No longer than a time budget lets it be.
    """
    made = sum(len(trial.evaluations) for trial in run.trials.values())
    if not made or not run.unfinished:
        return None
    # Where trials are promoted, most of those that wait go no further.
    over = (*ENDED, WAITING) if run.request.scheduler == PROMOTION else ENDED
    ended = sum(t.config.evaluations for t in run.trials.values() if t.outcome in over)
    under_way = sum(len(t.evaluations) for t in run.trials.values() if t.outcome not in over)
    each = run.any_config.evaluations
    planned = sum(t.config.evaluations for t in run.trials.values()) + more * each
    done = ended + under_way
    left = run.seconds * (planned - done) / done if math.isfinite(planned) else math.inf
    budget = run.request.time_budget
    if budget is not None and more:
        left = min(left, max(budget - run.seconds, 0.0))
    return left if math.isfinite(left) else None


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
