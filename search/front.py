"""Which trials are on the Pareto front of accuracy against cost, by their scores alone. Pure."""

from collections.abc import Sequence
from statistics import fmean

from search.objectives import cost_of
from search.record import FINISHED, Run, TrialRecord
from search.units import units_of


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


def against(run: Run) -> str:
    """What accuracy is weighed against, by the name that `--against` has for it; empty for nothing.

    A confirmation weighs nothing.
    """
    return "" if run.plan.confirms is not None else run.request.against or ""


def finished_recipes(run: Run) -> list[list[TrialRecord]]:
    """The trials that ran to their end, by recipe."""
    finished = [trial for trial in run.trials.values() if trial.outcome == FINISHED]
    return list(units_of(finished).values())


def costs_of(run: Run, recipes: Sequence[Sequence[TrialRecord]]) -> list[float]:
    """What a student of each recipe costs to run."""
    return [cost_of(trials[0].config, against(run), run.plan.latency) for trials in recipes]


def front_trials(run: Run) -> list[TrialRecord]:
    """The best seed of each recipe on the front; none where nothing is weighed."""
    recipes = finished_recipes(run) if against(run) else []
    scores = [fmean(trial.best5 or 0.0 for trial in trials) for trials in recipes]
    front = pareto_front(costs_of(run, recipes), scores)
    return [max(recipes[place], key=lambda trial: trial.best5 or 0.0) for place in front]
