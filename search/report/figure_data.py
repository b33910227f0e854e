"""What the report's figures and its costs show, as plain numbers."""

from collections import Counter
from collections.abc import Sequence

import pandas as pd

from search.record.run import Run
from search.record.trial_record import FINISHED, STOPPED, TrialRecord
from trainable.config.alpha_schedules import ALPHA_SCHEDULES

RANKS = ("not finished", "finished", "tied", "best")  # of a curve, what stands in front last

Cost = tuple[str, float, str]  # its name, seconds (of trials side by side, their sum), a note


def evaluations_table(run: Run, trials: pd.DataFrame, recipes: pd.DataFrame) -> pd.DataFrame:
    """One row an evaluation: `evaluation` (its number), `accuracy` and `best5` up to there.

    Beside them, of `trials_table`, digest, recipe, label, stratum and outcome; and `rank`, a place
    in RANKS. The stratum with the highest accuracy comes first.
    """
    rows = [
        (digest, e["evaluations"], e["accuracy"], e["best5_accuracy"])
        for digest, trial in run.trials.items()
        for e in trial.evaluations
    ]
    columns = ["digest", "evaluation", "accuracy", "best5"]
    about = trials[["digest", "recipe", "label", "stratum", "outcome"]].copy()
    tied = trials["tied"].fillna(value=False).astype(int)
    about["rank"] = (trials["outcome"] == FINISHED) * (1 + tied)
    best = recipes["recipe"][:1] if (recipes["outcome"][:1] == FINISHED).all() else []
    about.loc[about["recipe"].isin(best), "rank"] = RANKS.index("best")
    table = pd.DataFrame(rows, columns=columns).merge(about, on="digest")
    highest = table.groupby("stratum")["accuracy"].transform("max")
    return table.iloc[(-highest).argsort(kind="stable")].reset_index(drop=True)


def rung_counts(run: Run, evaluations: pd.DataFrame, recipes: pd.DataFrame) -> pd.DataFrame:
    """A row a stratum and rung: recipes that `reached` it, and were `stopped` there.

    `median` is of their accuracy at the rung, each the mean over its seeds.
    """
    rows = []
    for stratum in recipes["stratum"].unique():
        of_stratum = evaluations[evaluations["stratum"] == stratum]
        stopped = recipes[(recipes["stratum"] == stratum) & (recipes["outcome"] == STOPPED)]
        for rung in run.rungs:
            at = of_stratum[of_stratum["evaluation"] == rung]
            scores = at.groupby("recipe")["accuracy"].mean()
            ended = int((stopped["evaluations"] == rung).sum())
            rows.append((stratum, rung, len(scores), ended, scores.median()))
    return pd.DataFrame(rows, columns=["stratum", "rung", "reached", "stopped", "median"])


def value_name(schedule: str) -> str:
    """The setting in which trials of one schedule differ."""
    return "alpha" if schedule == "fixed" else "sharpness"


def point_panels(trials: pd.DataFrame) -> dict[tuple[str, str], pd.DataFrame]:
    """Scored trials by initialisation and schedule, each with its `value` of alpha or sharpness.

    The initialisation with the highest score first, its schedules in the order of ALPHA_SCHEDULES;
    where an initialisation has no trial of one that others have, the panel is empty.
    """
    scored = trials[trials["best5"].notna()]
    best = scored.groupby("initialisation")["best5"].max().sort_values(ascending=False)
    schedules = [name for name in ALPHA_SCHEDULES if name in set(scored["alpha_schedule"])]
    panels = {}
    for initialisation in best.index:
        for schedule in schedules:
            chosen = scored["initialisation"] == initialisation
            rows = scored[chosen & (scored["alpha_schedule"] == schedule)]
            rows = rows.assign(value=rows[value_name(schedule)].astype(float))
            panels[initialisation, schedule] = rows.sort_values(["value", "aligned_layers"])
    return panels


def costs(run: Run) -> list[Cost]:
    """What took a run's time."""
    trials = list(run.trials.values())
    evaluations = [e for trial in trials for e in trial.evaluations]
    counts = Counter(event["event"] for event in run.events)
    happened = f"sessions: {counts['session']}, failures of trials: {counts['failure']}"
    spent = sum(trial.seconds for trial in trials)
    saving = sum(e["saving_seconds"] for e in evaluations)
    found = [
        ("training and evaluation", spent, f"{len(evaluations):,} evaluations, summed over trials"),
        ("saving", saving, "writing checkpoints, while training waits"),
        ("wall time", run.seconds, happened),
        _saved_by_asha([trial for trial in trials if trial.outcome == STOPPED], spent),
        _repeated(run),
    ]
    teacher = run.plan.inputs.teacher
    if teacher.fine_tuned_here:
        found.append(
            ("teacher", teacher.seconds, "fine-tuning, once for all runs, not in the wall time")
        )
    always = ("training and evaluation", "wall time")
    return [cost for cost in found if cost[1] or cost[0] in always]


def _saved_by_asha(stopped: Sequence[TrialRecord], spent: float) -> Cost:
    """What stopped trials would have taken further, each at its own mean."""
    counts = [trial.config.evaluations - len(trial.evaluations) for trial in stopped]
    seconds = sum(n * _mean_seconds(trial) for n, trial in zip(counts, stopped, strict=True))
    share = seconds / (spent + seconds) if seconds else 0.0
    note = f"estimated: {sum(counts):,} evaluations skipped, {share:.0%} of the total time"
    return ("saved by ASHA", seconds, note)


def _repeated(run: Run) -> Cost:
    """Evaluations made again after an interruption or failure, each at its trial's mean."""
    kinds = ("evaluation", "repeated")
    ours = [event for event in run.events if event.get("trial") in run.trials]
    made = Counter(event["trial"] for event in ours if event["event"] in kinds)
    again = {key: made[key] - len(run.trials[key].evaluations) for key in made}
    seconds = sum(n * _mean_seconds(run.trials[key]) for key, n in again.items())
    return ("repeated", seconds, f"{sum(again.values()):,} evaluations, after interruptions")


def _mean_seconds(trial: TrialRecord) -> float:
    """Of one evaluation with the training before it; 0 before the first."""
    return trial.seconds / len(trial.evaluations) if trial.evaluations else 0.0
