"""A sweep in SwanLab: one SwanLab run a trial, each written by a process of its own.

SwanLab takes one run a process at a time, and its troubles must not reach the sweep. In cloud mode
a trial's process is given each evaluation as it comes. What no process has written completely, in
offline mode all, is replayed from the record when a session ends: SwanLab loses what it has
buffered when it is killed, and can't add to a run on disk. A run's id comes from sweep and trial,
so that the cloud knows one that is written again.
"""

import json
import re
import select
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from hashlib import sha256
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from ray.tune import Callback
from ray.tune.experiment import Trial
from rich.console import Console

from search.plan.swanlab_modes import CLOUD
from search.record.labels import labels_of
from search.record.run import Run
from search.record.trial_record import ENDED, FAILED, TrialRecord
from search.sweep.hooks.ray_private import names_of
from search.sweep.hooks.swanlab_writer import (
    ABORTED,
    CRASHED,
    LOG,
    SUCCESS,
    WRITTEN,
    metrics,
    write,
)
from trainable.common.errors import first_line

FOLDER = "swanlab"  # in the run's folder
PATIENCE_SECONDS = 30.0  # for writers to end
LONGEST_NAME = 100  # characters that SwanLab takes


class Writer:
    """A process that writes one trial; it ends after `finish`, or when this process is gone.

    Nothing waits for it: where it does not take what it is sent, that is left out, and `wait` says
    that not all was written.
    """

    def __init__(self, run: Run, trial: TrialRecord) -> None:
        context = get_context("spawn")
        self._pipe, theirs = context.Pipe()
        arguments = (theirs, describe_trial(run, trial), str(run.folder / FOLDER))
        self.process: BaseProcess = context.Process(target=write, args=arguments, daemon=True)
        self.process.start()
        theirs.close()
        self._all_sent = True
        for evaluation in trial.evaluations:  # of earlier sessions
            self.evaluated(evaluation)

    def evaluated(self, evaluation: Mapping[str, Any]) -> None:
        """One more evaluation; it may come twice."""
        self._send({"step": evaluation["step"], **metrics(evaluation)})

    def finish(self, trial: TrialRecord) -> None:
        """The trial has ended, or the session has."""
        ended = trial.outcome in ENDED
        state = CRASHED if trial.outcome == FAILED else SUCCESS if ended else ABORTED
        self._send((state, trial.reason, self._all_sent))

    def wait(self, until: float) -> bool:
        """Whether all was written, once it has had time for that, until a monotonic deadline."""
        self.process.join(max(0.0, until - time.monotonic()))
        well = self.process.exitcode == 0 and self._all_sent
        self.process.kill()
        return well

    def _send(self, message: Any) -> None:
        with suppress(OSError):  # where it has ended, its exit code says how
            room = select.poll()
            room.register(self._pipe.fileno(), select.POLLOUT)
            if room.poll(0):
                self._pipe.send(message)
            else:
                self._all_sent = False


class SwanLabCallback(Callback):  # type: ignore[misc] # Ray has no types
    """Shows the trials of a sweep in SwanLab's cloud while they train."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._writers: dict[str, Writer] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Ray pickles its callbacks into the run; a resumed run makes its own

    def on_trial_start(self, trial: Trial, **info: Any) -> None:
        """Ray's hook, also for a trial that is tried again or waited."""
        digest = names_of(trial)["trial"]
        if digest not in self._writers:
            self._writers[digest] = Writer(self._run, self._run.trials[digest])

    def on_trial_result(self, trial: Trial, **info: Any) -> None:
        """Ray's hook, after the recorder's: the last evaluation in the record is this one."""
        digest = names_of(trial)["trial"]
        evaluations = self._run.trials[digest].evaluations
        if digest in self._writers and evaluations:
            self._writers[digest].evaluated(evaluations[-1])

    def on_experiment_end(self, **info: Any) -> None:
        """Ray's hook: waits for what is being written."""
        for digest, writer in self._writers.items():
            writer.finish(self._run.trials[digest])
        until = time.monotonic() + PATIENCE_SECONDS
        for writer in self._writers.values():
            writer.wait(until)

    def on_trial_complete(self, trial: Trial, **info: Any) -> None:
        """Ray's hook: the writer may end."""
        record = self._run.trials[names_of(trial)["trial"]]
        if record.outcome in ENDED and record.config.digest in self._writers:
            self._writers[record.config.digest].finish(record)

    on_trial_error = on_trial_complete


def live_callbacks(run: Run, console: Console) -> list[Callback]:
    """What shows the run in SwanLab's cloud, where it asks for that; a line where it can't be."""
    if run.request.swanlab != CLOUD:
        return []
    if problem := cloud_problem():
        console.print(f"SwanLab is off: {problem.rstrip('.')}.", soft_wrap=True)
        return []
    return [SwanLabCallback(run)]


def cloud_problem() -> str:
    """Why SwanLab's cloud can't be used here; empty where it can."""
    try:
        import swanlab

        return "" if swanlab.Settings().api_key else "no login here; `swanlab login` makes one"
    except Exception as error:  # whatever a library raises: the sweep goes on without it
        return first_line(error)


def write_missing(run: Run, console: Console) -> None:
    """Replays the ended trials that are not written yet, in turn; what goes wrong is one line."""
    problem = cloud_problem() if run.request.swanlab == CLOUD else ""
    for trial in run.trials.values() if not problem else ():
        folder = run.folder / FOLDER / run.request.swanlab / trial.config.folder_name
        if trial.outcome not in ENDED or Path(f"{folder}{WRITTEN}").exists():
            continue
        shutil.rmtree(folder, ignore_errors=True)  # of a writer that was killed
        writer = Writer(run, trial)
        writer.finish(trial)
        if not writer.wait(time.monotonic() + PATIENCE_SECONDS):
            problem = f"it could not be written to; see {run.folder / FOLDER / LOG}"
            break
    if problem:
        console.print(f"SwanLab is off: {problem.rstrip('.')}.", soft_wrap=True)


def describe_trial(run: Run, trial: TrialRecord) -> dict[str, Any]:
    """Metadata of a trial for SwanLab, plain values."""
    return {
        "mode": run.request.swanlab,
        "project": re.sub(r"[^0-9A-Za-z_.+-]", "-", run.folder.name)[:LONGEST_NAME],
        "name": labels_of(run)(trial),
        "id": run_id(run, trial),
        "folder": trial.config.folder_name,
        "config": {**asdict(trial.config), "trial": trial.config.digest},
    }


def run_id(run: Run, trial: TrialRecord) -> str:
    """The same for a trial of a sweep in every session, and another in another sweep."""
    made = run.plan.provenance
    whose = [made.get("started"), made.get("command"), trial.config.digest]
    return f"{trial.config.digest}{sha256(json.dumps(whose).encode()).hexdigest()[:12]}"
