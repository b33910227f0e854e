"""The trials of one recipe, one a seed."""

from collections.abc import Iterable

from search.record.trial_record import TrialRecord


def by_recipe(trials: Iterable[TrialRecord]) -> dict[str, list[TrialRecord]]:
    """The trials of each recipe, one a seed, by the recipe's digest; all in the order given."""
    groups: dict[str, list[TrialRecord]] = {}
    for trial in trials:
        groups.setdefault(trial.config.recipe.digest, []).append(trial)
    return groups


def most_seeds(trials: Iterable[TrialRecord]) -> int:
    """Of any recipe; 0 without trials."""
    return max(map(len, by_recipe(trials).values()), default=0)
