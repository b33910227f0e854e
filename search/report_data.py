"""What the report's figures show, as plain numbers: computed here, drawn in `search.figures`."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, median

import pandas as pd

from search.record import FINISHED, STOPPED, Run, TrialRecord
from search.strata import rungs, stratum_of
from search.trial_words import wording
from search.unit_scores import outcome_of, rows_of, unit_words
from trainable.alpha import alpha_at
from trainable.config import TrialConfig
from trainable.names import ALPHA_SCHEDULES

DRAWN_STEPS = 241  # of a schedule's curve


@dataclass(frozen=True)
class Curve:
    """A trial's accuracy at each of its evaluations, a share of right sentences."""

    digest: str
    words: str
    outcome: str
    accuracies: tuple[float, ...]


@dataclass(frozen=True)
class CurvePanel:
    """The curves of the trials that were compared with one another, and when that was."""

    stratum: str
    evaluations: int  # of a whole trial
    rungs: tuple[int, ...]  # numbers of evaluations; none where nothing is stopped early
    curves: tuple[Curve, ...]


@dataclass(frozen=True)
class AlphaCurve:
    """A schedule as alpha over the share of a trial's steps; `value` is alpha or sharpness."""

    schedule: str
    value: float
    trials: int
    progress: tuple[float, ...]
    alpha: tuple[float, ...]


@dataclass(frozen=True)
class EarlyStop:
    """A trial (or a recipe on several seeds, by its mean) that ASHA ended, beside those of its
    stratum that have as many evaluations."""

    words: str
    stratum: str
    evaluations: int
    best5: float  # at that number of evaluations
    median: float  # of all that got so far, at the same number
    rank: int  # among them, 1 for the highest
    among: int


@dataclass(frozen=True)
class RungCount:
    """What became at one rung of the trials of a stratum, or of its recipes on several seeds."""

    stratum: str
    evaluations: int
    reached: int
    stopped: int


@dataclass(frozen=True)
class Point:
    """A trial in the panels of best5 by schedule, sharpness and initialisation."""

    digest: str
    value: float  # sharpness, or alpha of a fixed one
    layers: str
    best5: float
    low: float
    high: float
    whole: bool  # whether it ran to its end


@dataclass(frozen=True)
class PointPanel:
    """One initialisation under one schedule."""

    initialisation: str
    schedule: str
    points: tuple[Point, ...]


def by_stratum(run: Run) -> dict[str, list[TrialRecord]]:
    """Trials by the name of their stratum, in the order planned."""
    strata: dict[str, list[TrialRecord]] = {}
    for trial in run.trials.values():
        name = stratum_of(trial.config.to_dict(), run.sweep["compare_within"])
        strata.setdefault(name, []).append(trial)
    return strata


def rungs_of(run: Run) -> tuple[int, ...]:
    """The numbers of evaluations at which ASHA decided; none under another scheduler."""
    if run.sweep["scheduler"] != "asha" or not run.trials:
        return ()
    evaluations = next(iter(run.trials.values())).config.evaluations
    return tuple(rungs(evaluations, run.sweep["grace_evaluations"]))


def learning_curves(run: Run) -> list[CurvePanel]:
    """A panel a stratum with something to show, the one with the highest accuracy first."""
    panels, words = [], wording(run)
    for stratum, trials in by_stratum(run).items():
        curves = tuple(_curve(trial, words(trial)) for trial in trials if trial.evaluations)
        if curves:
            whole = trials[0].config.evaluations
            panels.append(CurvePanel(stratum, whole, rungs_of(run), curves))
    return sorted(panels, key=lambda panel: -max(max(c.accuracies) for c in panel.curves))


def _curve(trial: TrialRecord, words: str) -> Curve:
    accuracies = tuple(float(e["accuracy"]) for e in trial.evaluations)
    return Curve(trial.config.digest, words, trial.outcome, accuracies)


def alpha_curves(configs: Iterable[TrialConfig]) -> dict[str, list[AlphaCurve]]:
    """By schedule, in the order of ALPHA_SCHEDULES, one curve for each value in use, rising."""
    counts: dict[tuple[str, float], int] = {}
    for config in configs:
        key = (config.alpha_schedule, _value(config))
        counts[key] = counts.get(key, 0) + 1
    drawn: dict[str, list[AlphaCurve]] = {}
    for schedule in ALPHA_SCHEDULES:
        values = sorted(value for name, value in counts if name == schedule)
        if values:
            drawn[schedule] = [
                _alpha_curve(schedule, value, counts[schedule, value]) for value in values
            ]
    return drawn


def _value(config: TrialConfig) -> float:
    """What tells two trials of one schedule apart: alpha where it is fixed, else sharpness."""
    value = config.alpha if config.alpha_schedule == "fixed" else config.sharpness
    assert value is not None  # TrialConfig sees to it
    return value


def _alpha_curve(schedule: str, value: float, trials: int) -> AlphaCurve:
    steps = range(DRAWN_STEPS)
    given = {"alpha" if schedule == "fixed" else "sharpness": value}
    return AlphaCurve(
        schedule,
        value,
        trials,
        progress=tuple(step / (DRAWN_STEPS - 1) for step in steps),
        alpha=tuple(alpha_at(step, DRAWN_STEPS, schedule, **given) for step in steps),
    )


def _compared(run: Run) -> dict[str, list[list[TrialRecord]]]:
    """What ASHA compares, by stratum: trials, or all seeds of each recipe."""
    strata: dict[str, list[list[TrialRecord]]] = {}
    for trials in rows_of(run):
        name = stratum_of(trials[0].config.to_dict(), run.sweep["compare_within"])
        strata.setdefault(name, []).append(trials)
    return strata


def early_stops(run: Run) -> list[EarlyStop]:
    """Each that ASHA ended: how it stood among those with as many evaluations, by stratum."""
    found, words_of = [], wording(run)
    for stratum, groups in _compared(run).items():
        stopped = [trials for trials in groups if outcome_of(trials) == STOPPED]
        for trials in sorted(stopped, key=_by_length_and_score):
            number = _reached(trials)
            scores = [_best5_at(other, number) for other in groups if _reached(other) >= number]
            own, words = _best5_at(trials, number), words_of(trials[0])
            found.append(
                EarlyStop(
                    words=words if len(trials) == 1 else unit_words(words, trials[0]),
                    stratum=stratum,
                    evaluations=number,
                    best5=own,
                    median=median(scores),
                    rank=1 + sum(score > own for score in scores),
                    among=len(scores),
                )
            )
    return found


def _by_length_and_score(trials: Sequence[TrialRecord]) -> tuple[int, float]:
    return -_reached(trials), -_best5_at(trials, _reached(trials))


def _reached(trials: Sequence[TrialRecord]) -> int:
    return max(len(trial.evaluations) for trial in trials)


def _best5_at(trials: Sequence[TrialRecord], number: int) -> float:
    """The mean over those that came so far."""
    found = [t.evaluations[number - 1] for t in trials if len(t.evaluations) >= number]
    return fmean(float(evaluation["best5_accuracy"]) for evaluation in found)


def rung_counts(run: Run) -> list[RungCount]:
    """For each stratum and rung, how many came so far and how many ended there."""
    return [
        RungCount(
            stratum,
            rung,
            reached=sum(_reached(trials) >= rung for trials in groups),
            stopped=sum(outcome_of(ts) == STOPPED and _reached(ts) == rung for ts in groups),
        )
        for stratum, groups in _compared(run).items()
        for rung in rungs_of(run)
    ]


def point_panels(table: pd.DataFrame) -> list[PointPanel]:
    """A panel for each initialisation and schedule of `trials_table`, without points also.

    The initialisation with the highest score first, its schedules in the order of ALPHA_SCHEDULES.
    """
    scored = table[table["best5"].notna()]
    best = scored.groupby("initialisation")["best5"].max().sort_values(ascending=False)
    schedules = [name for name in ALPHA_SCHEDULES if name in set(scored["alpha_schedule"])]
    return [
        PointPanel(str(initialisation), schedule, _points(scored, initialisation, schedule))
        for initialisation in best.index
        for schedule in schedules
    ]


def _points(scored: pd.DataFrame, initialisation: str, schedule: str) -> tuple[Point, ...]:
    chosen = (scored["initialisation"] == initialisation) & (scored["alpha_schedule"] == schedule)
    value = "alpha" if schedule == "fixed" else "sharpness"
    rows = scored[chosen].sort_values([value, "aligned_layers", "best5"])
    return tuple(
        Point(
            digest=row["digest"],
            value=float(row[value]),
            layers=row["aligned_layers"],
            best5=float(row["best5"]),
            low=float(row["low"]),
            high=float(row["high"]),
            whole=row["outcome"] == FINISHED,
        )
        for _, row in rows.iterrows()
    )
