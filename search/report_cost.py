"""What a run cost: time in trials, what ASHA saved of it, what interruptions and failures took."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from search.record import STOPPED, Run, TrialRecord


@dataclass(frozen=True)
class Cost:
    """Seconds, of which those of trials add up over trials that ran side by side."""

    trial_seconds: float  # in training and evaluation, of the evaluations that count
    saving_seconds: float  # of these, what writing checkpoints held training
    evaluations: int
    sessions: int
    wall_seconds: float  # from each session's first event to its last
    asha_evaluations: int  # that stopped trials did not make
    asha_seconds: float  # what they would have taken, each trial at its own mean
    repeated_evaluations: int  # made again after an interruption or a failure
    repeated_seconds: float
    failures: int  # every time that a trial broke down, also where it went on afterwards
    failure_seconds: float  # from a trial's last event to its failure
    teacher_seconds: float | None  # of fine-tuning, where it was done for this run or one before

    @property
    def asha_share(self) -> float:
        """Of the time that all would have taken, what was saved."""
        whole = self.trial_seconds + self.asha_seconds
        return self.asha_seconds / whole if whole else 0.0


def cost(run: Run, events: Sequence[dict[str, Any]]) -> Cost:
    """The cost of a run, from its record and all events of it in order."""
    trials = list(run.trials.values())
    evaluations = [e for trial in trials for e in trial.evaluations]
    stopped = [trial for trial in trials if trial.outcome == STOPPED]
    teacher = run.sweep["task"]["teacher"]
    repeated, repeated_seconds = _repeated(run, events)
    failures, failure_seconds = _failures(events)
    sessions, wall_seconds = _sessions(events)
    return Cost(
        trial_seconds=sum(trial.seconds for trial in trials),
        saving_seconds=sum(e.get("saving_seconds", 0.0) for e in evaluations),
        evaluations=len(evaluations),
        sessions=sessions,
        wall_seconds=wall_seconds,
        asha_evaluations=sum(_not_made(trial) for trial in stopped),
        asha_seconds=sum(_not_made(trial) * _mean_seconds(trial) for trial in stopped),
        repeated_evaluations=repeated,
        repeated_seconds=repeated_seconds,
        failures=failures,
        failure_seconds=failure_seconds,
        teacher_seconds=teacher.get("seconds") if teacher.get("fine_tuned_here") else None,
    )


def _not_made(trial: TrialRecord) -> int:
    return trial.config.evaluations - len(trial.evaluations)


def _mean_seconds(trial: TrialRecord) -> float:
    """Of one evaluation with the training before it; 0 before the first."""
    return trial.seconds / len(trial.evaluations) if trial.evaluations else 0.0


def _repeated(run: Run, events: Sequence[dict[str, Any]]) -> tuple[int, float]:
    """Evaluations made again, with the same result or another, each at its trial's mean time."""
    known: dict[str, int] = {}
    count, seconds = 0, 0.0
    for event in events:
        trial = run.trials.get(event.get("trial", ""))
        if trial is None or event["event"] not in ("evaluation", "repeated"):
            continue
        again = event["event"] == "repeated"
        if not again:
            number = event["evaluation"]["evaluations"]
            again = number <= known.get(event["trial"], 0)
            known[event["trial"]] = number
        if again:
            count += 1
            seconds += _mean_seconds(trial)
    return count, seconds


def _failures(events: Sequence[dict[str, Any]]) -> tuple[int, float]:
    """How often trials broke down, and the time since what was last heard of each."""
    heard: dict[str, float] = {}
    count, seconds = 0, 0.0
    for event in events:
        name = event.get("trial")
        if name is None:
            continue
        if event["event"] == "failure":
            count += 1
            seconds += max(event["time"] - heard.get(name, event["time"]), 0.0)
        heard[name] = event["time"]
    return count, seconds


def _sessions(events: Sequence[dict[str, Any]]) -> tuple[int, float]:
    """How many there were, and their time; the pauses between them are not counted."""
    spans: list[list[float]] = []
    for event in events:
        if event["event"] == "session":
            spans.append([event["time"], event["time"]])
        elif spans:
            spans[-1][1] = event["time"]
    return len(spans), sum(max(end - start, 0.0) for start, end in spans)
