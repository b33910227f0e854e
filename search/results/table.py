"""A run as tidy tables: a row a trial, or a row a recipe over its seeds. Loads no Ray, no torch."""

import re
from collections.abc import Sequence
from dataclasses import asdict, fields
from operator import itemgetter
from statistics import fmean
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import norm

from search.plan.rungs import stratum_of
from search.record.events import TIMINGS
from search.record.labels import labels_of
from search.record.run import Run
from search.record.trial_record import (
    ENDED,
    FAILED,
    FINISHED,
    PENDING,
    RUNNING,
    STOPPED,
    WAITING,
    TrialRecord,
    by_recipe,
)
from search.results.scores import seed_scores, seed_sd_of
from search.results.statistics import (
    LEVEL,
    Difference,
    mean_interval,
    own_variances,
    recipes_difference,
    shrunk_means,
)
from search.results.tied import tied_recipes
from spaces.study import reference_row
from trainable.config.metrics import lowest_score
from trainable.config.trial_config import TrialConfig
from trainable.engine.metrics import mean_of_best5

PLANNED = "planned_evaluations"  # a trial's setting `evaluations`, beside the count of those made
SETTINGS = tuple(
    PLANNED if setting.name == "evaluations" else setting.name for setting in fields(TrialConfig)
)
SCORES = ("best5", "low", "high", "of_teacher", "last", "full_validation", "common_best5")
COLUMNS = (
    *SETTINGS,
    *("digest", "recipe", "label", "folder", "inactive", "stratum"),
    *("outcome", "reason", "evaluations", "repeated", "one_label", "metric"),
    *SCORES,
    *("tied", "gap_low", "gap_high", "expected", "reference"),
    *TIMINGS,
)
ORDER = {FINISHED: 0, STOPPED: 1, RUNNING: 2, WAITING: 3, PENDING: 4, FAILED: 5}


def trials_table(run: Run) -> pd.DataFrame:
    """One row a trial, in the order planned, whatever state the run is in.

    Scores are shares (or correlations), missing (NaN) before the first evaluation. Columns:

    - every setting of TrialConfig; `evaluations`, how many are planned, as `planned_evaluations`;
      None or NaN where a setting does not apply;
    - `inactive`, the hyperparameters that change nothing in this trial, joined by commas;
    - `digest`, `recipe` (the digest that all seeds of a recipe share), `label`, `folder` (of the
      trial), `stratum` (within which trials are compared), `outcome` (pending, running, waiting at
      a rung, finished, stopped, failed), `reason` of a failure;
    - `evaluations` made, `repeated` (those that had to be made again), `one_label` (whether even
      at the best one the student gives every example the same label);
    - `metric`, of which the scores are: the run's;
    - `best5`, `low` and `high` (95% bootstrap interval over the validation examples; missing where
      the predictions are lost), `of_teacher` (best5 as a share of the teacher's score), `last`,
      `full_validation` (score on the full validation split);
    - `common_best5`, the best5 after as many evaluations as every finished or stopped trial of the
      run has: comparable over both; missing for trials with fewer, and where none has ended. Finals
      have none: of theirs, as many are of more steps;
    - `tied`, whether the trial's recipe is not significantly different from the best one, the best
      included; missing where the recipe has not finished or can't be compared;
    - `gap_low` and `gap_high`, the 95% interval of its mean best5 less the best one's, for other
      examples and seeds; missing where `tied` is;
    - `expected`, what the recipe's mean best5 is expected to be without the luck of its seeds and
      these examples (`shrunk_means`): less than best5 at the top; missing where `tied` is;
    - `reference`, the accuracy on SST-2 of the reference study's row that the trial repeats;
    - `training_seconds`, `evaluation_seconds`, `saving_seconds`.
    """
    label, trials = labels_of(run), run.trials.values()
    short = [trial for trial in trials if not trial.final]
    ended = [len(t.evaluations) for t in short if t.outcome in (FINISHED, STOPPED)]
    common = min(ended, default=None)
    rows = [{**_row(trial, run, common), "label": label(trial)} for trial in trials]
    table, verdicts = pd.DataFrame(rows, columns=[*COLUMNS]), compared(run)
    for name in verdicts:
        table[name] = table["recipe"].map(verdicts[name])
    table["tied"] = table["tied"].astype("boolean")
    numeric = [*SCORES, "gap_low", "gap_high", "expected", "reference"]
    table[numeric] = table[numeric].astype(float)
    return table


def recipes_table(run: Run, trials: pd.DataFrame) -> pd.DataFrame:
    """The rows of `trials_table` joined over the seeds of each recipe, in the leaderboard's order.

    Those that finished come first, then those stopped early, those that have not ended and
    those that failed, each by falling best5. Scores are means over the seeds that came
    furthest: `seeds` says how many they are, of `planned_seeds`. Of several seeds `low` and `high`
    are an interval over validation examples and seeds. Settings and `digest` are the first seed's.
    """
    by_digest = trials.set_index("digest", drop=False)
    groups = by_recipe(run.trials.values()).values()
    rows = [_recipe_row(group, run, by_digest) for group in groups]
    table = pd.DataFrame(rows, columns=[*trials.columns, "seeds", "planned_seeds"])
    table["tied"] = table["tied"].astype("boolean")
    order = {"key": lambda outcomes: outcomes.map(ORDER), "kind": "stable"}
    by_score = table.sort_values("best5", ascending=False, kind="stable")
    return by_score.sort_values("outcome", ignore_index=True, **order)


def rounded(label: str) -> str:
    """Long decimals cut to three digits: `k=0.234683` reads `k=0.235`; the table has them whole."""

    def shorter(number: re.Match[str]) -> str:
        value = float(number[0])
        return f"{value:.0f}" if value >= 100 else f"{value:.3g}"

    return re.sub(r"\d+\.\d+(?![\de])", shorter, label)


def difference(first: str, second: str, run: Run) -> Difference | None:
    """Of the mean best5 of two recipes, each given by its digest, for other examples and seeds
    (`recipes_difference`). None if predictions are missing."""
    groups = by_recipe(run.trials.values())
    ours, theirs = (seed_scores(counted(groups[recipe]), run) for recipe in (first, second))
    if ours is None or theirs is None:
        return None
    return recipes_difference(ours, theirs, seed_sd_of(run))


def best5_interval(trials: Sequence[TrialRecord], run: Run) -> tuple[float, float] | None:
    """95% interval of a recipe's mean best5: over examples, of several seeds over both.

    None where predictions are missing.
    """
    scores = seed_scores(trials, run)
    lowest = lowest_score(run.plan.inputs.metric)
    return None if scores is None else mean_interval(scores, lowest)


def counted(trials: Sequence[TrialRecord]) -> list[TrialRecord]:
    """The seeds of a recipe that have come as far as any, which are compared at equal numbers.

    Seeds that failed count only where all did.
    """
    good = [trial for trial in trials if trial.outcome != FAILED] or trials
    furthest = max(len(trial.evaluations) for trial in good)
    return [trial for trial in good if len(trial.evaluations) == furthest]


def outcome_of(trials: Sequence[TrialRecord]) -> str:
    """Of all seeds of a recipe: finished once any is, else `running` while one that has not failed
    is still to end."""
    good = [trial for trial in trials if trial.outcome != FAILED]
    if any(trial.outcome == FINISHED for trial in good):
        return FINISHED  # by those that are `counted`, whatever seeds are to come
    if all(trial.outcome in ENDED for trial in good):
        return counted(trials)[0].outcome
    begun = any(trial.evaluations or trial.outcome != PENDING for trial in good)
    return RUNNING if begun else PENDING


def _row(trial: TrialRecord, run: Run, common: int | None) -> dict[str, Any]:
    """All that needs no other trial; `common` is the number of evaluations for `common_best5`."""
    config, evaluations, study = trial.config, trial.evaluations, reference_row(trial.config)
    best = max(evaluations, key=itemgetter("score"), default={})
    row = {
        **dict(zip(SETTINGS, asdict(config).values(), strict=True)),
        "digest": config.digest,
        "recipe": config.recipe.digest,
        "folder": config.folder_name,
        "inactive": ",".join(sorted(config.inactive_settings)),
        "stratum": stratum_of(asdict(config), run.plan.compare_within),
        "outcome": trial.outcome,
        "reason": trial.reason,
        "evaluations": len(evaluations),
        "repeated": trial.repeated,
        "one_label": bool(best.get("one_label")),
        "metric": run.plan.inputs.metric,
        "reference": study and study.accuracy,
        **{clock: sum(e.get(clock, 0.0) for e in evaluations) for clock in TIMINGS},
    }
    if trial.best5 is not None:
        row |= {"best5": trial.best5, "last": evaluations[-1]["score"]}
        of_teacher = run.plan.inputs.teacher.score
        row["of_teacher"] = trial.best5 / of_teacher if of_teacher > 0 else np.nan
        row["full_validation"] = evaluations[-1].get("full_score")
        row["low"], row["high"] = best5_interval([trial], run) or (np.nan, np.nan)
    if common is not None and len(evaluations) >= common and not trial.final:
        row["common_best5"] = mean_of_best5([e["score"] for e in evaluations[:common]])
    return row


def _recipe_row(trials: Sequence[TrialRecord], run: Run, table: pd.DataFrame) -> dict[str, Any]:
    furthest = counted(trials)
    of_all = table.loc[[trial.config.digest for trial in trials]]
    of_furthest = table.loc[[trial.config.digest for trial in furthest]]
    first = of_all.iloc[0]
    row = {
        **first.to_dict(),
        "label": first["label"].removesuffix(f", seed {first['seed']}"),
        "outcome": outcome_of(trials),
        "evaluations": len(furthest[0].evaluations),
        "repeated": of_all["repeated"].sum(),
        "one_label": bool(of_furthest["one_label"].all()),
        **of_furthest[[*SCORES]].mean().to_dict(),
        **of_all[[*TIMINGS]].sum().to_dict(),
        "seeds": len(furthest),
        "planned_seeds": len(trials),
    }
    if len(trials) > 1:
        failed = [trial for trial in trials if trial.outcome == FAILED]
        reasons = (f"seed {trial.config.seed} failed, {trial.reason}" for trial in failed)
        row["reason"] = "; ".join(reasons)
    if len(furthest) > 1:
        row["low"], row["high"] = best5_interval(furthest, run) or (np.nan, np.nan)
    return row


def compared(run: Run) -> pd.DataFrame:
    """By recipe, `tied`, `expected`, `gap_low` and `gap_high` of those that finished and can be
    compared with the best, with as many evaluations and all predictions; none if it lacks some.

    Means over seeds are compared; the luck of a seed counts for less in a mean of many.
    """
    groups = by_recipe(run.trials.values())
    finished = {key: counted(ts) for key, ts in groups.items() if outcome_of(ts) == FINISHED}
    means = {key: fmean(trial.best5 or 0.0 for trial in ts) for key, ts in finished.items()}
    best = max(means, key=lambda key: means[key], default="")
    length = len(finished[best][0].evaluations) if finished else 0
    alike = {key: ts for key, ts in finished.items() if len(ts[0].evaluations) == length}
    seeds = {key: seed_scores(trials, run) for key, trials in alike.items()}
    scores = {key: of_recipe for key, of_recipe in seeds.items() if of_recipe is not None}
    if best not in scores:
        return pd.DataFrame(columns=["tied", "expected", "gap_low", "gap_high"])
    starts = [finished[key][0].config.initialisation for key in scores]
    tables = [*scores.values()]
    answers, deviations, tied = tied_recipes(tables, starts, seed_sd=seed_sd_of(run))
    expected = shrunk_means(answers.mean(axis=1), deviations**2 + own_variances(answers))
    first = [*scores].index(best)
    gaps = answers - answers[first]  # [K, N]
    noise = deviations**2 + deviations[first] ** 2 + gaps.var(axis=1, ddof=1) / gaps.shape[1]
    noise[first] = 0.0  # it is no other recipe's
    half = norm.isf(LEVEL / 2) * np.sqrt(noise)
    ends = {"gap_low": gaps.mean(axis=1) - half, "gap_high": gaps.mean(axis=1) + half}
    return pd.DataFrame({"tied": tied, "expected": expected, **ends}, index=[*scores])
