"""What the tests that run real sweeps share."""

import subprocess
import time

from search.record import read_run

CLOCKS = {"training_seconds", "evaluation_seconds", "saving_seconds"}


def run(command, *more):
    """The finished command, with what it printed."""
    return subprocess.run(
        [*command, *more], capture_output=True, text=True, timeout=300, check=False
    )


def timeless(evaluation):
    """An evaluation without its clocks."""
    return {key: value for key, value in evaluation.items() if key not in CLOCKS}


def numbers(folder):
    """Each trial's outcome and evaluations, without clocks."""
    return {
        digest: (trial.outcome, [timeless(evaluation) for evaluation in trial.evaluations])
        for digest, trial in read_run(folder).trials.items()
    }


def wait_for_evaluations(folder, count, process):
    """Until the record has so many evaluations."""
    wait_for(folder, '"evaluation": {', count, process)


def wait_for(folder, text, count, process):
    """Until the record has a text so many times."""
    for _ in range(600):
        assert process.poll() is None, process.communicate()
        record = folder / "record.jsonl"
        if record.exists() and record.read_text().count(text) >= count:
            return
        time.sleep(0.1)
    raise AssertionError(f"not {count} times {text} within a minute")
