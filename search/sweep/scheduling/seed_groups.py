"""The seeds of one recipe as one unit: when ASHA decides on them, and what it told them.

Where a recipe runs on several seeds, what is compared at a rung is the mean over them. So each seed
that comes to a rung waits there, until the last one has come.
"""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from trainable.config.trial_config import TrialConfig

GO, WAIT, STOP = "continue", "wait", "stop"  # as an evaluation's `decision` in the record
RULING = "ruling"  # attribute of a Ray trial: which of these the scheduler told it last


@dataclass
class Seed:
    """What a unit knows of one of its trials."""

    scores: dict[int, float] = field(default_factory=dict)  # by rung, the first one there
    over: bool = False  # finished, stopped or failed for good
    alone: bool = False  # runs when all others have ended, for want of GPU memory beside them

    @property
    def rung(self) -> int:
        """The highest it has come to; 0 below the first."""
        return max(self.scores, default=0)


@dataclass
class Unit:
    """The seeds of one recipe, by their trials' digests, and what was decided at which rung."""

    config: TrialConfig  # of one of them
    seeds: dict[str, Seed] = field(default_factory=dict)
    decisions: dict[int, str] = field(default_factory=dict)  # GO or STOP

    def ruling(self, rung: int) -> str:
        """What holds for a seed that has come to this rung, by what was decided there and below."""
        if any(told == STOP and at <= rung for at, told in self.decisions.items()):
            return STOP
        return GO if rung == 0 or rung in self.decisions else WAIT

    def complete(self, rung: int) -> bool:
        """Whether some seed waits at this rung, and none is still to come that it waits for.

        A seed that has to run alone comes when all others have ended: it holds up only its like,
        and follows what the others have had decided.
        """
        here = [seed for seed in self.seeds.values() if rung in seed.scores and not seed.over]
        to_come = [seed for seed in self.seeds.values() if seed.rung < rung and not seed.over]
        if not all(seed.alone for seed in here):
            to_come = [seed for seed in to_come if not seed.alone]
        return bool(here) and not to_come

    def mean(self, rung: int) -> float:
        """Of the scores at this rung, over the seeds that have one.

        Rounded once, which `fmean` is not: the mean of equal scores is that score, and ties stay.
        """
        scores = [seed.scores[rung] for seed in self.seeds.values() if rung in seed.scores]
        return statistics.mean(scores)


class Units:
    """All units of a run, and ASHA's decisions on them: a function of the events shown to it.

    `goes_on` is asked once for each unit and rung: with a seed's configuration, rung and mean.
    """

    def __init__(
        self,
        rungs: Sequence[int],
        evaluations: int,
        goes_on: Callable[[TrialConfig, int, float], bool],
    ) -> None:
        self._rungs, self._evaluations, self._goes_on = sorted(rungs), evaluations, goes_on
        self._units: dict[str, Unit] = {}  # by recipe's digest
        self._of_trial: dict[str, Unit] = {}

    def __contains__(self, trial: str) -> bool:
        return trial in self._of_trial

    def add(self, config: TrialConfig) -> None:
        """One more seed, where it is not known; it follows what its unit has had decided."""
        if config.digest not in self:
            unit = self._units.setdefault(config.recipe.digest, Unit(config))
            unit.seeds[config.digest] = Seed()
            self._of_trial[config.digest] = unit

    def evaluated(self, trial: str, number: int, score: float) -> str:
        """GO, WAIT or STOP for a trial after its n-th evaluation, which made its best5 `score`."""
        unit = self._of_trial[trial]
        seed, rung = unit.seeds[trial], self._rung(number)
        seed.over = False  # whatever was known of it
        if rung:
            seed.scores.setdefault(rung, score)
            self._settle(unit)
        ruling = STOP if number >= self._evaluations else unit.ruling(rung)
        seed.over = ruling == STOP
        return ruling

    def stopped(self, trial: str) -> None:
        """A trial that waited was ended."""
        self._of_trial[trial].seeds[trial].over = True

    def failed(self, trial: str, *, alone: bool = False) -> None:
        """A trial failed for good, or is to run alone: the others wait for it no more."""
        unit = self._of_trial[trial]
        unit.seeds[trial].alone = alone
        unit.seeds[trial].over = not alone
        self._settle(unit)

    def ruling(self, trial: str) -> str:
        """What holds for a trial where it stands."""
        unit = self._of_trial[trial]
        return unit.ruling(unit.seeds[trial].rung)

    def waits(self, trial: str) -> bool:
        """Whether it has to wait for other seeds of its unit."""
        return self.ruling(trial) == WAIT and not self._of_trial[trial].seeds[trial].over

    def _rung(self, number: int) -> int:
        return max((rung for rung in self._rungs if rung <= number), default=0)

    def _settle(self, unit: Unit) -> None:
        for rung in self._rungs:
            if unit.complete(rung):
                self._decide(unit, rung)

    def _decide(self, unit: Unit, rung: int) -> None:
        if rung not in unit.decisions:
            goes_on = self._goes_on(unit.config, rung, unit.mean(rung))
            unit.decisions[rung] = GO if goes_on else STOP
