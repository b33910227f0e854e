"""Accuracy against what a student costs: the recipes that nothing cheaper equals."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from rich.console import Console

from search.front import against, costs_of, finished_recipes, pareto_front
from search.leaderboard import (
    NO_VALUE,
    Cells,
    as_rich,
    difference_cells,
    interval,
    share,
)
from search.objectives import DEPTH, LATENCY
from search.record import Run
from search.statistics import Difference
from search.table import best5_interval, difference, rounded
from search.trial_words import wording

COST_NAMES = {DEPTH: "layers", LATENCY: "ms an example"}
FRONT_NOTE = (
    "gain: over the row above, in points, on the same examples; where it is not significant, the "
    "cheaper one will do."
)


@dataclass(frozen=True)
class Candidate:
    """A recipe that ran to its end; `cost` is in layers or in milliseconds an example.

    best5, a share, is the mean over its seeds, with the leaderboard's 95 % interval (None where
    correct/wrong bits are missing). `gain` is of one on the front, over the next cheaper one there.
    """

    label: str
    cost: float
    best5: float
    interval: tuple[float, float] | None
    seeds: int
    on_front: bool
    gain: Difference | None = None


def candidates(run: Run) -> list[Candidate]:
    """By rising cost, then falling best5; none where the run weighs nothing against accuracy.

    The gain is of these students on other examples, and of their recipes where each was trained on
    several seeds.
    """
    if not cost_name(run):
        return []
    label, recipes = wording(run), finished_recipes(run)
    costs = costs_of(run, recipes)
    scores = [fmean(trial.best5 or 0.0 for trial in trials) for trials in recipes]
    front = pareto_front(costs, scores)
    gains = {
        place: difference(recipes[place], recipes[cheaper], run)
        for cheaper, place in itertools.pairwise(front)
    }
    made = [
        Candidate(
            label=rounded(label(trials[0]).removesuffix(f", seed {trials[0].config.seed}")),
            cost=costs[place],
            best5=scores[place],
            interval=best5_interval(trials, run),
            seeds=len(trials),
            on_front=place in front,
            gain=gains.get(place),
        )
        for place, trials in enumerate(recipes)
    ]
    return sorted(made, key=lambda candidate: (candidate.cost, -candidate.best5))


def cost_name(run: Run) -> str:
    """What accuracy is weighed against, `layers` or `ms an example`; empty for nothing."""
    return COST_NAMES.get(against(run), "")


def print_front(run: Run, console: Console) -> None:
    """The front as a table; nothing where the run weighs nothing against accuracy."""
    cells = front_cells(candidates(run), cost_name(run))
    if cells.rows:
        title = f"Accuracy against {against(run)}: recipes that no cheaper one equals"
        console.print(as_rich(cells, title))
        console.print(FRONT_NOTE, style="dim")


def front_cells(found: Sequence[Candidate], cost: str) -> Cells:
    """The front, the cheapest first."""
    headers = ("recipe", cost, "best5", "95 % interval", "gain", "95 % interval", "significant?")
    return Cells(headers, [_cells(candidate) for candidate in found if candidate.on_front])


def _cells(candidate: Candidate) -> tuple[str, ...]:
    gain = candidate.gain
    return (
        candidate.label,
        f"{candidate.cost:.3g}",
        share(candidate.best5),
        interval(candidate.interval),
        *difference_cells(gain),
        NO_VALUE if gain is None else "yes" if gain.low > 0 else "no",
    )
