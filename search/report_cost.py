"""What a run cost: time in trials, what ASHA saved of it, what interruptions took."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from search.record import STOPPED, Run, TrialRecord


class Cost(NamedTuple):
    """Seconds of one kind; those of trials add up over trials that ran side by side."""

    name: str
    seconds: float
    note: str


def costs(run: Run, events: Sequence[dict[str, Any]]) -> list[Cost]:
    """Of a run, from its record and all events of it in order."""
    trials = list(run.trials.values())
    evaluations = [e for trial in trials for e in trial.evaluations]
    counts = Counter(event["event"] for event in events)
    happened = f"sessions: {counts['session']}, failures of trials: {counts['failure']}"
    spent = sum(trial.seconds for trial in trials)
    saving = sum(e["saving_seconds"] for e in evaluations)
    found = [
        Cost("training and evaluation", spent, f"{len(evaluations):,} evaluations, all trials"),
        Cost("saving", saving, "writing checkpoints, while training waits"),
        Cost("wall time", run.seconds, happened),
        _saved_by_asha([trial for trial in trials if trial.outcome == STOPPED], spent),
        _repeated(run, events),
    ]
    teacher = run.plan.inputs.teacher
    if teacher.fine_tuned_here:
        found.append(Cost("teacher", teacher.seconds, "fine-tuning, once for all runs"))
    return found


def _saved_by_asha(stopped: Sequence[TrialRecord], spent: float) -> Cost:
    """What stopped trials would have taken further, each at its own mean."""
    counts = [trial.config.evaluations - len(trial.evaluations) for trial in stopped]
    seconds = sum(n * _mean_seconds(trial) for n, trial in zip(counts, stopped, strict=True))
    share = seconds / (spent + seconds) if seconds else 0.0
    note = f"estimate: {sum(counts):,} evaluations not made, {share:.0%} of the time of all"
    return Cost("saved by ASHA", seconds, note)


def _repeated(run: Run, events: Sequence[dict[str, Any]]) -> Cost:
    """Evaluations made again after an interruption or failure, each at its trial's mean."""
    kinds = ("evaluation", "repeated")
    made = Counter(event["trial"] for event in events if event["event"] in kinds)
    again = {key: made[key] - len(run.trials[key].evaluations) for key in made}
    seconds = sum(n * _mean_seconds(run.trials[key]) for key, n in again.items())
    return Cost("repeated", seconds, f"{sum(again.values()):,} evaluations, after interruptions")


def _mean_seconds(trial: TrialRecord) -> float:
    """Of one evaluation with the training before it; 0 before the first."""
    return trial.seconds / len(trial.evaluations) if trial.evaluations else 0.0
