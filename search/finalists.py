"""What a confirmation retrains: the best recipes of a run, their baselines, on which seeds."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import chain, islice
from statistics import fmean
from typing import Any

from search.record import FINISHED, TrialRecord
from trainable.config import TrialConfig
from trainable.errors import UserError, nearest
from trainable.names import NO_LAYERS

FIXED_ALPHA = 0.5  # the study's own, of the baseline that has the teacher but no schedule
CROSS_ENTROPY = 1.0
SEED_LIMIT = 2**32

Pair = tuple[TrialConfig, TrialConfig]


def best_finished(trials: Iterable[TrialRecord], top: int) -> list[TrialRecord]:
    """The best trial of each of the best recipes among those run to their end, best first.

    Those stopped early have no last evaluation to compare; the seeds of a recipe count by their
    mean.
    """
    finished = [trial for trial in trials if trial.outcome == FINISHED]
    best: dict[TrialConfig, TrialRecord] = {}
    for trial in sorted(finished, key=lambda trial: -(trial.best5 or 0.0)):
        best.setdefault(trial.config.recipe, trial)
    by_score = sorted(best.values(), key=lambda trial: -(recipe_score(finished, trial) or 0.0))
    return by_score[:top]


def recipe_score(trials: Iterable[TrialRecord], chosen: TrialRecord) -> float | None:
    """best5 of a trial; of one that finished, the mean over all finished seeds of its recipe."""
    if chosen.outcome != FINISHED:
        return chosen.best5
    recipe = chosen.config.recipe
    seeds = [t for t in trials if t.outcome == FINISHED and t.config.recipe == recipe]
    return fmean(trial.best5 or 0.0 for trial in seeds)


def named_trials(trials: Mapping[str, TrialRecord], names: Iterable[str]) -> list[TrialRecord]:
    """The trials that these digests or folders' names mean, one a recipe, best first.

    Raises UserError for a name that no trial has.
    """
    folders = {trial.config.folder_name: trial for trial in trials.values()}
    found: dict[TrialConfig, TrialRecord] = {}
    for name in names:
        trial = trials.get(name) or folders.get(name)
        if trial is None:
            hint = nearest(name, folders)
            raise UserError(
                f"--trial {name}: no such trial in the run; {hint}give the name of its folder, or "
                "the eight digits at the end of it"
            )
        found.setdefault(trial.config.recipe, trial)
    return sorted(found.values(), key=lambda trial: -(trial.best5 or 0.0))


def baselines_of(finalist: TrialConfig) -> list[TrialConfig]:
    """Fixed alpha 0.5 and cross-entropy only, all else as the finalist has it.

    Without the one that the finalist is itself. Cross-entropy only aligns no layers: at alpha 1
    they would have no weight.
    """
    fixed = replace(finalist, alpha_schedule="fixed", alpha=FIXED_ALPHA, sharpness=None)
    alone = replace(fixed, alpha=CROSS_ENTROPY, aligned_layers=NO_LAYERS)
    return [baseline for baseline in (fixed, alone) if baseline.recipe != finalist.recipe]


def fresh_seeds(used: Collection[int], count: int) -> list[int]:
    """The next seeds above all that were used; where there are no more, the lowest unused."""
    start = max(used, default=-1) + 1
    unused = (seed for seed in chain(range(start, SEED_LIMIT), range(start)) if seed not in used)
    return list(islice(unused, count))


@dataclass(frozen=True)
class Confirmation:
    """Which recipes of which run are retrained on which seeds; finalists stand best first."""

    run: str  # name of the run that is confirmed
    started: str  # when that run was, which tells it from a later one of its name
    finalists: tuple[TrialConfig, ...]  # as the run had them, its seed included
    scores: tuple[float | None, ...]  # best5 of each there, which chose them and so flatters
    named: bool  # with --trial; otherwise they are the `top` best
    top: int
    seeds: tuple[int, ...]
    asked: tuple[int, ...]  # numbers of seeds asked for, one after the other

    @property
    def recipes(self) -> list[TrialConfig]:
        """All that is retrained, each once: the finalists, then baselines that are no finalist."""
        return [config.recipe for config in self._sources()]

    @property
    def baselines(self) -> list[TrialConfig]:
        """The recipes that are no finalists."""
        return self.recipes[len(self.finalists) :]

    @property
    def pairs(self) -> list[Pair]:
        """The recipes compared, each two once: finalists with their baselines, the best with the
        other finalists.

        The best is the run's, not the one that the fresh seeds favour: choosing it by the numbers
        that then compare it would flatter it.
        """
        best, *others = self.finalists
        wanted = [(first, second) for first in self.finalists for second in baselines_of(first)]
        wanted += [(best, other) for other in others]
        pairs: dict[frozenset[TrialConfig], Pair] = {}
        for first, second in wanted:
            pair = (first.recipe, second.recipe)
            pairs.setdefault(frozenset(pair), pair)
        return list(pairs.values())

    def trials(self) -> list[TrialConfig]:
        """Seed by seed, so that an interruption leaves whole seeds to go by."""
        return [replace(config, seed=seed) for seed in self.seeds for config in self._sources()]

    def with_seeds(self, count: int, used: Collection[int]) -> "Confirmation":
        """The same on so many seeds, where it has fewer; none of those added are among `used`."""
        missing = count - len(self.seeds)
        if missing <= 0:
            return self
        seeds = (*self.seeds, *fresh_seeds({*used, *self.seeds}, missing))
        return replace(self, seeds=seeds, asked=(*self.asked, count))

    def _sources(self) -> list[TrialConfig]:
        """The recipes as their trials are configured: what is idle in them as the run had it."""
        baselines = [b for finalist in self.finalists for b in baselines_of(finalist)]
        found: dict[TrialConfig, TrialConfig] = {}
        for config in (*self.finalists, *baselines):
            found.setdefault(config.recipe, config)
        return list(found.values())

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; the baselines for the reader, since the finalists decide them."""
        return {
            "run": self.run,
            "started": self.started,
            "finalists": [config.to_dict() for config in self.finalists],
            "scores": list(self.scores),
            "named": self.named,
            "top": self.top,
            "baselines": [config.to_dict() for config in self.baselines],
            "seeds": list(self.seeds),
            "asked": list(self.asked),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Confirmation":
        """The confirmation that `to_dict` wrote."""
        return cls(
            run=values["run"],
            started=values["started"],
            finalists=tuple(TrialConfig.from_dict(config) for config in values["finalists"]),
            scores=tuple(values["scores"]),
            named=values["named"],
            top=values["top"],
            seeds=tuple(values["seeds"]),
            asked=tuple(values["asked"]),
        )
