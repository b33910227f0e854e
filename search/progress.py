"""How far a sweep is, in numbers: counts and the time that is left."""

from dataclasses import dataclass

from search.forecast import seconds_left
from search.record import ENDED, FAILED, FINISHED, PENDING, RUNNING, STOPPED, Run


@dataclass(frozen=True)
class Progress:
    """Counts of trials, and seconds left: None before the first evaluation and after the last."""

    counts: dict[str, int]
    total: int
    seconds_left: float | None

    def words(self) -> str:
        """`7 of 18 ended (4 finished, 3 stopped early), 2 running, about 4 min left`."""
        ended = sum(self.counts[outcome] for outcome in ENDED)
        kinds = [f"{self.counts[FINISHED]} finished", f"{self.counts[STOPPED]} stopped early"]
        kinds += [f"{self.counts[FAILED]} failed"] if self.counts[FAILED] else []
        text = f"{ended} of {self.total} ended ({', '.join(kinds)}), {self.counts[RUNNING]} running"
        return text if self.seconds_left is None else f"{text}, {time_left(self.seconds_left)}"


def measure(run: Run, concurrency: int, still_to_be_suggested: float = 0) -> Progress:
    """Progress of a run whose trials run so many at a time, with so many more to be suggested."""
    trials = list(run.trials.values())
    outcomes = (PENDING, RUNNING, *ENDED)
    counts = {outcome: sum(t.outcome == outcome for t in trials) for outcome in outcomes}
    left = seconds_left(run, concurrency, still_to_be_suggested)
    return Progress(counts, len(trials), left)


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
