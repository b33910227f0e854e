"""How long trials will take that run so many at a time, some of them stopped early. Pure.

Asynchronous successive halving stops a unit, the seeds of a recipe, whose mean is below the median
of those that came to the same rung before it. Where each order of scores is equally likely, half of
them do, and the first to arrive goes on in any case. A seed that waits at a rung for the others has
no place meanwhile: it only has to get under way again. Places that stand idle at the end are part
of the answer.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from statistics import fmean
from typing import Any

import numpy as np

from search.record import ENDED, FAILED, STOPPED, WAITING, Run, TrialRecord
from search.strata import REDUCTION_FACTOR, rungs, stratum_of
from search.timeline import clock_seconds
from search.units import units_of
from trainable.config import TrialConfig
from trainable.names import NO_LAYERS

DRAWS = 96  # of the decisions to come; the mean over them is the same for the same record
CHANCE = 1 / REDUCTION_FACTOR  # of going on at the first rung, where no scores are alike
# Beyond it, from simulated trials whose score at one rung tells most of that at the next.
LATER_RUNG, FEW_BEFORE, MOST_CHANCE = 0.05, 0.15, 0.95
SEEDS_TELL = 0.5  # the mean over many seeds owes less to luck: it tells so much more
TIES_WEIGHT = 0.25  # units with a score of their own that are counted beside those seen
PACE_WEIGHT = 2.0  # evaluations that all kinds of trials count for, beside those of one kind
LEAST_SHARE = 0.1  # of an evaluation that is still to come where it takes longer than it should

Kind = tuple[object, ...]
History = list[dict[str, Any]]  # a unit's evaluations
Rung = tuple[str, int]  # a stratum, and evaluations


@dataclass(frozen=True, eq=False)
class JobUnit:
    """Trials that are decided on together, and how far that has come."""

    stratum: str
    seeds: int = 1  # as many trials
    decided: int = 0  # evaluations up to which all is decided
    stopped: bool = False  # whether none of them goes on beyond


ByUnit = dict[JobUnit, list[TrialRecord]]


@dataclass(frozen=True)
class Job:
    """A trial that is to be run: `done` evaluations of it are there already."""

    unit: JobUnit
    first: float  # seconds until its next evaluation, from where it has its place
    each: float  # seconds of each evaluation after that
    done: int = 0
    again: float = 0.0  # seconds to get under way once more after it waited for other seeds


@dataclass(frozen=True)
class Ladder:
    """Where units are compared: after how many evaluations, and how likely one goes on."""

    evaluations: int  # of a whole trial
    rungs: tuple[int, ...] = ()  # none where no trial is stopped early
    arrivals: Mapping[Rung, int] = field(default_factory=dict)  # units that were there
    ties: Mapping[str, float] = field(default_factory=dict)  # chance of the median's score

    def chance(self, unit: JobUnit, place: int, before: np.ndarray) -> np.ndarray:
        """Of going on at the rung in this place, counted from 0, where `before` [N] units were.

        How those before fared tells nothing where no scores are alike: each place among them is as
        likely. Later rungs are for those that were better before.
        """
        better = (LATER_RUNG * place + FEW_BEFORE / np.maximum(before, 1)) * (place > 0)
        better *= 1.0 + SEEDS_TELL * (1.0 - 1.0 / unit.seeds)
        chance = np.minimum(CHANCE + better, MOST_CHANCE)
        chance += (1.0 - chance) * self.ties.get(unit.stratum, 0.0)
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
        self._ends: dict[JobUnit, np.ndarray] = {}

    def draw(self, job: Job) -> np.ndarray:
        """Seconds [DRAWS]."""
        unit = job.unit
        if unit not in self._ends:
            self._ends[unit] = self._end(unit)
        end, passed = self._ends[unit], max(unit.decided, job.done)
        seconds = np.where(end > job.done, job.first + (end - job.done - 1) * job.each, 0.0)
        if unit.seeds > 1:  # the last to come to a rung does not wait there
            waits = sum((end > number) * 1.0 for number in self._ladder.rungs if number > passed)
            seconds += waits * job.again * (1.0 - 1.0 / unit.seeds)
        return seconds

    def _end(self, unit: JobUnit) -> np.ndarray:
        """The evaluations [DRAWS] that a unit's trials come to."""
        if unit.stopped and self._ladder.rungs:
            return np.full(DRAWS, unit.decided)
        end = np.full(DRAWS, self._ladder.evaluations)
        alive = np.ones(DRAWS, dtype=bool)
        for place, number in enumerate(self._ladder.rungs):
            if number <= unit.decided:
                continue
            before = self._arrivals.setdefault((unit.stratum, number), np.zeros(DRAWS, dtype=int))
            chance = self._ladder.chance(unit, place, before)
            stopped = alive & (self._generator.random(DRAWS) >= chance)
            end[stopped] = number
            before += alive
            alive &= ~stopped
        return end


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
    units = _units(run)
    pace = _Pace(run, units)
    open_digests = [digest for digest, trial in run.trials.items() if trial.outcome not in ENDED]
    running = [pace.under_way(digest) for digest in open_digests if digest in run.timeline.since]
    waiting = [pace.to_start(digest) for digest in open_digests if digest not in run.timeline.since]
    waiting += pace.suggested(int(still_to_be_suggested))
    return expected_seconds(running, waiting, concurrency, _ladder(run, units))


def _units(run: Run) -> ByUnit:
    """The run's trials by what they are decided on with."""
    within = run.sweep.get("compare_within", ())
    return {
        _job_unit(trials, stratum_of(vars(trials[0].config), within)): trials
        for trials in units_of(run.trials.values()).values()
    }


def _job_unit(trials: Sequence[TrialRecord], stratum: str) -> JobUnit:
    """Of these seeds; where one waits, the decision on its last evaluation is still to come."""
    decided = max(len(trial.evaluations) - (trial.outcome == WAITING) for trial in trials)
    stopped = any(trial.outcome == STOPPED for trial in trials)
    return JobUnit(stratum, len(trials), decided, stopped)


def _ladder(run: Run, units: ByUnit) -> Ladder:
    """The rungs of a run, with who was there and how many of them score alike."""
    evaluations = next(iter(run.trials.values())).config.evaluations
    if run.sweep["scheduler"] != "asha":
        return Ladder(evaluations)
    compared = tuple(rungs(evaluations, run.sweep["grace_evaluations"]))
    arrivals = Counter(
        (unit.stratum, number) for unit in units for number in compared if number <= unit.decided
    )
    return Ladder(evaluations, compared, arrivals, _ties(_histories(units), compared))


def _histories(units: ByUnit) -> dict[str, list[History]]:
    """The evaluations of the units that have some, by stratum."""
    histories: dict[str, list[History]] = {}
    for unit, trials in units.items():
        if history := _history(trials):
            histories.setdefault(unit.stratum, []).append(history)
    return histories


def _history(trials: Sequence[TrialRecord]) -> History:
    """The mean over the seeds that have begun, as far as all of them have come."""
    if len(trials) == 1:
        return trials[0].evaluations
    good = [t.evaluations for t in trials if t.evaluations and t.outcome != FAILED]
    return [
        # rounded: of equal scores the mean is the same then, over two seeds or three
        {key: round(fmean(one[key] for one in same), 9) for key in ("best5_accuracy", "accuracy")}
        for same in zip(*good, strict=False)
    ]


def _ties(histories: Mapping[str, list[History]], compared: Sequence[int]) -> dict[str, float]:
    """By stratum, the chance that a unit has the very score of the median one, none below it.

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
    """The share of a unit's evaluations that brought nothing new; it counts as one other unit."""
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

    def __init__(self, run: Run, units: ByUnit) -> None:
        self._run, self._timeline = run, run.timeline
        self._units = {trials[0].config.recipe: unit for unit, trials in units.items()}
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
        job, trial = self.to_start(digest), self._run.trials[digest]
        expected = job.each if trial.evaluations else job.each + self._timeline.wait_first
        elapsed = self._timeline.now - self._timeline.since[digest]
        return replace(job, first=max(expected - elapsed, LEAST_SHARE * job.each))

    def to_start(self, digest: str) -> Job:
        """A trial that waits for a place."""
        trial = self._run.trials[digest]
        each = self.evaluation(trial.config)
        again = self._timeline.wait_place + self._timeline.wait_first
        unit = self._units[trial.config.recipe]
        return Job(unit, each + again, each, len(trial.evaluations), again)

    def suggested(self, count: int) -> list[Job]:
        """So many whole trials like the run's, in their order, decided on anew."""
        like = [self.to_start(digest) for digest in self._run.trials if count]
        jobs: list[Job] = []
        while len(jobs) < count:
            anew = {unit: JobUnit(unit.stratum, unit.seeds) for unit in self._units.values()}
            jobs += [replace(job, unit=anew[job.unit], done=0) for job in like]
        return jobs[:count]
