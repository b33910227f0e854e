"""The learning curves of a run's finished trials, as arrays that schedulers can be replayed on."""

from dataclasses import dataclass, replace

import numpy as np

from search.plan.plan import Plan
from search.plan.request import GRID
from search.plan.rungs import rung_score
from search.record.run import Run
from search.record.trial_record import STOPPED
from search.results.scores import last_score
from trainable.common.errors import UserError, count_of

FEWEST = 4  # curves that a scheduler has something to do with


@dataclass(frozen=True)
class Curves:
    """K trials of E evaluations."""

    plan: Plan  # a sweep of a space that lists these trials
    signals: dict[str, np.ndarray]  # [K, E] by name: what a rung may compare, the larger the better
    score: np.ndarray  # [K]: best5 at the end, by which the winner is chosen
    final: np.ndarray  # [K]: score of the final evaluation, of the full split where there is one

    @property
    def length(self) -> int:
        """Evaluations of each trial."""
        return int(self.signals["last"].shape[1])


def curves_of(run: Run) -> Curves:
    """Of the trials that finished, no finals; UserError if any was stopped, or for hardly any."""
    if stopped := sum(trial.outcome == STOPPED for trial in run.trials.values()):
        raise UserError(
            f"RUN {run.folder.name}: {count_of(stopped)} stopped early, whose ends nobody knows; "
            "give a run made with --scheduler fifo"
        )
    trials = [trial for trial in run.finished if not trial.final]
    if len(trials) < FEWEST:
        raise UserError(
            f"RUN {run.folder.name}: {len(trials)} trials finished; give a run of {FEWEST} or more "
            "(with --scheduler fifo all finish)"
        )
    evaluations = [trial.evaluations for trial in trials]  # [K, E]
    if len(lengths := sorted({len(of_trial) for of_trial in evaluations})) > 1:
        raise UserError(
            f"RUN {run.folder.name}: its trials have {lengths[0]} to {lengths[-1]} evaluations; "
            "give a run whose trials have equally many"
        )
    score, best5, agreement, loss = (
        np.array([[e[key] for e in of_trial] for of_trial in evaluations])
        for key in ("score", "best5", "teacher_agreement", "validation_loss")
    )
    signals = {
        "best5": best5,
        "last": score,
        "agreement": agreement,
        "rung score": np.array([[*map(rung_score, of_trial)] for of_trial in evaluations]),
        "mean of last two": (score + np.c_[score[:, :1], score[:, :-1]]) / 2,
        "validation loss": -loss,
    }
    within = ",".join(run.plan.compare_within) or "all"
    request = replace(run.plan.requests[0], searcher=GRID, compare_within=within)
    configs = tuple(trial.config for trial in trials)
    return Curves(
        plan=replace(run.plan, requests=(request,), trials=configs, confirms=None),
        signals=signals,
        score=best5[:, -1],
        final=np.array([last_score(e[-1]) for e in evaluations]),
    )
