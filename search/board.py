"""The table that a report's leaderboard shows: a row a trial, or one for all seeds of a recipe."""

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import pandas as pd

from search.record import FINISHED, Run, TrialRecord
from search.statistics import SEED_SD, tied_with_first
from search.timeline import CLOCKS
from search.unit_scores import (
    BOOTSTRAP_SEED,
    counted,
    mean_of,
    outcome_of,
    reason_of,
    rows_of,
    score_interval,
    seeds_in_words,
    unit_scores,
    unit_words,
)

SEEDS = "seeds"  # a column that a table of recipes has beyond `trials_table`
MEANS = ("optimism", "common_best5")  # of the table, over the seeds that count


def board_table(run: Run, table: pd.DataFrame) -> pd.DataFrame:
    """`trials_table` as it is where each recipe has one seed; else its rows joined by recipe.

    A recipe's row has the settings of its first seed and the recipe's digest as `digest`. What it
    scored is the mean over the seeds that came furthest, `low` and `high` an interval over
    sentences and seeds, `seeds` how many they are (`2 of 3`), and `tied` allows for their number.
    """
    groups = rows_of(run)
    if len(groups) == len(run.trials):
        return table
    by_digest = table.set_index("digest", drop=False)
    scores = [unit_scores(trials, run.sweep["evaluation_sentences"]) for trials in groups]
    rows = [
        _row(trials, run, by_digest, found) for trials, found in zip(groups, scores, strict=True)
    ]
    board = pd.DataFrame(rows, columns=[*table.columns, SEEDS])
    board["tied"] = _tied(board, scores)
    return board


def _row(
    trials: Sequence[TrialRecord], run: Run, table: pd.DataFrame, scores: np.ndarray | None
) -> dict[str, Any]:
    best5, last = mean_of(trials, "best5_accuracy"), mean_of(trials, "accuracy")
    of_all = table.loc[[trial.config.digest for trial in trials]]
    of_counted = table.loc[[trial.config.digest for trial in counted(trials)]]
    first = of_all.iloc[0]
    scored: dict[str, Any] = {}
    if scores is not None and best5 is not None and last is not None:
        low, high = score_interval(scores)
        of_teacher = best5 / run.sweep["task"]["teacher"]["accuracy"]
        scored = {"best5": best5, "low": low, "high": high, "of_teacher": of_teacher}
        scored |= {"last": last, "last_minus_best5": last - best5}
        scored |= {"whole": mean_of(trials, "whole_accuracy")}
    return {
        **first.to_dict(),
        "digest": first["unit"],
        "words": unit_words(first["words"], trials[0]),
        "folder": "",
        "outcome": outcome_of(trials),
        "reason": reason_of(trials),
        "evaluations": max(len(trial.evaluations) for trial in counted(trials)),
        "repeated": of_all["repeated"].sum(),
        **scored,
        **{name: of_counted[name].mean() for name in MEANS},
        **{clock: of_all[clock].sum() for clock in CLOCKS},
        SEEDS: seeds_in_words(trials),
    }


def _tied(board: pd.DataFrame, scores: Sequence[np.ndarray | None]) -> pd.Series:
    """As `trials_table` has it, of means over seeds: the luck of one seed counts for less in one
    of many."""
    tied = pd.Series(pd.NA, index=board.index, dtype="boolean")
    finished = board[board["outcome"] == FINISHED]
    for _, group in finished.groupby(["stratum", "evaluations"]):
        of_group = [found for place in group.index if (found := scores[place]) is not None]
        means = np.array([found.mean(axis=0) for found in of_group])
        deviations = SEED_SD / np.sqrt([len(found) for found in of_group])
        generator = np.random.default_rng(BOOTSTRAP_SEED)
        tied[group.index] = tied_with_first(means, generator, seed_sd=deviations)
    return tied


def trials_behind(table: pd.DataFrame, digests: Collection[str]) -> list[str]:
    """The digests of the trials in these rows of a board made of `table`, best first."""
    inside = table[table["digest"].isin(digests) | table["unit"].isin(digests)]
    return list(inside.sort_values("best5", ascending=False, kind="stable")["digest"])
