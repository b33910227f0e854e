"""Whether a trial goes on, waits or stops at a rung, together with its recipe's other seeds.

At a rung the mean over a recipe's seeds is compared. So each seed that reaches a rung waits there
until the last one has come.
"""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from search.record.trial_record import GO, STOP, WAIT
from trainable.config.trial_config import TrialConfig

Decisions = Mapping[tuple[str, int], str]  # GO or STOP, by a recipe's digest and rung


@dataclass
class GroupedTrial:
    """What a group knows of one of its trials."""

    scores: dict[int, float] = field(default_factory=dict)  # by rung, as first reported
    over: bool = False  # finished, stopped or failed for good
    alone: bool = False  # needs its GPU for itself, and so runs when the others have ended

    @property
    def rung(self) -> int:
        """The highest that it has reached; 0 below the first."""
        return max(self.scores, default=0)


@dataclass
class SeedGroup:
    """The seeds of one recipe, by their trials' digests, and what was decided at which rung."""

    config: TrialConfig  # on any of its seeds
    exempt: bool = False  # from rungs: it is neither compared there nor stopped
    trials: dict[str, GroupedTrial] = field(default_factory=dict)
    decisions: dict[int, str] = field(default_factory=dict)  # GO or STOP
    compared: set[int] = field(default_factory=set)  # rungs that have its mean, decided or not

    def decision(self, rung: int) -> str:
        """GO, WAIT or STOP for a seed that has reached this rung."""
        if any(decided == STOP and at <= rung for at, decided in self.decisions.items()):
            return STOP
        return GO if rung == 0 or rung in self.decisions else WAIT

    def complete(self, rung: int) -> bool:
        """Whether some seed is at this rung, and none that it waits for is still to come.

        A seed that must run alone comes when all others have ended. So the others do not wait for
        it, and it follows their decision; only seeds that all must run alone wait for one another.
        """
        here = [trial for trial in self.trials.values() if rung in trial.scores and not trial.over]
        to_come = [trial for trial in self.trials.values() if trial.rung < rung and not trial.over]
        if not all(trial.alone for trial in here):
            to_come = [trial for trial in to_come if not trial.alone]
        return bool(here) and not to_come

    def mean(self, rung: int) -> float:
        """Of the scores at this rung, over the seeds that have one.

        `statistics.mean` rounds once, `fmean` at each step: the mean of equal scores is that score,
        and ties stay ties.
        """
        scores = [trial.scores[rung] for trial in self.trials.values() if rung in trial.scores]
        return statistics.mean(scores)


class SeedGroups:
    """All groups of a run, and what is decided of them.

    `decide` is called once for each group and rung, with a configuration of the group, the rung and
    the mean. It returns what that decides, of this recipe or of others that wait.
    """

    def __init__(
        self, rungs: Sequence[int], decide: Callable[[TrialConfig, int, float], Decisions]
    ) -> None:
        self._rungs, self._decide = sorted(rungs), decide
        self._groups: dict[str, SeedGroup] = {}  # by recipe's digest
        self._group_of: dict[str, SeedGroup] = {}

    def add(self, config: TrialConfig, *, exempt: bool = False) -> None:
        """Adds a seed that is not known yet; it follows its group's decisions so far."""
        if config.digest not in self._group_of:
            group = self._groups.setdefault(config.recipe.digest, SeedGroup(config, exempt))
            group.trials[config.digest] = GroupedTrial()
            self._group_of[config.digest] = group

    def evaluated(self, digest: str, number: int, score: float) -> str:
        """GO, WAIT or STOP for a trial after an evaluation; `score` is what rungs compare."""
        group = self._group_of[digest]
        trial = group.trials[digest]
        trial.over = False  # it trains, whatever was known of it
        if rung := self._rung(group, number):
            trial.scores.setdefault(rung, score)
            self._settle(group)
        decision = self.decision(digest, number)
        trial.over = decision == STOP
        return decision

    def recorded(self, digest: str, decision: str) -> None:
        """Takes over what the record says was decided of a trial where it stands. That counts even
        if trials were added, or events lost, since."""
        group = self._group_of[digest]
        rung = group.trials[digest].rung
        if rung and decision != WAIT and not group.trials[digest].over:
            group.decisions.setdefault(rung, decision)

    def stopped(self, digest: str) -> None:
        """A trial was ended while it waited."""
        self._group_of[digest].trials[digest].over = True

    def failed(self, digest: str, *, alone: bool = False) -> None:
        """A trial failed for good, or must run alone: the others no longer wait for it."""
        group = self._group_of[digest]
        group.trials[digest].alone = alone
        group.trials[digest].over = not alone
        self._settle(group)

    def decision(self, digest: str, number: int | None = None) -> str:
        """GO, WAIT or STOP for a trial where it stands, or after its evaluation of this number."""
        group = self._group_of[digest]
        if number is None:
            return group.decision(group.trials[digest].rung)
        over = number >= group.config.evaluations
        return STOP if over else group.decision(self._rung(group, number))

    def active(self, *, exclusive: bool) -> bool:
        """Whether some trial still trains, or is to; without `exclusive`, those that must run
        alone do not count."""
        return any(
            not trial.over and group.decision(trial.rung) == GO and (exclusive or not trial.alone)
            for group in self._groups.values()
            for trial in group.trials.values()
        )

    def waits(self, digest: str) -> bool:
        """Whether a trial waits at its rung, for other seeds or for other recipes."""
        return self.decision(digest) == WAIT and not self._group_of[digest].trials[digest].over

    def has(self, recipe: TrialConfig | None) -> bool:
        """Whether this recipe has a trial."""
        return recipe is not None and recipe.digest in self._groups

    @property
    def configs(self) -> list[TrialConfig]:
        """A configuration of each group that is compared at rungs."""
        return [group.config for group in self._groups.values() if not group.exempt]

    def _rung(self, group: SeedGroup, number: int) -> int:
        """The highest rung at or below this number of evaluations; 0 below the first."""
        rungs = [] if group.exempt else self._rungs
        return max((rung for rung in rungs if rung <= number), default=0)

    def _settle(self, group: SeedGroup) -> None:
        for rung in self._rungs:
            if rung not in group.compared and group.complete(rung):
                group.compared.add(rung)
                self.take(self._decide(group.config, rung, group.mean(rung)))

    def take(self, decisions: Decisions) -> None:
        """Applies decisions; the first for a group and rung counts."""
        for (recipe, rung), decision in decisions.items():
            self._groups[recipe].decisions.setdefault(rung, decision)
