"""The trials of one recipe, one a seed."""

from collections.abc import Iterable

from search.record.trial_record import TrialRecord


def units_of(trials: Iterable[TrialRecord]) -> dict[str, list[TrialRecord]]:
    """The trials of each recipe, one a seed, by the recipe's digest; all in the order given."""
    units: dict[str, list[TrialRecord]] = {}
    for trial in trials:
        units.setdefault(trial.config.recipe.digest, []).append(trial)
    return units


def most_seeds(trials: Iterable[TrialRecord]) -> int:
    """Of any recipe; 0 without trials."""
    return max(map(len, units_of(trials).values()), default=0)
