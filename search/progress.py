"""How far a sweep is, in numbers: counts and the time that is left."""

import math
from dataclasses import dataclass

from search.forecast import seconds_left
from search.record import ENDED, FAILED, FINISHED, PENDING, RUNNING, STOPPED, WAITING, Run


@dataclass(frozen=True)
class Progress:
    """Counts of trials, and seconds left: None before the first evaluation and after the last.

    `total` has those that a searcher will add, where their number is known.
    """

    counts: dict[str, int]
    total: int
    seconds_left: float | None

    def words(self) -> str:
        """`7 of 18 ended (4 finished, 3 stopped early), 2 running, about 4 min left`."""
        ended = sum(self.counts[outcome] for outcome in ENDED)
        kinds = [f"{self.counts[FINISHED]} finished", f"{self.counts[STOPPED]} stopped early"]
        kinds += [f"{self.counts[FAILED]} failed"] if self.counts[FAILED] else []
        text = f"{ended} of {self.total} ended ({', '.join(kinds)}), {self.counts[RUNNING]} running"
        text += f", {self.counts[WAITING]} waiting" if self.counts.get(WAITING) else ""
        return text if self.seconds_left is None else f"{text}, {time_left(self.seconds_left)}"


def measure(run: Run, concurrency: int) -> Progress:
    """Progress of a run whose trials run so many at a time."""
    trials = list(run.trials.values())
    outcomes = (PENDING, RUNNING, WAITING, *ENDED)
    counts = {outcome: sum(t.outcome == outcome for t in trials) for outcome in outcomes}
    more = still_to_be_suggested(run)
    total = len(trials) + (int(more) if math.isfinite(more) else 0)
    return Progress(counts, total, _seconds_left(run, concurrency))


def still_to_be_suggested(run: Run) -> float:
    """Trials that a searcher will add, on all seeds; infinite where only time limits them."""
    if not run.searched:
        return 0
    seeds, have = run.request.seeds, {trial.config.recipe for trial in run.trials.values()}
    missing = max(seeds * len(have) - len(run.trials), 0)  # counted; Run.missing_seeds makes them
    return run.to_suggest * seeds + missing


def _seconds_left(run: Run, concurrency: int) -> float | None:
    """As forecast, but no longer than a time budget lets it be: until nothing more is suggested,
    then as long as what is under way now takes."""
    more = still_to_be_suggested(run)
    left = seconds_left(run, concurrency, more)
    if not more or run.request.time_budget is None:
        return left
    under_way = seconds_left(run, concurrency)
    if under_way is None:  # nothing evaluated yet, or nothing under way
        return left
    budgeted = max(run.request.time_budget - run.seconds, 0.0) + under_way
    return budgeted if left is None else min(left, budgeted)


def time_left(seconds: float) -> str:
    """`about 4 min left`."""
    return f"{in_time(seconds)} left"


def in_time(seconds: float) -> str:
    """`about 4 min`, or seconds or hours where those read better."""
    if seconds < 90:
        return f"about {seconds:.0f} s"
    if seconds < 5400:
        return f"about {seconds / 60:.0f} min"
    return f"about {seconds / 3600:.1f} h"
