"""What the report's figures and its costs show, as plain numbers."""

from collections import Counter
from itertools import product

import pandas as pd

from search.plan.rungs import rung_score
from search.record.run import Run
from search.record.trial_record import FINISHED, STOPPED
from trainable.config.alpha_schedules import ALPHA_SCHEDULES

FINALS = "finals"
RANKS = ("not finished", "finished", "tied", "best")  # of a curve, what stands in front last

Cost = tuple[str, float, str]  # its name, seconds (of trials side by side, their sum), a note


def evaluations_table(run: Run, trials: pd.DataFrame, recipes: pd.DataFrame) -> pd.DataFrame:
    """One row an evaluation: its number as `evaluation`, its `score` and its `rung_score`.

    Beside them, of `trials_table`, digest, recipe, label, stratum and outcome; and `rank`, an index
    of RANKS. Finals, whose evaluations are of more steps, are a stratum of their own. The one with
    the highest score comes first.
    """
    rows = [
        (digest, e["evaluations"], e["score"], rung_score(e))
        for digest, trial in run.trials.items()
        for e in trial.evaluations
    ]
    columns = ["digest", "evaluation", "score", "rung_score"]
    about = trials[["digest", "recipe", "label", "stratum", "outcome"]].copy()
    finals = [digest for digest, trial in run.trials.items() if trial.final]
    about.loc[about["digest"].isin(finals), "stratum"] = FINALS
    tied = trials["tied"].fillna(value=False).astype(int)
    about["rank"] = (trials["outcome"] == FINISHED) * (1 + tied)
    best = recipes["recipe"][:1] if (recipes["outcome"][:1] == FINISHED).all() else []
    about.loc[about["recipe"].isin(best), "rank"] = RANKS.index("best")
    table = pd.DataFrame(rows, columns=columns).merge(about, on="digest")
    highest = table.groupby("stratum")["score"].transform("max")
    return table.iloc[(-highest).argsort(kind="stable")].reset_index(drop=True)


def rung_counts(run: Run, evaluations: pd.DataFrame, recipes: pd.DataFrame) -> pd.DataFrame:
    """A row a stratum and rung: recipes that were compared there (`reached`) or `stopped`.

    `median` is of their rung scores, each the mean over its seeds.
    """
    exempt = {t.config.recipe.digest for t in run.trials.values() if t.final}
    if run.request.searched and run.default_recipe:
        exempt.add(run.default_recipe.digest)
    evaluations, rows = evaluations[~evaluations["recipe"].isin(exempt)], []
    for stratum in recipes["stratum"].unique():
        of_stratum = evaluations[evaluations["stratum"] == stratum]
        stopped = recipes[(recipes["stratum"] == stratum) & (recipes["outcome"] == STOPPED)]
        for rung in run.rungs:
            at = of_stratum[of_stratum["evaluation"] == rung]
            scores = at.groupby("recipe")["rung_score"].mean()
            ended = int((stopped["evaluations"] == rung).sum())
            rows.append((stratum, rung, len(scores), ended, scores.median()))
    return pd.DataFrame(rows, columns=["stratum", "rung", "reached", "stopped", "median"])


def value_name(schedule: str) -> str:
    """The setting in which trials of one schedule differ."""
    return "alpha" if schedule == "fixed" else "sharpness"


def point_panels(trials: pd.DataFrame) -> dict[tuple[str, str], pd.DataFrame]:
    """Scored trials by initialisation and schedule, each with its `value` of alpha or sharpness.

    The initialisation with the highest score comes first, its schedules in the order of
    ALPHA_SCHEDULES; a panel is empty if only other initialisations have trials of the schedule.
    """
    scored = trials[trials["best5"].notna()]
    best = scored.groupby("initialisation")["best5"].max().sort_values(ascending=False)
    schedules = [name for name in ALPHA_SCHEDULES if name in set(scored["alpha_schedule"])]
    panels = {}
    for key in product(best.index, schedules):
        rows = scored[(scored[["initialisation", "alpha_schedule"]] == key).all(axis=1)]
        rows = rows.assign(value=rows[value_name(key[1])].astype(float))
        panels[key] = rows.sort_values(["value", "aligned_layers"])
    return panels


def costs(run: Run) -> list[Cost]:
    """What took a run's time."""
    trials = list(run.trials.values())
    evaluations = [e for trial in trials for e in trial.evaluations]
    counts = Counter(event["event"] for event in run.events)
    spent = sum(trial.seconds for trial in trials)
    each = {t.config.digest: t.seconds / len(t.evaluations) for t in trials if t.evaluations}

    stopped = [trial for trial in trials if trial.outcome == STOPPED]
    skipped = {t.config.digest: t.config.evaluations - len(t.evaluations) for t in stopped}
    saved = sum(count * each.get(digest, 0.0) for digest, count in skipped.items())
    share = saved / (spent + saved) if saved else 0.0

    kinds = ("evaluation", "repeated")
    made = Counter(event.get("trial") for event in run.events if event["event"] in kinds)
    again = {d: max(made[d] - len(trial.evaluations), 0) for d, trial in run.trials.items()}
    repeated = sum(count * each.get(digest, 0.0) for digest, count in again.items())

    happened = f"sessions: {counts['session']}, failures of trials: {counts['failure']}"
    skips = f"{sum(skipped.values()):,} evaluations skipped, {share:.0%} of the total time"
    teacher = run.plan.inputs.teacher
    fine_tuning = teacher.seconds if teacher.fine_tuned_here else 0.0
    always = ("training and evaluation", "wall time")
    shown = [
        ("training and evaluation", spent, f"{len(evaluations):,} evaluations, summed over trials"),
        (
            "saving",
            sum(e["saving_seconds"] for e in evaluations),
            "writing checkpoints, while training waits",
        ),
        ("wall time", run.seconds, happened),
        ("saved by stopping early", saved, f"estimated: {skips}"),
        ("repeated", repeated, f"{sum(again.values()):,} evaluations, after interruptions"),
        ("teacher", fine_tuning, "fine-tuning, once for all runs, not in the wall time"),
    ]
    return [cost for cost in shown if cost[1] or cost[0] in always]
