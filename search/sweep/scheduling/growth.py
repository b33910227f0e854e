"""What is added to a run while it runs: a function of its record alone."""

from search.plan.draws import Draw
from search.record.events import DECIDED, EXHAUSTED
from search.record.run import Run
from search.record.trial_record import ENDED, TrialRecord
from search.results.comparisons import compare_at_looks
from search.results.finalists import Confirmation
from search.sweep.scheduling.optuna_search import suggest, write_study
from search.sweep.scheduling.race import wanted_by_race
from trainable.config.trial_config import TrialConfig


def grow(run: Run) -> list[TrialRecord]:
    """Records the trials that come next; empty where none are wanted, or others must end first.

    They are a searcher's next configuration; once all trials have ended, those that the race or a
    confirmation's next look lacks. Where nothing new is found, as in a space of which most is
    pinned, that is recorded, too, and so is that all is decided. A searched run's study is written
    with each.
    """
    added = [run.add_suggestion(config, drawn) for config, drawn in _lacking(run)]
    if added and run.request.searched:
        write_study(run)
    return added


def _lacking(run: Run) -> list[tuple[TrialConfig, Draw]]:
    if run.to_suggest:
        if (found := suggest(run)) is not None:
            return [found]
        run.append({"event": EXHAUSTED})
    if not run.growing or any(trial.outcome not in ENDED for trial in run.trials.values()):
        return []
    if run.plan.confirms:
        _, configs = compare_at_looks(run, Confirmation.from_dict(run.plan.confirms))
        wanted = [(config, Draw()) for config in configs]
    else:
        wanted = wanted_by_race(run)
    lacking = [one for one in wanted if one[0].digest not in run.trials]
    if not lacking:
        run.append({"event": DECIDED})
    return lacking
