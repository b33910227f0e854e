"""Accuracy against what a student costs: the recipes that nothing cheaper equals."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table

from search.front import against, costs_of, finished_recipes, pareto_front
from search.objectives import DEPTH, LATENCY
from search.record import Run, TrialRecord
from search.statistics import Difference, paired_difference, seeds_difference
from search.trial_words import wording
from search.unit_scores import BOOTSTRAP_SEED, score_interval, unit_scores

COST_NAMES = {DEPTH: "layers", LATENCY: "ms a sentence"}


@dataclass(frozen=True)
class Candidate:
    """A configuration that ran to its end; `cost` is in layers or in milliseconds a sentence.

    best5, a share, is the mean over its seeds, with the leaderboard's 95 % interval. `gain` is of
    one on the front, over the next cheaper one there.
    """

    words: str
    digest: str  # of its first seed's trial
    cost: float
    best5: float
    low: float
    high: float
    seeds: int
    on_front: bool
    gain: Difference | None = None

    @property
    def gain_is_real(self) -> bool:
        """Whether the interval of the gain lies above zero."""
        return self.gain is not None and self.gain.low > 0


def candidates(run: Run) -> list[Candidate]:
    """By rising cost, then falling best5; none where the run weighs nothing against accuracy.

    The gain is of these students on other sentences, and of their recipes where each was trained on
    several seeds.
    """
    if not cost_name(run):
        return []
    words, sentences = wording(run), run.sweep["evaluation_sentences"]
    found = [_Recipe(trials, unit_scores(trials, sentences)) for trials in finished_recipes(run)]
    costs = costs_of(run, [trials for trials, _ in found])
    front = pareto_front(costs, [float(scores.mean()) for _, scores in found])
    gains = _gains([found[index] for index in front])
    gain_of = dict(zip(front, gains, strict=True))
    made = []
    for index, (trials, scores) in enumerate(found):
        interval = score_interval(scores)
        candidate = Candidate(
            words=words(trials[0]),
            digest=trials[0].config.digest,
            cost=costs[index],
            best5=float(scores.mean()),
            low=interval[0],
            high=interval[1],
            seeds=len(trials),
            on_front=index in front,
            gain=gain_of.get(index),
        )
        made.append(candidate)
    return sorted(made, key=lambda candidate: (candidate.cost, -candidate.best5))


def cost_name(run: Run) -> str:
    """What accuracy is weighed against, `layers` or `ms a sentence`; empty for nothing."""
    return COST_NAMES.get(against(run), "")


class _Recipe(NamedTuple):
    """Its finished trials, and their best5 scores by seed and sentence, [S, N]."""

    trials: list[TrialRecord]
    scores: Any

    @property
    def seeds(self) -> list[int]:
        return [trial.config.seed for trial in self.trials]


def _gains(front: Sequence[_Recipe]) -> list[Difference | None]:
    """Of each on the front over the one before it."""
    first: list[Difference | None] = [None] * min(len(front), 1)
    return first + [_gain(one, other) for other, one in itertools.pairwise(front)]


def _gain(one: _Recipe, other: _Recipe) -> Difference:
    if min(len(one.trials), len(other.trials)) > 1:
        alike = one.seeds == other.seeds
        return seeds_difference(one.scores, other.scores, same_seeds=alike)
    means = (one.scores.mean(axis=0), other.scores.mean(axis=0))
    return paired_difference(*means, np.random.default_rng(BOOTSTRAP_SEED))


def print_front(run: Run, console: Console) -> None:
    """The front as a table; nothing where the run weighs nothing against accuracy."""
    front = [candidate for candidate in candidates(run) if candidate.on_front]
    if not front:
        return
    title = f"Accuracy against {against(run)}: nothing cheaper is as accurate"
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    table.add_column("trial")
    for header in (cost_name(run), "best5", "95 % interval", "gain", "95 % interval"):
        table.add_column(header, justify="right", no_wrap=True)
    table.add_column("is it real?")
    for candidate in front:
        table.add_row(
            candidate.words,
            f"{candidate.cost:.3g}",
            f"{candidate.best5:.4f}",
            f"{candidate.low:.3f} - {candidate.high:.3f}",
            *gain_words(candidate),
        )
    console.print(table)
    console.print(
        "gain: over the row above, in points, on the same sentences; within the noise, the cheaper "
        "one will do.",
        style="dim",
    )


def gain_words(candidate: Candidate) -> tuple[str, str, str]:
    """`+1.25`, `+0.30 to +2.20`, `yes`; dashes for the cheapest."""
    gain = candidate.gain
    if gain is None:
        return "-", "-", "-"
    ends = f"{100 * gain.low:+.2f} to {100 * gain.high:+.2f}"
    return f"{100 * gain.estimate:+.2f}", ends, "yes" if candidate.gain_is_real else "within noise"
