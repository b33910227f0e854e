"""A sweep in SwanLab: one SwanLab run a trial, replayed from the record once the trial has ended.

A process of its own does that while the sweep runs: SwanLab takes one run a process at a time, and
its troubles must not reach the sweep. It loses what it has buffered when it is killed, and can't
add to a run on disk, so a trial that was not written completely is written again in the next
session. Its id stays, so that the cloud recognises it.
"""

import re
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from search.plan.request import CLOUD, OFF, OFFLINE
from search.record.labels import labels_of
from search.record.run import Run, read_run
from search.record.trial_record import ENDED, FAILED, TrialRecord
from search.sweep.processes.signals import Interruption
from trainable.common.errors import first_line
from trainable.engine.metrics import PREDICTIONS

FOLDER, LOG = "swanlab", "log.txt"  # in the run's folder; in that one, beside the modes' folders
POLL_SECONDS = 10.0  # between two looks at the record
PATIENCE_SECONDS = 30  # for one trial to be written
LONGEST_NAME, LONGEST_TEXT = 100, 1000  # characters that SwanLab takes
NO_METRIC = ("step", *PREDICTIONS)


@contextmanager
def tracked(run: Run, console: Console, interruption: Interruption) -> Iterator[None]:
    """Writes trials to SwanLab as they end, if the run asks for that. All are written when the
    block ends, unless the sweep was interrupted. Prints what goes wrong in one line."""
    if problem := cloud_problem() if run.request.swanlab == CLOUD else "":
        console.print(f"SwanLab is off: {problem.rstrip('.')}.", soft_wrap=True)
    if problem or run.request.swanlab == OFF:
        yield
        return
    (log := run.folder / FOLDER / LOG).parent.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "search.sweep.swanlab", str(run.folder)]
    with log.open("ab") as file:  # a session of its own: Ctrl-C at the terminal is the sweep's
        writer = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=file, stderr=file, start_new_session=True
        )
    assert writer.stdin is not None
    try:
        yield
        writer.stdin.close()  # which tells it that the sweep has ended
        if not interruption.requested and writer.wait() != 0:
            console.print(f"SwanLab is off: not all could be written; see {log}.", soft_wrap=True)
    finally:
        writer.kill()


def cloud_problem() -> str:
    """Why SwanLab's cloud can't be used here; empty if it can."""
    try:
        import swanlab

        return "" if swanlab.Settings().api_key else "no login here; `swanlab login` makes one"
    except Exception as error:  # whatever a library raises: the sweep goes on without it
        return first_line(error)


def main(run_folder: Path) -> None:
    """Writes the trials of a run as they end, until the sweep has ended."""
    sweep_ended = False
    while not sweep_ended:
        sweep_ended = bool(select.select([sys.stdin], [], [], POLL_SECONDS)[0])
        run = read_run(run_folder)
        for trial in run.trials.values():
            folder = run_folder / FOLDER / run.request.swanlab / trial.config.folder_name
            if trial.outcome in ENDED and not folder.exists():
                signal.alarm(PATIENCE_SECONDS)  # ends this process if SwanLab hangs
                partial = folder.with_name(f".{folder.name}")
                shutil.rmtree(partial, ignore_errors=True)  # of a writer that was killed
                write_trial(run, trial, partial)
                partial.rename(folder)
                signal.alarm(0)


def write_trial(run: Run, trial: TrialRecord, folder: Path) -> None:
    """Replays a trial that has ended into a SwanLab run with its files in this new folder."""
    import swanlab

    settings = swanlab.Settings(
        interactive=False,
        run=swanlab.Settings.Run(dir=folder.name),
        # This process is not where the trial trained: its metadata would mislead.
        terminal=swanlab.Settings.Terminal(proxy_type="none"),
        probe=swanlab.Settings.Probe(
            hardware=False, runtime=False, requirements=False, git=False, monitor=False
        ),
    )
    active = swanlab.init(
        mode=OFFLINE if run.request.swanlab == OFFLINE else "online",
        project=re.sub(r"[^0-9A-Za-z_.+-]", "-", run.folder.name)[:LONGEST_NAME],
        name=labels_of(run)(trial),
        id=f"{trial.config.digest}{run.plan.identity[:12]}",
        resume="allow",
        log_dir=str(folder.parent),
        config={**asdict(trial.config), "trial": trial.config.digest},
        settings=settings,
    )
    metric = run.plan.inputs.metric
    for evaluation in trial.evaluations:
        named = {metric: evaluation["score"], f"best5_{metric}": evaluation["best5"]}
        metrics = {k: v for k, v in evaluation.items() if k not in NO_METRIC and v is not None}
        active.log(metrics | named, step=evaluation["step"])
    failed = trial.outcome == FAILED
    error = {"error": trial.reason[:LONGEST_TEXT]} if failed else {}
    active.finish(state="crashed" if failed else "success", **error)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
