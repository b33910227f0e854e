"""Accuracy against what a student costs: the recipes that nothing cheaper equals."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from rich.console import Console
from rich.table import Table

from search.objectives import DEPTH, LATENCY, cost_of
from search.record import FINISHED, Run, TrialRecord
from search.statistics import (
    Difference,
    best5_scores,
    paired_difference,
    seeds_difference,
    sentence_interval,
)
from search.table import correct_bits
from search.trial_words import wording
from search.unit_scores import BOOTSTRAP_SEED
from trainable.config import TrialConfig

COST_NAMES = {DEPTH: "layers", LATENCY: "ms a sentence"}


@dataclass(frozen=True)
class Candidate:
    """A configuration that ran to its end; `cost` is in layers or in milliseconds a sentence.

    best5, a share, is the mean over its seeds, with its 95 % interval over evaluation sentences.
    `gain` is of one on the front, over the next cheaper one there.
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
    words = wording(run)
    found = [(_scores(trials, run), trials) for trials in _finished(run).values()]
    latencies = run.sweep.get(LATENCY, {})
    costs = [cost_of(trials[0].config, against(run), latencies) for _, trials in found]
    front = pareto_front(costs, [float(scores.mean()) for scores, _ in found])
    gains = _gains([found[index][0] for index in front])
    gain_of = dict(zip(front, gains, strict=True))
    made = []
    for index, (scores, trials) in enumerate(found):
        interval = sentence_interval(scores.mean(axis=0), np.random.default_rng(BOOTSTRAP_SEED))
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


def against(run: Run) -> str:
    """What accuracy is weighed against, by the name that `--against` has for it."""
    requests = run.sweep.get("requests", [])
    return str(requests[-1].get("against") or "") if requests else ""


def pareto_front(costs: Sequence[float], scores: Sequence[float]) -> list[int]:
    """Places of the pairs that no other has a lower or equal cost and a higher or equal score than.

    By rising cost. Of equal pairs the first counts.
    """
    order = sorted(range(len(costs)), key=lambda place: (costs[place], -scores[place]))
    front: list[int] = []
    for place in order:
        if not front or scores[place] > scores[front[-1]]:
            front.append(place)
    return front


def _finished(run: Run) -> dict[TrialConfig, list[TrialRecord]]:
    """The trials that ran to their end, by recipe."""
    found: dict[TrialConfig, list[TrialRecord]] = {}
    for trial in run.trials.values():
        if trial.outcome == FINISHED:
            found.setdefault(trial.config.recipe, []).append(trial)
    return found


def _scores(trials: Sequence[TrialRecord], run: Run) -> np.ndarray:
    """best5 scores by seed and sentence, [S, N]."""
    return np.array([best5_scores(list(correct_bits(trial, run))) for trial in trials])


def _gains(front: Sequence[np.ndarray]) -> list[Difference | None]:
    """Of each on the front over the one before it."""
    first: list[Difference | None] = [None] * min(len(front), 1)
    return first + [_gain(one, other) for other, one in itertools.pairwise(front)]


def _gain(one: np.ndarray, other: np.ndarray) -> Difference:
    if min(len(one), len(other)) > 1:
        return seeds_difference(one, other, same_seeds=len(one) == len(other))
    generator = np.random.default_rng(BOOTSTRAP_SEED)
    return paired_difference(one.mean(axis=0), other.mean(axis=0), generator)


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
