"""The reference study beside the recipes of a run that repeat its rows, and whether they agree."""

from dataclasses import dataclass

import pandas as pd

from search.record.run import Run
from search.record.trial_record import FINISHED
from search.results.leaderboard import NO_VALUE
from search.results.statistics import Difference
from search.results.table import difference
from spaces.study import CE_ONLY, STUDY_ROWS, StudyRow, reference_row

OTHER_INPUTS = ("teacher", "dataset", "max_train_samples", "max_eval_samples", "eval_subset")

AGREES, HIGHER, LOWER = "agrees", "ours is higher", "ours is lower"


@dataclass(frozen=True)
class Comparison:
    """A row of the study and a recipe that repeats it and ran to its end.

    Gaps, of two accuracies, are to the cross-entropy-only row of the same initialisation; None
    where the run has no such recipe, or this is it.
    """

    row: StudyRow
    ours: pd.Series  # of `recipes_table`
    study_gap: float | None
    gap: Difference | None

    @property
    def level_verdict(self) -> str:
        """Whether the study's accuracy lies in our interval."""
        return _verdict(self.row.accuracy, self.ours["low"], self.ours["high"])

    @property
    def gap_verdict(self) -> str:
        """Whether the study's gap lies in the interval of ours."""
        if self.study_gap is None or self.gap is None:
            return NO_VALUE
        return _verdict(self.study_gap, self.gap.low, self.gap.high)


def _verdict(study: float, low: float, high: float) -> str:
    """Agrees where the study's number lies within our interval, its ends included."""
    if pd.isna(low):
        return NO_VALUE
    return HIGHER if study < low else LOWER if study > high else AGREES


def same_inputs(run: Run) -> bool:
    """Whether the run has the study's teacher and data, so that accuracies can be compared."""
    first = run.plan.requests[0]
    changed = any(getattr(first, name) is not None for name in OTHER_INPUTS)
    return first.preset == "sst2" and not changed


def compare_with_study(run: Run, recipes: pd.DataFrame) -> list[Comparison]:
    """The finished of `recipes_table` that repeat a row of the study, in the study's order."""
    finished = recipes[(recipes["outcome"] == FINISHED) & recipes["reference"].notna()]
    rows = [reference_row(run.trials[digest].config) for digest in finished["digest"]]
    pairs = [(row, ours) for row, (_, ours) in zip(rows, finished.iterrows(), strict=True) if row]
    baselines = {row.initialisation: ours for row, ours in pairs if row.alpha == CE_ONLY}
    found = []
    for row, ours in sorted(pairs, key=lambda pair: STUDY_ROWS.index(pair[0])):
        study_gap, gap, baseline = None, None, baselines.get(row.initialisation)
        if baseline is not None and row.alpha != CE_ONLY:
            study_gap = row.accuracy - baseline["reference"]
            gap = difference(ours["recipe"], baseline["recipe"], run)
        found.append(Comparison(row, ours, study_gap, gap))
    return found
