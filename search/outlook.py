"""The time that a sweep would take, from what a probe measured of its trials. Runs nothing."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import cycle, islice

from search.forecast import (
    Job,
    JobUnit,
    Ladder,
    expected_seconds,
    kind_of,
    seconds_left,
    work_of,
)
from search.record import ENDED, Run
from search.strata import rungs, stratum_of
from search.trial_probe import TrialCost
from search.units import units_of
from trainable.config import TrialConfig

MOST_KINDS = 3  # that are measured; the others are judged by their layers
RAY_START = 5.0  # seconds until Ray starts the first process, measured on two cores
MOST_SUGGESTIONS = 2000  # that a time budget is looked at for


@dataclass(frozen=True)
class Outlook:
    """What would be run: the run's trials that have not ended, and those still to be suggested."""

    run: Run
    places: int  # trials that may run at a time
    more: float  # to be suggested, on all seeds; infinite where only time limits them
    possible: Sequence[TrialConfig]  # such as they may be

    @cached_property
    def configs(self) -> list[TrialConfig]:
        """Of the trials that have not ended, in their order."""
        return [trial.config for trial in self.run.trials.values() if trial.outcome not in ENDED]

    @property
    def at_a_time(self) -> int:
        """Trials that will run at once: places that would stay empty don't count."""
        return max(1, int(min(self.places, len(self.configs) + self.more)))

    def suggested(self, count: float) -> list[TrialConfig]:
        """So many configurations as a searcher may draw them, each on all seeds in a row."""
        drawn = self.possible[len(self.possible) // 2 :]  # the first are those that are listed
        request = self.run.request
        seeded = [config for draw in drawn for config in request.on_all_seeds(draw)]
        return list(islice(cycle(seeded), int(count)))

    def recipes(self, more: float) -> list[list[TrialConfig]]:
        """The seeds of each recipe that would be run, so many trials suggested."""
        trials = [trial for trial in self.run.trials.values() if trial.outcome not in ENDED]
        own = [[trial.config for trial in seeds] for seeds in units_of(trials).values()]
        suggested, seeds = self.suggested(more), self.run.request.seeds
        return own + [suggested[at : at + seeds] for at in range(0, len(suggested), seeds)]


@dataclass(frozen=True)
class Times:
    """In seconds, of the trials by scheduler, and of what comes before them.

    `fitting` is how many trials to be suggested fit in what is left of a time budget, by scheduler,
    and empty where it ends nothing.
    """

    by_scheduler: Mapping[str, float]
    teacher: float
    outputs: float
    budget: float | None
    fitting: Mapping[str, int]


def representatives(outlook: Outlook) -> list[TrialConfig]:
    """One trial of each of the most frequent kinds."""
    most = len(outlook.possible) * outlook.run.request.seeds
    likely = outlook.configs + outlook.suggested(min(outlook.more, most))
    kinds = Counter(kind_of(config) for config in likely)
    first = {kind_of(config): config for config in reversed(likely)}
    return [first[kind] for kind, _ in kinds.most_common(MOST_KINDS)]


def expected_times(
    outlook: Outlook,
    costs: Mapping[TrialConfig, TrialCost],
    start: float,
    teacher: tuple[float, float],
) -> Times:
    """With and without ASHA. A run that has evaluations tells its own pace; `start` is the seconds
    until a process has its first trial ready."""
    budget = outlook.run.request.time_budget if outlook.run.searched else None
    left = None if budget is None else max(budget - outlook.run.seconds, 0.0)
    totals: dict[str, float] = {}
    fitting: dict[str, int] = {}
    for scheduler in ("asha", "fifo"):
        timed = _Timed(outlook, scheduler, costs, start)
        if left is not None and (math.isinf(outlook.more) or timed.total(outlook.more) > left):
            fitting[scheduler] = timed.most_within(left)
            totals[scheduler] = timed.total(fitting[scheduler])
        else:
            totals[scheduler] = timed.total(outlook.more)
    return Times(totals, *teacher, left, fitting)


@dataclass(frozen=True)
class _Timed:
    """An outlook under one scheduler."""

    outlook: Outlook
    scheduler: str
    costs: Mapping[TrialConfig, TrialCost]
    start: float

    def total(self, more: float) -> float:
        """Seconds from the start of the trials to their end, with so many suggested."""
        run = self.outlook.run
        own = replace(run, sweep={**run.sweep, "scheduler": self.scheduler})
        left = seconds_left(own, self.outlook.places, more)
        before = RAY_START + self.start
        return before + (self._by_probe(more) if left is None else left)

    def most_within(self, seconds: float) -> int:
        """The most suggestions with which the trials end in that time."""
        low, high = 0, MOST_SUGGESTIONS
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self.total(middle) <= seconds else (low, middle - 1)
        return low

    def _by_probe(self, more: float) -> float:
        jobs = [job for seeds in self.outlook.recipes(more) for job in self._jobs(seeds)]
        places = self.outlook.places
        under_way = [replace(job, first=job.each) for job in jobs[:places]]  # `start` has set up
        return expected_seconds(under_way, jobs[places:], places, self._ladder())

    def _jobs(self, seeds: Sequence[TrialConfig]) -> list[Job]:
        """The trials of one recipe, none of them begun."""
        setup, evaluation = self._cost(seeds[0])
        stratum = stratum_of(vars(seeds[0]), self.outlook.run.sweep["compare_within"])
        job = Job(JobUnit(stratum, len(seeds)), setup + evaluation, evaluation, again=setup)
        return [job] * len(seeds)

    def _cost(self, config: TrialConfig) -> tuple[float, float]:
        """Seconds to set up such a trial, and of each of its evaluations."""
        by_kind = {kind_of(known): cost for known, cost in self.costs.items()}
        setup = sum(cost.setup for cost in by_kind.values()) / len(by_kind)
        if kind_of(config) in by_kind:
            return setup, by_kind[kind_of(config)].evaluation
        work = sum(work_of(known) for known in self.costs)
        each = sum(cost.evaluation for cost in self.costs.values()) / work
        return setup, each * work_of(config)

    def _ladder(self) -> Ladder:
        run = self.outlook.run
        evaluations = next(iter(run.trials.values())).config.evaluations
        if self.scheduler != "asha":
            return Ladder(evaluations)
        return Ladder(evaluations, tuple(rungs(evaluations, run.sweep["grace_evaluations"])))
