"""A sweep in SwanLab: one SwanLab run a trial, each written by a process of its own.

SwanLab takes one run a process at a time, and its troubles must not reach the sweep. In cloud mode
a trial's process is given each evaluation as it comes. What no process has written whole, in
offline mode all, is replayed from the record when a session ends: SwanLab loses what it has
buffered when it is killed, and can't add to a run on disk. A run's id comes from sweep and trial,
so that the cloud knows one that is written again.
"""

import json
import os
import re
import shutil
import signal
from collections.abc import Mapping
from contextlib import suppress
from hashlib import sha256
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from ray.tune import Callback
from ray.tune.experiment import Trial
from rich.console import Console

from search.record import ENDED, FAILED, Run, TrialRecord
from search.resuming import digest_of
from search.tracking_modes import CLOUD, OFFLINE
from search.trial_words import wording
from trainable.errors import first_line
from trainable.files import read_json, whole_file, write_json

FOLDER, DONE, LOG = "swanlab", "written.json", "log.txt"  # in the run's folder
PATIENCE_SECONDS = 30.0  # for a writer to end
LONGEST_NAME, LONGEST_TEXT = 100, 1000  # characters that SwanLab takes
NO_METRIC = ("step", "correct", "whole_correct")
FINISH = "finish"  # the last message to a writer, with the trial's outcome


class Writer:
    """A process that writes one trial; it ends after FINISH, or when this process is gone."""

    def __init__(self, run: Run, trial: TrialRecord) -> None:
        context = get_context("spawn")
        self._pipe, theirs = context.Pipe()
        arguments = (theirs, describe_trial(run, trial), str(run.folder / FOLDER))
        self.process: BaseProcess = context.Process(target=_write, args=arguments, daemon=True)
        self.process.start()
        theirs.close()
        for evaluation in trial.evaluations:  # of earlier sessions
            self.send(evaluation)

    def send(self, message: Mapping[str, Any] | tuple[str, str, str]) -> None:
        """An evaluation, or FINISH with outcome and reason; nothing where the process has died."""
        with suppress(OSError):
            self._pipe.send(message)

    def finish(self, trial: TrialRecord) -> None:
        """The trial has ended, or the session has."""
        self.send((FINISH, trial.outcome, trial.reason))

    def wait(self) -> bool:
        """Whether all was written, once it has had time for that."""
        self.process.join(PATIENCE_SECONDS)
        well = self.process.exitcode == 0
        self.process.kill()
        return well


class SwanLabCallback(Callback):  # type: ignore[misc] # Ray has no types
    """Shows the trials of a sweep in SwanLab's cloud while they train."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._writers: dict[str, Writer] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Ray pickles its callbacks into the run; a resumed run makes its own

    def on_trial_start(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        """Ray's hook, also for a trial that is tried again or waited."""
        digest = digest_of(trial)
        if digest not in self._writers:
            self._writers[digest] = Writer(self._run, self._run.trials[digest])

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: Any, **info: Any
    ) -> None:
        """Ray's hook, after the recorder's: the last evaluation in the record is this one."""
        digest = digest_of(trial)
        evaluations = self._run.trials[digest].evaluations
        if digest in self._writers and evaluations:
            self._writers[digest].send(evaluations[-1])

    def on_experiment_end(self, trials: list[Trial], **info: Any) -> None:
        """Ray's hook: waits for what is being written, and remembers what is."""
        for digest, writer in self._writers.items():
            writer.finish(self._run.trials[digest])
        for digest, writer in self._writers.items():
            if writer.wait() and self._run.trials[digest].outcome in ENDED:
                _remember(self._run, digest)

    def on_trial_complete(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        """Ray's hook: the writer may end."""
        record = self._run.trials[digest_of(trial)]
        if record.outcome in ENDED and record.config.digest in self._writers:
            self._writers[record.config.digest].finish(record)

    on_trial_error = on_trial_complete


def cloud_problem() -> str:
    """Why SwanLab's cloud can't be used here; empty where it can."""
    try:
        import swanlab

        return "" if swanlab.Settings().api_key else "no login here; `swanlab login` makes one"
    except Exception as error:  # whatever a library raises: the sweep goes on without it
        return first_line(error)


def write_missing(run: Run, console: Console) -> None:
    """Replays the trials that have ended and are not written yet, one after the other; what goes
    wrong is one line."""
    problem = cloud_problem() if run.request.swanlab == CLOUD else ""
    done = _written(run)
    missing = {d: t for d, t in run.trials.items() if t.outcome in ENDED and d not in done}
    for digest, trial in missing.items() if not problem else ():
        # What stands there is of a writer that was killed: empty or half of it.
        folder = run.folder / FOLDER / run.request.swanlab / trial.config.folder_name
        shutil.rmtree(folder, ignore_errors=True)
        writer = Writer(run, trial)
        writer.finish(trial)
        if not writer.wait():
            problem = f"it could not be written to; see {run.folder / FOLDER / LOG}"
            break
        _remember(run, digest)
    if problem:
        console.print(f"SwanLab is off: {problem.rstrip('.')}.", soft_wrap=True)


def describe_trial(run: Run, trial: TrialRecord) -> dict[str, Any]:
    """What SwanLab is told of a trial, plain values."""
    return {
        "mode": run.request.swanlab,
        "project": re.sub(r"[^0-9A-Za-z_.+-]", "-", run.folder.name)[:LONGEST_NAME],
        "name": wording(run)(trial),
        "id": run_id(run, trial),
        "folder": trial.config.folder_name,
        "config": {**trial.config.to_dict(), "trial": trial.config.digest},
    }


def run_id(run: Run, trial: TrialRecord) -> str:
    """The same for a trial of a sweep in every session, and another in another sweep."""
    made = run.plan.provenance
    whose = [made.get("started"), made.get("command"), trial.config.digest]
    return f"{trial.config.digest}{sha256(json.dumps(whose).encode()).hexdigest()[:12]}"


def metrics(evaluation: Mapping[str, Any]) -> dict[str, float]:
    """What SwanLab draws of an evaluation, over the optimiser's steps."""
    return {k: v for k, v in evaluation.items() if k not in NO_METRIC and v is not None}


def _written(run: Run) -> set[str]:
    path = run.folder / FOLDER / run.request.swanlab / DONE
    return set(read_json(path)) if path.is_file() else set()


def _remember(run: Run, digest: str) -> None:
    path = run.folder / FOLDER / run.request.swanlab / DONE
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as temporary:
        write_json(temporary, sorted({*_written(run), digest}))


def _write(pipe: Connection, about: dict[str, Any], place: str) -> None:
    """The process of a Writer."""
    os.setsid()  # Ctrl-C is the sweep's to handle
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Path(place, about["mode"]).mkdir(parents=True, exist_ok=True)
    with Path(place, LOG).open("ab") as log:
        for descriptor in (1, 2):
            os.dup2(log.fileno(), descriptor)
    active, last = _open_run(about, place), 0
    while True:
        try:
            message = pipe.recv()
        except EOFError:  # the sweep is gone
            active.finish(state="aborted")
            return
        if isinstance(message, tuple):
            _, outcome, reason = message
            failed = {"state": "crashed", "error": reason[:LONGEST_TEXT]}
            active.finish(**(failed if outcome == FAILED else {"state": "success"}))
            return
        if message["evaluations"] > last:
            last = message["evaluations"]
            active.log(metrics(message), step=message["step"])


def _open_run(about: Mapping[str, Any], place: str) -> Any:
    import swanlab

    settings = swanlab.Settings(
        interactive=False,
        run=swanlab.Settings.Run(dir=about["folder"]),
        # This process is not where the trial trained: what it would tell of itself misleads.
        terminal=swanlab.Settings.Terminal(proxy_type="none"),
        probe=swanlab.Settings.Probe(
            hardware=False, runtime=False, requirements=False, git=False, monitor=False
        ),
    )
    return swanlab.init(
        mode=OFFLINE if about["mode"] == OFFLINE else "online",
        project=about["project"],
        name=about["name"],
        id=about["id"],
        resume="allow",
        log_dir=str(Path(place, about["mode"])),
        config=about["config"],
        settings=settings,
    )
