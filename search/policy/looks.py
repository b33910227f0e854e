"""A confirmation's looks: its recipes get more seeds while one of their comparisons is open."""

from search.record.run import Run
from search.record.trial_record import ENDED
from search.results.comparisons import compare_at_looks, trials_at_look
from search.results.confirmation import Confirmation
from trainable.config.fields import from_plain
from trainable.config.trial_config import TrialConfig


def wanted_at_look(run: Run) -> list[TrialConfig]:
    """The trials of the next look; empty once all is decided or the most seeds are there."""
    assert run.plan.confirms is not None
    confirmation: Confirmation = from_plain(Confirmation, run.plan.confirms)
    comparisons = compare_at_looks(run, confirmation)
    ended = {digest for digest, trial in run.trials.items() if trial.outcome in ENDED}
    for look in confirmation.looks:
        trials = trials_at_look(confirmation, look, comparisons)
        if any(config.digest not in ended for config in trials):
            return trials
    return []
