"""What a confirmation retrains: the best recipes of a run and their baselines, on which seeds."""

from collections.abc import Collection
from dataclasses import dataclass, replace

from search.plan.resolve import ResolvedRequest
from trainable.config.initialisations import PRETRAINED
from trainable.config.trial_config import TrialConfig

BASELINE_ALPHAS = (0.5, 1.0)  # with the teacher but no schedule, and without the teacher

Pair = tuple[TrialConfig, TrialConfig]


def baselines_of(finalist: TrialConfig) -> list[TrialConfig]:
    """Fixed alpha 0.5 and cross-entropy only, all else as the finalist has it.

    Without the one that the finalist is itself.
    """
    baselines = map(finalist.with_fixed_alpha, BASELINE_ALPHAS)
    return [baseline for baseline in baselines if baseline.recipe != finalist.recipe]


def plain_student(request: ResolvedRequest, like: TrialConfig) -> TrialConfig | None:
    """`--student` simply fine-tuned on the labels, for as long as this trial; None without one."""
    if request.student is None:
        return None
    rate = request.effective_preset.learning_rates[PRETRAINED]
    own = {"initialisation": PRETRAINED, "learning_rate": rate, **dict(request.pretrained)}
    return replace(like.with_fixed_alpha(1.0), feedforward_share=1.0, **own)


def looks_until(most: int) -> list[int]:
    """Numbers of seeds after which a confirmation is looked at: 3, 5, 8, 13, ... and the most.

    None comes within a third of the most: it would spend the level that the last look needs.
    """
    looks, following = [], (3, 5)
    while 3 * following[0] <= 2 * most:
        looks.append(following[0])
        following = following[1], sum(following)
    return [*looks, most]


def fresh_seeds(used: Collection[int], count: int) -> list[int]:
    """The next seeds above all that were used."""
    first = max(used, default=-1) + 1
    return list(range(first, first + count))


@dataclass(frozen=True)
class Confirmation:
    """Which recipes of which run are retrained on which seeds; finalists stand best first."""

    run: str  # name of the run that is confirmed
    started: str  # when that run was, which distinguishes it from a later one of its name
    finalists: tuple[TrialConfig, ...]  # as the run had them, its seed included
    scores: tuple[float | None, ...]  # best5 of each there: selected, so optimistic
    seeds: tuple[int, ...]
    asked: tuple[int, ...]  # most seeds asked for, one number after the other
    baselines: tuple[TrialConfig, ...] = ()  # beside each finalist's own, compared with the best
    precision: float | None = None  # half width of an interval that settles a comparison, in shares
    top: int | None = None  # finalists asked for, where they were not named; fewer had finished

    @property
    def looks(self) -> list[int]:
        """Numbers of seeds at which it may end; of seeds added later only those beyond the first.

        More seeds begin a new set of looks, which has the whole level again.
        """
        *before, most = self.asked
        return [seeds for seeds in looks_until(most) if seeds > max(before, default=0)]

    @property
    def recipes(self) -> list[TrialConfig]:
        """All that is retrained, each once: the finalists, then baselines that are no finalist."""
        return [config.recipe for config in self._sources()]

    @property
    def pairs(self) -> list[Pair]:
        """The recipes compared, each two once: finalists with their baselines, the best with the
        other finalists and with the baselines of the run.

        The best is the run's, not the best on the fresh seeds: choosing it by the numbers that then
        compare it would favour it.
        """
        best, *others = self.finalists
        wanted = [(first, second) for first in self.finalists for second in baselines_of(first)]
        wanted += [(best, other) for other in (*others, *self.baselines)]
        pairs: dict[frozenset[TrialConfig], Pair] = {}
        for first, second in wanted:
            pair = (first.recipe, second.recipe)
            if first.recipe != second.recipe:
                pairs.setdefault(frozenset(pair), pair)
        return list(pairs.values())

    def trials(self, count: int | None = None) -> list[TrialConfig]:
        """On the first `count` seeds or all of them, seed by seed: if it is interrupted, all
        recipes have the same seeds."""
        sources = self._sources()
        return [replace(config, seed=seed) for seed in self.seeds[:count] for config in sources]

    def with_seeds(
        self, count: int, used: Collection[int], precision: float | None = None
    ) -> "Confirmation":
        """The same on so many seeds, if it has fewer, none of those added among `used`; to this
        precision, that of before only where none is given or added."""
        missing = count - len(self.seeds)
        if missing <= 0:
            return replace(self, precision=precision or self.precision)
        seeds = (*self.seeds, *fresh_seeds({*used, *self.seeds}, missing))
        return replace(self, seeds=seeds, asked=(*self.asked, count), precision=precision)

    def _sources(self) -> list[TrialConfig]:
        """The recipes as their trials are configured, inactive hyperparameters as the run's."""
        baselines = [b for finalist in self.finalists for b in baselines_of(finalist)]
        sources: dict[TrialConfig, TrialConfig] = {}
        for config in (*self.finalists, *baselines, *self.baselines):
            sources.setdefault(config.recipe, config)
        return list(sources.values())
