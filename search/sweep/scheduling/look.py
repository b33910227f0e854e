"""What a confirmation trains next: the trials of its next look, a function of the record alone."""

from search.record.events import DECIDED
from search.record.run import Run
from search.record.trial_record import ENDED, TrialRecord
from search.results.comparisons import compare_at_looks
from search.results.finalists import Confirmation


def extend_by_look(run: Run) -> list[TrialRecord]:
    """Records the trials that the next look lacks; empty while others have not ended.

    Where all is decided, that is recorded, too.
    """
    if not run.growing or any(trial.outcome not in ENDED for trial in run.trials.values()):
        return []
    _, wanted = compare_at_looks(run, Confirmation.from_dict(run.plan.confirms or {}))
    if not wanted:
        run.append({"event": DECIDED})
    new = [config for config in wanted if config.digest not in run.trials]
    return [run.add_suggestion(config, {}) for config in new]
