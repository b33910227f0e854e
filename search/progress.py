"""How far a sweep is, in numbers: counts and the time that is left."""

from dataclasses import dataclass

from search.record import ENDED, FAILED, FINISHED, PENDING, RUNNING, STOPPED, WAITING, Run

SURVIVAL_GUESS = 0.6  # share of a trial's evaluations that asha lets happen, before any trial ended


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
        text += f", {self.counts[WAITING]} waiting" if self.counts.get(WAITING) else ""
        return text if self.seconds_left is None else f"{text}, {time_left(self.seconds_left)}"


def measure(run: Run, concurrency: int) -> Progress:
    """Progress of a run whose trials run so many at a time.

    The time left is the mean seconds of an evaluation so far, times the evaluations that are still
    to come if later trials are stopped as early as those that have ended.
    """
    trials = list(run.trials.values())
    outcomes = (PENDING, RUNNING, WAITING, *ENDED)
    counts = {outcome: sum(t.outcome == outcome for t in trials) for outcome in outcomes}
    done = sum(len(trial.evaluations) for trial in trials)
    if not done:
        return Progress(counts, len(trials), None)
    lengths = [len(t.evaluations) for t in trials if t.outcome in (FINISHED, STOPPED)]
    full = trials[0].config.evaluations
    asha = run.sweep["scheduler"] == "asha"
    expected = sum(lengths) / len(lengths) if lengths else full * (SURVIVAL_GUESS if asha else 1.0)
    to_come = sum(
        max(expected - len(trial.evaluations), 1.0)
        for trial in trials
        if trial.outcome not in ENDED
    )
    each = sum(trial.seconds for trial in trials) / done
    places = min(concurrency, counts[PENDING] + counts[RUNNING] + counts[WAITING])
    return Progress(counts, len(trials), to_come * each / places if places else None)


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
