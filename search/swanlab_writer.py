"""A process beside a sweep that replays its record into SwanLab: one run a trial that ended.

It only reads the run's record, so that nothing that SwanLab does or fails to do reaches a trial or
the record. A trial is written whole once it has ended, whatever number of sessions it took: SwanLab
loses what it has buffered when it is killed, and can't add to a run on disk. The run's id comes
from sweep and trial, so that the cloud knows one that is written again.
"""

import json
import os
import re
import shutil
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

from search.record import ENDED, FAILED, RECORD, Run, TrialRecord, read_run
from search.tracking_modes import CLOUD, OFFLINE, PROBLEM, WRITTEN
from search.trial_words import wording
from trainable.errors import first_line
from trainable.files import read_json, whole_file, write_json

FOLDER = "swanlab"  # in the run's
DONE, LOG = "written.json", "log.txt"
LOOK_SECONDS = 2.0  # between two looks at the record
NICENESS = 10  # trials come first
LONGEST_NAME, LONGEST_TEXT = 100, 1000  # characters that SwanLab takes
NO_METRIC = ("step", "correct", "whole_correct")

Say = Callable[[str], None]
WriteTrial = Callable[[Run, TrialRecord, str, Path], None]


def main() -> int:
    """`python -m search.swanlab_writer RUN MODE`; ends when its input does."""
    folder, mode = Path(sys.argv[1]), sys.argv[2]
    place = folder / FOLDER / mode
    place.mkdir(parents=True, exist_ok=True)
    if hasattr(os, "nice"):
        os.nice(NICENESS)
    say = _own_output(place / LOG)
    over = threading.Event()
    threading.Thread(target=_wait_for_end, args=(over,), daemon=True).start()
    try:
        if mode == CLOUD:
            check_login()
        follow(folder, mode, over, write_trial, say)
    except Exception as error:  # whatever a library or the network raises: tracking is over then
        say(f"{PROBLEM}{first_line(error)}")
        return 1
    return 0


def _own_output(log: Path) -> Say:
    """What writes lines to the sweep; all else that is printed here goes to the log."""
    lines = os.fdopen(os.dup(1), "w", buffering=1)
    with log.open("ab") as file:
        for descriptor in (1, 2):
            os.dup2(file.fileno(), descriptor)

    def say(line: str) -> None:
        with suppress(OSError):  # the sweep may have been killed; what it has recorded is written
            print(line, file=lines, flush=True)

    return say


def _wait_for_end(over: threading.Event) -> None:
    """Until the sweep closes our input, or is gone, however it ended."""
    while os.read(0, 1):
        pass
    over.set()


def follow(folder: Path, mode: str, over: threading.Event, write: WriteTrial, say: Say) -> None:
    """Writes each trial that has ended, once, until the sweep is over and all are written."""
    place, seen = folder / FOLDER / mode, -1
    while True:
        last = over.wait(LOOK_SECONDS)
        record = folder / RECORD
        size = record.stat().st_size if record.is_file() else 0
        if size != seen:
            seen = size
            write_ended(read_run(folder), mode, place, write, say)
        if last:
            return


def write_ended(run: Run, mode: str, place: Path, write: WriteTrial, say: Say) -> None:
    """Writes the trials that have ended and are not written yet, and remembers each."""
    done = dict(read_json(place / DONE)) if (place / DONE).is_file() else {}
    for digest, trial in run.trials.items():
        if trial.outcome not in ENDED or digest in done:
            continue
        # What stands there is of a writer that was killed: empty or half of it.
        shutil.rmtree(place / trial.config.folder_name, ignore_errors=True)
        write(run, trial, mode, place)
        done[digest] = {"id": run_id(run, trial), "evaluations": len(trial.evaluations)}
        with whole_file(place / DONE) as path:
            write_json(path, done)
        say(f"{WRITTEN}{digest}")


def run_id(run: Run, trial: TrialRecord) -> str:
    """The same for a trial of a sweep in every session, and another in another sweep."""
    whose = [run.sweep.get("started"), run.sweep.get("command"), trial.config.digest]
    return f"{trial.config.digest}{sha256(json.dumps(whose).encode()).hexdigest()[:12]}"


def project_name(run: Run) -> str:
    """The sweep's, in the characters that SwanLab takes."""
    return re.sub(r"[^0-9A-Za-z_.+-]", "-", run.folder.name)[:LONGEST_NAME]


def metrics(evaluation: Mapping[str, Any]) -> dict[str, float]:
    """What SwanLab draws of an evaluation, over the optimiser's steps."""
    return {
        key: value
        for key, value in evaluation.items()
        if key not in NO_METRIC and value is not None
    }


def check_login() -> None:
    """RuntimeError where no key for the cloud is kept here."""
    import swanlab

    if swanlab.Settings().api_key is None:
        raise RuntimeError("no login here; `swanlab login` makes one")


def write_trial(run: Run, trial: TrialRecord, mode: str, place: Path) -> None:
    """One SwanLab run: configuration, metrics by step, and how the trial ended."""
    import swanlab

    settings = swanlab.Settings(
        interactive=False,
        run=swanlab.Settings.Run(dir=trial.config.folder_name),
        # This process is not where the trial trained: what it would tell of itself misleads.
        terminal=swanlab.Settings.Terminal(proxy_type="none"),
        probe=swanlab.Settings.Probe(
            hardware=False, runtime=False, requirements=False, git=False, monitor=False
        ),
    )
    active = swanlab.init(
        mode="online" if mode == CLOUD else OFFLINE,
        project=project_name(run),
        name=wording(run)(trial),
        description=trial.reason[:LONGEST_TEXT] or None,
        tags=[trial.outcome],
        id=run_id(run, trial),
        resume="allow",
        log_dir=str(place),
        config={**trial.config.to_dict(), "outcome": trial.outcome, "trial": trial.config.digest},
        settings=settings,
    )
    for evaluation in trial.evaluations:
        active.log(metrics(evaluation), step=evaluation["step"])
    if trial.outcome == FAILED:
        active.finish(state="crashed", error=trial.reason)
    else:
        active.finish(state="success")


if __name__ == "__main__":
    sys.exit(main())
