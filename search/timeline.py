"""When things happened in a run, as far as its pace is told by it: pure, from the record's events.

Clocks of an evaluation say what training, evaluating and saving took. What passes beside them, such
as Ray starting the next trial, only the times of the events tell.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Any

CLOCKS = ("training_seconds", "evaluation_seconds", "saving_seconds")


def clock_seconds(evaluation: Mapping[str, Any]) -> float:
    """What an evaluation and the training before it took."""
    return float(sum(evaluation.get(clock, 0.0) for clock in CLOCKS))


@dataclass
class Timeline:
    """Takes in a run's events in their order; all times are in seconds, `now` since 1970.

    `since` has, for each trial under way in the present session, when its last event was. What
    passed between two sessions is nobody's time.
    """

    now: float = 0.0
    since: dict[str, float] = field(default_factory=dict)
    _freed: list[float] = field(default_factory=list)  # when the places that are free became so
    _fresh: dict[str, bool] = field(default_factory=dict)  # no evaluation yet; on a used place
    _waits: dict[str, list[float]] = field(
        default_factory=lambda: {"evaluation": [], "first": [], "place": []}
    )

    @property
    def wait_evaluation(self) -> float:
        """Between two evaluations of a trial, beyond their clocks."""
        return self._typical("evaluation")

    @property
    def wait_first(self) -> float:
        """Until a trial's first evaluation, beyond its clocks, on a place that others used."""
        return self._typical("first")

    @property
    def wait_place(self) -> float:
        """From a trial's end to the start of the next on its place."""
        return self._typical("place")

    def _typical(self, kind: str) -> float:
        """The median: a machine that slept for a night must not count. 0 where there is none."""
        waits = self._waits[kind]
        return max(median(waits), 0.0) if waits else 0.0

    def take(self, event: Mapping[str, Any], *, left_its_place: bool = False) -> None:
        """Takes in an event; its trial may have `left_its_place` by it: ended, or waiting for
        other seeds."""
        self.now = float(event.get("time", self.now))
        match event["event"]:
            case "session":
                self.since, self._freed, self._fresh = {}, [], {}
            case "start":
                self._started(event["trial"])
            case "evaluation":
                self._evaluated(event["trial"], event["evaluation"])
            case "repeated":
                self._fresh.pop(event["trial"], None)
                self.since[event["trial"]] = self.now
        if event["event"] == "failure" or left_its_place:
            self._left(event["trial"])

    def _started(self, trial: str) -> None:
        used = bool(self._freed)
        if used:
            self._waits["place"].append(self.now - self._freed.pop(0))
        self._fresh[trial] = used
        self.since[trial] = self.now

    def _evaluated(self, trial: str, evaluation: Mapping[str, Any]) -> None:
        used, since = self._fresh.pop(trial, None), self.since.get(trial)
        if since is not None and used is not False:
            wait = self.now - since - clock_seconds(evaluation)
            self._waits["evaluation" if used is None else "first"].append(wait)
        self.since[trial] = self.now

    def _left(self, trial: str) -> None:
        self._fresh.pop(trial, None)
        if self.since.pop(trial, None) is not None:
            self._freed.append(self.now)
