"""The score against what a student costs: the recipes that nothing cheaper equals."""

from collections.abc import Sequence
from itertools import pairwise
from statistics import fmean

import pandas as pd
from rich.console import Console

from search.plan.objectives import DEPTH, LATENCY, PARAMETERS, cost_of
from search.record.run import Run
from search.record.trial_record import FINISHED, TrialRecord, by_recipe
from search.results.cells import (
    NO_VALUE,
    Cells,
    as_rich,
    capitalised,
    compact,
    difference_cells,
    interval,
    share,
)
from search.results.table import difference

COST_NAMES = {DEPTH: "layers", LATENCY: "ms per example", PARAMETERS: "million parameters"}
PARETO_NOTE = (
    "gain: over the row above, in points, on the same examples; where it is not significant, "
    "use the cheaper one."
)


def pareto_front(costs: Sequence[float], scores: Sequence[float]) -> list[int]:
    """Indices of the pairs for which no other has a cost as low and a score as high.

    By rising cost. Of equal pairs the first counts.
    """
    front: list[int] = []
    for n in sorted(range(len(costs)), key=lambda n: (costs[n], -scores[n])):
        if not front or scores[n] > scores[front[-1]]:
            front.append(n)
    return front


def cost_name(run: Run) -> str:
    """What the score is weighed against, `layers` or `ms an example`; empty for nothing."""
    return COST_NAMES.get(run.request.against or "", "")


def pareto_trials(run: Run) -> list[TrialRecord]:
    """The best seed of each recipe on the front; none where nothing is weighed."""
    recipes = list(by_recipe(run.finished).values()) if run.request.against else []
    costs = [_cost(trials[0], run) for trials in recipes]
    scores = [fmean(trial.best5 or 0.0 for trial in trials) for trials in recipes]
    front = [recipes[n] for n in pareto_front(costs, scores)]
    return [max(trials, key=lambda trial: trial.best5 or 0.0) for trials in front]


def costs_table(run: Run, recipes: pd.DataFrame) -> pd.DataFrame:
    """The rows of `recipes_table` that finished, by rising `cost`; none where nothing is weighed.

    `cost` is in layers, milliseconds an example or million parameters; `on_front` says whether no
    cheaper one scores as high. `gain` is a Difference, of one on the front, over the next cheaper
    one there: of these students on other examples, and of their recipes where each was trained on
    several seeds.
    """
    students = recipes[(recipes["outcome"] == FINISHED) & bool(run.request.against)]
    students = students.assign(cost=[_cost(run.trials[d], run) for d in students["digest"]])
    students = students.sort_values(["cost", "best5"], ascending=[True, False], ignore_index=True)
    front, names = pareto_front(students["cost"], students["best5"]), students["recipe"]
    gains = {b: difference(names[b], names[a], run) for a, b in pairwise(front)}
    gain = [gains.get(n) for n in students.index]
    return students.assign(on_front=students.index.isin(front), gain=gain)


def _cost(trial: TrialRecord, run: Run) -> float:
    return cost_of(trial.config, run.request.against or "", run.plan.costs)


def print_pareto_front(run: Run, recipes: pd.DataFrame, console: Console) -> None:
    """The front as a table; nothing where the run weighs nothing against the score."""
    cells = pareto_cells(costs_table(run, recipes), cost_name(run))
    if cells.rows:
        metric = capitalised(run.plan.inputs.metric_label)
        title = f"{metric} against {run.request.against}: recipes that no cheaper one equals"
        console.print(as_rich(cells, title))
        console.print(PARETO_NOTE, style="dim")


def pareto_cells(students: pd.DataFrame, cost: str) -> Cells:
    """The front, the cheapest first."""
    headers = ("recipe", cost, "best5", "95% interval", "gain", "95% interval", "significant?")
    rows = []
    for row in students[students["on_front"]].itertuples():
        ends, gain = interval((row.low, row.high)), difference_cells(row.gain)
        significant = NO_VALUE if row.gain is None else "yes" if row.gain.low > 0 else "no"
        label, cost_text = compact(row.label), f"{row.cost:.3g}"
        rows.append((label, cost_text, share(row.best5), ends, *gain, significant))
    return Cells(headers, rows)
