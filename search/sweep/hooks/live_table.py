"""What a sweep shows while it runs: one live table at a terminal, plain lines elsewhere."""

import atexit
import time
from functools import partial
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from search.policy.progress import progress_of, too_short
from search.record.events import FALLBACK
from search.record.labels import labels_of
from search.record.run import Run
from search.record.trial_record import (
    ENDED,
    FAILED,
    PENDING,
    RUNNING,
    WAITING,
    TrialRecord,
    by_recipe,
)
from search.results.table import rounded
from trainable.common.errors import count_of

HEARTBEAT_SECONDS = 30.0
STYLES = {RUNNING: "bold", FAILED: "red", PENDING: "dim", WAITING: "dim"}


class PlainLines:
    """A line for each trial that ended; with an event, at most one every half minute in all.

    A display receives each event after the run has applied it.
    """

    def __init__(self, console: Console) -> None:
        self._line = partial(console.print, soft_wrap=True, highlight=False, markup=False)
        self._last_printed = time.monotonic()

    def start(self) -> None:
        """Nothing to prepare."""

    def show(self, run: Run, event: dict[str, Any]) -> None:
        """Prints at most three lines."""
        if event["event"] == FALLBACK:
            self._line(f"Not as wanted: {event['reason']}")
            return
        if line := _finals(run, event):
            self._line(line)
        trial = run.trials[event["trial"]]
        if event["event"] in ("evaluation", "failure", "stop") and trial.outcome in ENDED:
            best5 = "     -" if trial.best5 is None else f"{trial.best5:.4f}"
            reason = f" ({trial.reason})" if trial.reason else ""
            self._line(
                f"{trial.outcome:<8} best5 {best5} after {len(trial.evaluations):>2} of "
                f"{trial.config.evaluations} evaluations, {trial.seconds:.0f} s: "
                f"{labels_of(run)(trial)}{reason}"
            )
        elif event["event"] == "failure":
            self._line(f"{event['then']} after {event['reason']}: {labels_of(run)(trial)}")
        now = time.monotonic()
        # Not as a trial leaves its slot: the next has yet to begin in it, and would not be counted.
        if trial.outcome == RUNNING and now - self._last_printed >= HEARTBEAT_SECONDS:
            self._last_printed = now
            self._line("  " + progress_of(run).describe())

    def stop(self) -> None:
        """Nothing to undo."""


class LiveTable:
    """A table redrawn in place: what runs, the last that ended, and the sweep's progress."""

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, refresh_per_second=2)

    def start(self) -> None:
        """Takes over the foot of the terminal."""
        self._live.start()
        atexit.register(self.stop)  # a second Ctrl-C ends Ray without its last hook

    def show(self, run: Run, event: dict[str, Any]) -> None:
        """Redraws; what is of no trial stays above."""
        if event["event"] == FALLBACK:
            self._live.console.print(f"Not as wanted: {event['reason']}", soft_wrap=True)
        elif line := _finals(run, event):
            self._live.console.print(line, soft_wrap=True)
        self._live.update(trials_view(run, max(self._live.console.height - 6, 5)))

    def stop(self) -> None:
        """Leaves the last table standing."""
        self._live.stop()


def _finals(run: Run, event: dict[str, Any]) -> str:
    """A line as the first of a search's finals begins, else nothing."""
    if event["event"] != "start":
        return ""
    finals = [trial for trial in run.trials.values() if trial.final]
    begun = [trial for trial in finals if trial.outcome != PENDING or trial.evaluations]
    if begun != [run.trials[event["trial"]]]:
        return ""
    why = f" For a search before them {short}." if (short := too_short(run)) else ""
    label_of, groups = labels_of(run), by_recipe(finals).values()
    recipes = "; ".join(rounded(label_of(trials[0])) for trials in groups)
    return f"  {count_of(len(finals), 'final')}: {recipes}.{why}"


def trials_view(run: Run, height: int) -> Group:
    """At most `height` trials, the running ones first, then the best of the rest."""
    table = Table(box=None, pad_edge=False)
    table.add_column("trial", overflow="ellipsis", no_wrap=True)
    for header in ("evaluations", "best5", "last"):
        table.add_column(header, justify="right")
    table.add_column("state")
    shown, label_of = sorted(run.trials.values(), key=_importance), labels_of(run)
    for trial in shown[:height]:
        best5, last = "-", "-"
        if trial.evaluations:
            best5, last = f"{trial.best5:.4f}", f"{trial.evaluations[-1]['score']:.4f}"
        table.add_row(
            label_of(trial),
            f"{len(trial.evaluations)} of {trial.config.evaluations}",
            best5,
            last,
            trial.outcome,
            style=STYLES.get(trial.outcome, ""),
        )
    hidden = [Text(f"... and {len(shown) - height} more", style="dim")] * (len(shown) > height)
    return Group(table, *hidden, Text(progress_of(run).describe()))


def _importance(trial: TrialRecord) -> tuple[int, float]:
    rank = 0 if trial.outcome == RUNNING else 1 if trial.outcome in ENDED else 2
    return rank, -(trial.best5 or 0.0)


Display = PlainLines | LiveTable


def make_display(console: Console) -> Display:
    """The live table at a terminal, plain lines where output goes elsewhere."""
    return (LiveTable if console.is_terminal else PlainLines)(console)
