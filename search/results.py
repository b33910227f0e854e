"""Ray's own files of a run, kept in step with its record, so that a ResultGrid shows all of it.

Each session of a run is a new Tuner to Ray, which knows only the trials of that session, and whose
files lag behind when it is killed. Nothing here is needed to resume.
"""

import json
from pathlib import Path
from typing import Any

from search.record import ENDED, Run, TrialRecord
from trainable.files import whole_file

RESULT = "result.json"
EXPERIMENT_STATES = "experiment_state-*.json"


def mend_results(run: Run) -> None:
    """Makes each `result.json` hold the recorded evaluations, and the newest state all trials."""
    for trial in run.trials.values():
        if trial.evaluations:
            _mend_rows(run.trial_folder(trial) / RESULT, trial)
    _merge_states(run.folder)


def _mend_rows(path: Path, trial: TrialRecord) -> None:
    """One row for each recorded evaluation: Ray's where it has it, else made from the record."""
    written = path.read_bytes() if path.is_file() else b""
    rows: dict[int, bytes] = {}
    for line in written.splitlines():
        row = _parsed(line)
        if row is not None and "accuracy" in row:
            rows[row["training_iteration"]] = line
    last = len(trial.evaluations)
    for evaluation in trial.evaluations:
        number = evaluation["evaluations"]
        row = _parsed(rows.get(number, b""))
        if row is None or row["accuracy"] != evaluation["accuracy"]:
            row = {
                **evaluation,
                "training_iteration": number,
                "done": number == last and trial.outcome in ENDED,
                "config": trial.config.to_dict(),
            }
            rows[number] = json.dumps(row).encode()
    wanted = b"".join(rows[number] + b"\n" for number in range(1, last + 1))
    if wanted != written:
        path.parent.mkdir(exist_ok=True)
        with whole_file(path) as temporary:
            temporary.write_bytes(wanted)


def _merge_states(folder: Path) -> None:
    """Adds to the newest of Ray's states the trials that only older ones have."""
    states = [
        (path, state)
        for path in sorted(folder.glob(EXPERIMENT_STATES))
        if (state := _parsed(path.read_bytes())) is not None
    ]
    if len(states) < 2:
        return
    path, newest = states[-1]
    trials = {_trial_folder(entry): entry for _, state in states for entry in state["trial_data"]}
    if len(trials) > len(newest["trial_data"]):
        with whole_file(path) as temporary:
            temporary.write_text(json.dumps({**newest, "trial_data": list(trials.values())}))


def _trial_folder(entry: list[str]) -> str:
    return str(json.loads(entry[0])["relative_logdir"])


def _parsed(text: bytes) -> dict[str, Any] | None:
    """The JSON object of a line or file; None where it is cut short."""
    try:
        values = json.loads(text)
    except ValueError:
        return None
    return values if isinstance(values, dict) else None
