"""What is still to come of a run: trials to end, suggestions, finals, more seeds, or nothing."""

from itertools import islice
from math import inf

from search.plan.time_split import least_budget
from search.record.run import Run
from search.record.trial_record import ENDED, FAILED, FINISHED
from search.results.comparisons import has_all_seeds

HOPELESS = 8  # first trials; if all of them fail, so would the others


def is_complete(run: Run) -> bool:
    """Whether all trials have ended, and none is to be added."""
    return not may_grow(run) and all(trial.outcome in ENDED for trial in run.trials.values())


def may_grow(run: Run) -> bool:
    """Whether trials may still be added: suggestions, finals, or more seeds of some recipes."""
    if run.plan.confirms:
        return not has_all_seeds(run)
    return to_suggest(run) > 0 or finals_or_race_open(run)


def finals_or_race_open(run: Run) -> bool:
    """Whether the finals of a search are to come, or its recipes race for more seeds."""
    more = run.request.seeds > 1 or run.request.finals
    return bool(run.request.searched and more and not run.decided)


def finals_to_come(run: Run) -> bool:
    """Whether finals are to come, for the first time or since the search was extended."""
    begun = run.finals_begun and not to_suggest(run)
    return bool(run.request.finals) and finals_or_race_open(run) and not begun


def to_suggest(run: Run) -> float:
    """Configurations that a searcher is still to suggest; infinite where only time limits it, 0
    once the time budget is spent or the space exhausted, and if none trains. As many as there is
    time for, where that is too short to search: the space's own starts."""
    if not run.request.searched or run.exhausted or none_trains(run):
        return 0
    request, short = run.request, [trial for trial in run.trials.values() if not trial.final]
    have = {trial.config.recipe for trial in short}
    over = run.seconds - run.final_seconds >= request.time_to_suggest
    most = min(request.wanted, _most_starts(run) if too_short_to_search(run) else inf)
    return 0 if over else max(0, most - len(have))


def too_short_to_search(run: Run) -> bool:
    """Whether its first trial took too long for as many like it as a search must have time for."""
    known = run.request.finals > 0 and next(iter(run.trials.values())).outcome == FINISHED
    return known and (run.request.time_budget or inf) < budget_to_search(run)


def _most_starts(run: Run) -> float:
    """Trials like its first that there is time for, until it has its finals."""
    begun = run.finals_begun or run.decided
    return 0 if begun else run.request.time_to_suggest // _seconds_of_trial(run)


def budget_to_search(run: Run) -> float:
    """Seconds of the shortest that is not too short, by the first trial and as many slots as there
    were then: later sessions may have others, and what is begun goes on."""
    return least_budget(_seconds_of_trial(run))


def _seconds_of_trial(run: Run) -> float:
    first = next(iter(run.trials.values()))
    return first.seconds / (run.first_slots or run.slots)


def none_trains(run: Run) -> bool:
    """Whether the first HOPELESS trials have all failed before an evaluation."""
    first = islice(run.trials.values(), HOPELESS)
    failed = [trial for trial in first if trial.outcome == FAILED and not trial.evaluations]
    return len(failed) == HOPELESS
