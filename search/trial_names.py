"""How a trial is named on a command line: by its digest or its folder, whole or its beginning."""

from pathlib import Path

from search.record import Run, TrialRecord
from search.trial_words import wording
from trainable.errors import UserError, nearest

SHORTEST = 4  # characters
LISTED = 5  # trials in an error's line


def find_trial(run: Run, name: str) -> TrialRecord:
    """The one trial whose digest or folder's name begins so; UserError for none and for several."""
    prefix = Path(name).name  # the folder may be given as a path
    found = [trial for trial in run.trials.values() if _begins(trial, prefix)]
    if len(prefix) < SHORTEST or not found:
        hint = nearest(prefix, [trial.config.folder_name for trial in run.trials.values()])
        raise UserError(
            f"--trial {name}: no such trial in {run.folder.name}; {hint}give the first {SHORTEST} "
            "or more characters of its digest or of its folder's name"
        )
    if len(found) > 1:
        label = wording(run)
        listed = [f"{trial.config.digest} ({label(trial)})" for trial in found[:LISTED]]
        more = ["..."] if len(found) > LISTED else []
        raise UserError(
            f"--trial {name}: {len(found)} trials begin so: {'; '.join([*listed, *more])}"
        )
    return found[0]


def _begins(trial: TrialRecord, prefix: str) -> bool:
    config = trial.config
    return config.digest.startswith(prefix.lower()) or config.folder_name.startswith(prefix)
