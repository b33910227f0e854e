"""The process that writes one trial to SwanLab. Loads nothing but SwanLab: there is one a trial."""

import os
import signal
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from search.plan.swanlab_modes import OFFLINE

LOG = "log.txt"  # beside the modes' folders
LONGEST_TEXT = 1000  # characters that SwanLab takes
NO_METRIC = ("step", "correct", "full_correct")
WRITTEN = ".written"  # ends the name of an empty file beside what was written completely
SUCCESS, CRASHED, ABORTED = "success", "crashed", "aborted"  # SwanLab's states


def metrics(evaluation: Mapping[str, Any]) -> dict[str, float]:
    """What SwanLab draws of an evaluation, over the optimiser's steps."""
    return {k: v for k, v in evaluation.items() if k not in NO_METRIC and v is not None}


def write(pipe: Connection, about: dict[str, Any], place: str) -> None:
    """Writes what comes through the pipe, until the trial has ended or the sweep is gone."""
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
            active.finish(state=ABORTED)
            return
        if isinstance(message, tuple):
            state, reason, complete = message  # whether all was sent
            error = {"error": reason[:LONGEST_TEXT]} if state == CRASHED else {}
            active.finish(state=state, **error)
            if complete and state != ABORTED:
                Path(place, about["mode"], about["folder"] + WRITTEN).touch()
            return
        if message["evaluations"] > last:
            last = message["evaluations"]
            active.log(metrics(message), step=message["step"])


def _open_run(about: Mapping[str, Any], place: str) -> Any:
    import swanlab

    settings = swanlab.Settings(
        interactive=False,
        run=swanlab.Settings.Run(dir=about["folder"]),
        # This process is not where the trial trained: its metadata would mislead.
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
