"""The learning curves of a run's finished trials, as arrays that schedulers can be replayed on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from search.plan.plan import Plan
from search.plan.rungs import rung_score
from search.plan.searchers import GRID
from search.record.run import Run
from search.record.trial_record import FINISHED
from trainable.common.errors import UserError

FEWEST = 4  # curves that a scheduler has something to do with


@dataclass(frozen=True)
class Curves:
    """K trials of E evaluations."""

    plan: Plan  # a sweep of a space that lists these trials
    signals: dict[str, np.ndarray]  # [K, E] by name: what a rung may compare, the larger the better
    score: np.ndarray  # [K]: best5 at the end, by which the winner is chosen
    final: np.ndarray  # [K]: accuracy of the final evaluation, of the full split where there is one

    @cached_property
    def number_of(self) -> dict[str, int]:
        """The position of each trial in these arrays, by its digest."""
        return {config.digest: k for k, config in enumerate(self.plan.trials)}

    @property
    def length(self) -> int:
        """Evaluations of each trial."""
        return int(self.signals["last"].shape[1])


def curves_of(run: Run) -> Curves:
    """Of the trials that finished; UserError where there are hardly any."""
    trials = [trial for trial in run.trials.values() if trial.outcome == FINISHED]
    if len(trials) < FEWEST:
        raise UserError(
            f"RUN {run.folder.name}: {len(trials)} trials finished; give a run of {FEWEST} or more "
            "(with --scheduler fifo all finish)"
        )
    accuracy = _values(trials, lambda e: e["accuracy"])
    signals = {
        "best5": _values(trials, lambda e: e["best5_accuracy"]),
        "last": accuracy,
        "agreement": _values(trials, lambda e: e["teacher_agreement"]),
        "rung score": _values(trials, rung_score),
        "mean of last two": (accuracy + np.roll(accuracy, 1, axis=1)) / 2,
        "validation loss": -_values(trials, lambda e: e["validation_loss"]),
    }
    signals["mean of last two"][:, 0] = accuracy[:, 0]
    within = ",".join(run.plan.compare_within) or "all"
    last = [trial.evaluations[-1] for trial in trials]
    return Curves(
        plan=replace(
            run.plan,
            requests=(replace(run.plan.requests[0], searcher=GRID, compare_within=within),),
            trials=tuple(trial.config for trial in trials),
            confirms=None,
        ),
        signals=signals,
        score=signals["best5"][:, -1],
        final=np.array([e.get("full_accuracy") or e["accuracy"] for e in last]),
    )


def _values(trials: Sequence[Any], value: Callable[[dict[str, Any]], float]) -> np.ndarray:
    return np.array([[value(e) for e in trial.evaluations] for trial in trials])
