"""How long trials will take that run so many at a time, some of them stopped early. Pure.

Asynchronous successive halving stops a trial that stands below the median of those that came to the
same rung before it. Where each order of scores is equally likely, half of them do, and the first to
arrive goes on in any case. Places that stand idle at the end are part of the answer.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice, pairwise
from typing import Any

import numpy as np

from search.record import ENDED, Run, TrialRecord
from search.strata import REDUCTION_FACTOR, rungs, stratum_of
from search.timeline import clock_seconds
from trainable.config import TrialConfig
from trainable.names import NO_LAYERS

DRAWS = 96  # of the decisions to come; the mean over them is the same for the same record
CHANCE = 1 / REDUCTION_FACTOR  # of going on at the first rung, where no scores are alike
# Beyond it, from simulated trials whose score at one rung tells most of that at the next.
LATER_RUNG, FEW_BEFORE, MOST_CHANCE = 0.05, 0.15, 0.95
TIES_WEIGHT = 0.25  # trials with a score of their own that are counted beside those seen
PACE_WEIGHT = 2.0  # evaluations that all kinds of trials count for, beside those of one kind
LEAST_SHARE = 0.1  # of an evaluation that is still to come where it takes longer than it should

Kind = tuple[object, ...]
History = list[dict[str, Any]]  # a trial's evaluations
Rung = tuple[str, int]  # a stratum, and evaluations


@dataclass(frozen=True)
class Job:
    """A trial that is to be run: `done` evaluations of it are there already."""

    stratum: str
    first: float  # seconds until its next evaluation, from where it has its place
    each: float  # seconds of each evaluation after that
    done: int = 0


@dataclass(frozen=True)
class Ladder:
    """Where trials are compared: after how many evaluations, and how likely one goes on."""

    evaluations: int  # of a whole trial
    rungs: tuple[int, ...] = ()  # none where no trial is stopped early
    arrivals: Mapping[Rung, int] = field(default_factory=dict)  # trials that were there
    ties: Mapping[str, float] = field(default_factory=dict)  # chance of the median's score

    def chance(self, stratum: str, place: int, before: np.ndarray) -> np.ndarray:
        """Of going on at the rung in this place, counted from 0, where `before` [N] trials were.

        How those before fared tells nothing where no scores are alike: each place among them is as
        likely. Later rungs are for those that were better before.
        """
        chance = CHANCE + (LATER_RUNG * place + FEW_BEFORE / np.maximum(before, 1)) * (place > 0)
        chance = np.minimum(chance, MOST_CHANCE)
        chance += (1.0 - chance) * self.ties.get(stratum, 0.0)
        return np.where(before > 0, chance, 1.0)


def expected_seconds(
    running: Sequence[Job], waiting: Sequence[Job], places: int, ladder: Ladder
) -> float:
    """The mean time until the last trial has ended; each that waits takes the first free place."""
    lengths = _Lengths(ladder)
    free = np.zeros((max(places, len(running), 1), DRAWS))
    for place, job in enumerate(sorted(running, key=lambda job: -job.done)):
        free[place] = lengths.draw(job)
    every = np.arange(DRAWS)
    for job in waiting:
        free[free.argmin(axis=0), every] += lengths.draw(job)
    return float(free.max(axis=0).mean())


class _Lengths:
    """Draws how long each trial runs, one after the other, the rungs they reach kept in mind."""

    def __init__(self, ladder: Ladder) -> None:
        self._ladder = ladder
        self._generator = np.random.default_rng(0)
        self._arrivals = {rung: np.full(DRAWS, count) for rung, count in ladder.arrivals.items()}

    def draw(self, job: Job) -> np.ndarray:
        """Seconds [DRAWS]."""
        count = np.full(DRAWS, self._ladder.evaluations)
        alive = np.ones(DRAWS, dtype=bool)
        for place, number in enumerate(self._ladder.rungs):
            if number <= job.done:
                continue  # that was decided
            before = self._arrivals.setdefault((job.stratum, number), np.zeros(DRAWS, dtype=int))
            chance = self._ladder.chance(job.stratum, place, before)
            stopped = alive & (self._generator.random(DRAWS) >= chance)
            count[stopped] = number
            before += alive
            alive &= ~stopped
        rest: np.ndarray = np.maximum(count - job.done - 1, 0)
        return np.asarray(job.first + rest * job.each)


def seconds_left(run: Run, concurrency: int, still_to_be_suggested: float = 0) -> float | None:
    """The expected time from the run's last event to its end, so many trials running at a time.

    `still_to_be_suggested` counts trials that are not in the plan yet; they are taken to be like
    those that are. None before the first evaluation, after the last, and where the count is
    infinite.
    """
    trials = list(run.trials.values())
    if not any(trial.evaluations for trial in trials) or math.isinf(still_to_be_suggested):
        return None
    if not still_to_be_suggested and all(trial.outcome in ENDED for trial in trials):
        return None
    pace = _Pace(run)
    open_digests = [digest for digest, trial in run.trials.items() if trial.outcome not in ENDED]
    running = [pace.under_way(digest) for digest in open_digests if digest in run.timeline.since]
    waiting = [pace.to_start(digest) for digest in open_digests if digest not in run.timeline.since]
    more = islice(cycle(run.trials), int(still_to_be_suggested))
    waiting += [pace.to_start(digest, alike=True) for digest in more]
    return expected_seconds(running, waiting, concurrency, ladder_of(run))


def ladder_of(run: Run) -> Ladder:
    """The rungs of a run, with who was there and how many of them score alike."""
    trials = list(run.trials.values())
    evaluations = trials[0].config.evaluations
    if run.sweep["scheduler"] != "asha":
        return Ladder(evaluations)
    compared = tuple(rungs(evaluations, run.sweep["grace_evaluations"]))
    histories = _histories(trials, run.sweep["compare_within"])
    arrivals = {
        (stratum, number): sum(len(history) >= number for history in found)
        for stratum, found in histories.items()
        for number in compared
    }
    return Ladder(evaluations, compared, arrivals, _ties(histories, compared))


def _histories(trials: Iterable[TrialRecord], within: Sequence[str]) -> dict[str, list[History]]:
    """The evaluations of the trials that have some, by stratum."""
    histories: dict[str, list[History]] = {}
    for trial in trials:
        if trial.evaluations:
            stratum = stratum_of(vars(trial.config), within)
            histories.setdefault(stratum, []).append(trial.evaluations)
    return histories


def _ties(histories: Mapping[str, list[History]], compared: Sequence[int]) -> dict[str, float]:
    """By stratum, the chance that a trial has the very score of the median one, none below it.

    That is so of students that give the most frequent label whatever the sentence: theirs are the
    same scores, and the same from one evaluation to the next.
    """
    ties: dict[str, float] = {}
    for stratum, found in histories.items():
        reached = [number for number in compared if any(len(h) >= number for h in found)]
        alike: list[tuple[float, int]] = [
            _alike([h[n - 1]["best5_accuracy"] for h in found if len(h) >= n]) for n in reached
        ]
        alike += [_still(history) for history in found if len(history) > 1]
        seen = sum(others for _, others in alike)
        ties[stratum] = sum(count for count, _ in alike) / (seen + TIES_WEIGHT)
    return ties


def _alike(scores: list[float]) -> tuple[int, int]:
    """How many share the score of the median one, of so many others."""
    return scores.count(sorted(scores)[len(scores) // 2]) - 1, len(scores) - 1


def _still(history: History) -> tuple[float, int]:
    """The share of a trial's evaluations that brought nothing new; it counts as one other trial."""
    pairs = list(pairwise(evaluation["accuracy"] for evaluation in history))
    return sum(earlier == later for earlier, later in pairs) / len(pairs), 1


def kind_of(config: TrialConfig) -> Kind:
    """What decides how long a trial takes: the student's size, what it reads of the teacher."""
    reads = config.hidden_pool if config.aligned_layers != NO_LAYERS else ""
    return (
        *(config.student_layers, config.student_width, config.batch_size, config.precision),
        *(reads, config.uses_teacher_outputs),
    )


def work_of(config: TrialConfig) -> float:
    """What an evaluation takes, roughly: epochs x layers, one more for all that is not a layer.

    It tells of kinds that have not been seen yet; for the others, their own time does.
    """
    return float(config.epochs * (config.student_layers + 1))


class _Pace:
    """How fast a run's trials are, by the clocks of all evaluations and the times of the events."""

    def __init__(self, run: Run) -> None:
        self._run, self._timeline = run, run.timeline
        self._within = run.sweep.get("compare_within", ())
        self._rates: dict[Kind, float] = {}  # seconds, for each unit of work
        spent: dict[Kind, tuple[float, float, int]] = {}  # seconds, work, evaluations
        for trial in run.trials.values():
            if trial.evaluations:
                kind, count = kind_of(trial.config), len(trial.evaluations)
                seconds = sum(clock_seconds(evaluation) for evaluation in trial.evaluations)
                one = (seconds, work_of(trial.config) * count, count)
                before = spent.get(kind, (0.0, 0.0, 0))
                spent[kind] = (before[0] + one[0], before[1] + one[1], before[2] + one[2])
        self._overall = sum(s for s, _, _ in spent.values()) / sum(w for _, w, _ in spent.values())
        for kind, (seconds, work, count) in spent.items():
            weight = PACE_WEIGHT * work / count
            self._rates[kind] = (seconds + weight * self._overall) / (work + weight)

    def evaluation(self, config: TrialConfig) -> float:
        """Seconds from one evaluation of such a trial to the next."""
        rate = self._rates.get(kind_of(config), self._overall)
        return rate * work_of(config) + self._timeline.wait_evaluation

    def under_way(self, digest: str) -> Job:
        """A trial in the midst of an evaluation."""
        trial = self._run.trials[digest]
        each = self.evaluation(trial.config)
        expected = each if trial.evaluations else each + self._timeline.wait_first
        elapsed = self._timeline.now - self._timeline.since[digest]
        first = max(expected - elapsed, LEAST_SHARE * each)
        return Job(self._stratum(trial), first, each, len(trial.evaluations))

    def to_start(self, digest: str, *, alike: bool = False) -> Job:
        """A trial that waits for a place; a whole one like it where `alike`."""
        trial = self._run.trials[digest]
        each = self.evaluation(trial.config)
        first = each + self._timeline.wait_place + self._timeline.wait_first
        return Job(self._stratum(trial), first, each, 0 if alike else len(trial.evaluations))

    def _stratum(self, trial: TrialRecord) -> str:
        return stratum_of(vars(trial.config), self._within)
