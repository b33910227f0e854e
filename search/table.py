"""A run as a tidy table: one row a trial, for analysis in pandas. Loads neither Ray nor torch."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from search.record import FINISHED, STOPPED, Run, TrialRecord, read_run
from search.statistics import (
    best5_scores,
    best_of_many_optimism,
    sentence_interval,
    tied_with_first,
)
from search.strata import stratum_of
from search.timeline import CLOCKS
from search.trial_words import wording
from search.unit_scores import BOOTSTRAP_SEED
from trainable.config import TrialConfig
from trainable.metrics import best5_accuracy, unpack_bits

PLANNED = "planned_evaluations"  # a trial's setting `evaluations`, beside the count of those made
SETTINGS = tuple(
    PLANNED if setting.name == "evaluations" else setting.name for setting in fields(TrialConfig)
)
ACCURACIES = (
    *("best5", "low", "high", "of_teacher", "last", "last_minus_best5", "whole", "optimism"),
    *("tied", "common_best5"),
)

COLUMNS = (
    *SETTINGS,
    *("digest", "unit", "words", "folder", "idle_settings", "stratum"),
    *("outcome", "reason", "evaluations", "repeated"),
    *ACCURACIES,
    *CLOCKS,
)


def trials_table(run: Run | Path | str) -> pd.DataFrame:
    """One row a trial, in the order planned, whatever state the run is in; reads a folder's record.

    Accuracies are shares, missing (NaN) before the first evaluation. Columns:

    - every setting of TrialConfig; `evaluations`, how many are planned, as `planned_evaluations`;
      None or NaN where a setting does not apply;
    - `idle_settings`, those that change nothing in this trial, joined by commas;
    - `digest`, `unit` (the digest that all seeds of a recipe share), `words`, `folder` (of the
      trial), `stratum`, `outcome` (as in the record: pending, running, waiting for other seeds of
      its recipe, finished, stopped, failed), `reason` of a failure;
    - `evaluations` made, `repeated` (those that had to be made again);
    - `best5`, `low` and `high` (95 % over sentences, the leaderboard's), `of_teacher` (best5 as a
      share of the teacher's accuracy), `last`, `last_minus_best5`, `whole` (on the whole split);
    - `optimism`, by how much choosing the best evaluations flatters best5;
    - `tied` with the first of the finished trials of its stratum (of equally many evaluations);
      missing for all that have not finished;
    - `common_best5`, the best5 after as many evaluations as every finished or stopped trial of the
      run has: comparable over both; missing for trials with fewer, and where none has ended;
    - `training_seconds`, `evaluation_seconds`, `saving_seconds`.

    Raises UserError for a folder whose plan is lost or that another version wrote (`read_run`).
    """
    run = run if isinstance(run, Run) else read_run(Path(run))
    scores = {digest: _scores(trial, run) for digest, trial in run.trials.items()}
    words = wording(run)
    rows = [
        {**_row(digest, run, scores[digest]), "words": words(trial)}
        for digest, trial in run.trials.items()
    ]
    table = pd.DataFrame(rows, columns=[*COLUMNS])
    table["tied"] = _tied(table, scores)
    common = _common_evaluations(run)
    table["common_best5"] = [_best5_after(trial, common) for trial in run.trials.values()]
    return table


def _scores(trial: TrialRecord, run: Run) -> np.ndarray | None:
    """Per-sentence best5 scores [N]; None before the first evaluation."""
    return best5_scores(list(correct_bits(trial, run))) if trial.evaluations else None


def correct_bits(trial: TrialRecord, run: Run) -> np.ndarray:
    """Which sentences each evaluation of a trial got right, boolean [E, N]."""
    count = run.sweep["evaluation_sentences"]
    found = [unpack_bits(e["correct"], count) for e in trial.evaluations]
    return np.array(found, dtype=bool).reshape(len(found), count)


def _row(digest: str, run: Run, scores: np.ndarray | None) -> dict[str, Any]:
    trial = run.trials[digest]
    settings = trial.config.to_dict()
    evaluations = trial.evaluations
    return {
        **dict(zip(SETTINGS, settings.values(), strict=True)),
        "digest": digest,
        "unit": trial.config.recipe.digest,
        "folder": trial.config.folder_name,
        "idle_settings": ",".join(sorted(trial.config.idle_settings)),
        "stratum": stratum_of(settings, run.sweep["compare_within"]),
        "outcome": trial.outcome,
        "reason": trial.reason,
        "evaluations": len(evaluations),
        "repeated": trial.repeated,
        **_accuracies(trial, run, scores),
        **{clock: sum(e.get(clock, 0.0) for e in evaluations) for clock in CLOCKS},
    }


def _accuracies(trial: TrialRecord, run: Run, scores: np.ndarray | None) -> dict[str, float]:
    """Those that need no other trial; none before the first evaluation."""
    if scores is None:
        return {}
    best5, last = float(trial.best5 or 0.0), trial.evaluations[-1]
    whole = last.get("whole_accuracy")
    low, high = sentence_interval(scores, np.random.default_rng(BOOTSTRAP_SEED))
    generator = np.random.default_rng(BOOTSTRAP_SEED)
    values = (
        best5,
        low,
        high,
        best5 / run.sweep["task"]["teacher"]["accuracy"],
        last["accuracy"],
        last["accuracy"] - best5,
        np.nan if whole is None else whole,
        best_of_many_optimism(list(correct_bits(trial, run)), generator),
    )
    return dict(zip(ACCURACIES, values, strict=False))  # but what is compared with other trials


def _tied(table: pd.DataFrame, scores: dict[str, np.ndarray | None]) -> pd.Series:
    """Among finished trials of a stratum and of equally many evaluations; missing elsewhere."""
    tied = pd.Series(pd.NA, index=table.index, dtype="boolean")
    finished = table[table["outcome"] == FINISHED]
    for _, group in finished.groupby(["stratum", "evaluations"]):
        stacked = np.array([scores[digest] for digest in group["digest"]])
        generator = np.random.default_rng(BOOTSTRAP_SEED)
        tied[group.index] = tied_with_first(stacked, generator)
    return tied


def _common_evaluations(run: Run) -> int | None:
    """How many evaluations every finished or stopped trial has; None where there is none."""
    ended = [t for t in run.trials.values() if t.outcome in (FINISHED, STOPPED)]
    return min((len(trial.evaluations) for trial in ended), default=None)


def _best5_after(trial: TrialRecord, count: int | None) -> float:
    """Its best5 after so many evaluations; NaN where it has fewer."""
    if count is None or len(trial.evaluations) < count:
        return np.nan
    return best5_accuracy([e["accuracy"] for e in trial.evaluations[:count]])
