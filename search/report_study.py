"""The reference study beside the trials of a run that repeat its rows, and whether they agree."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from search.record import FINISHED, Run, TrialRecord
from search.statistics import Difference
from search.table import best5_interval, difference
from spaces.study import CE_ONLY, STUDY_ROWS, StudyRow, reference_row

STUDY_PRESET = "sst2"
OTHER_INPUTS = ("teacher", "dataset", "max_train_samples", "max_eval_samples", "eval_subset")

AGREES, HIGHER, LOWER = "agrees", "ours is higher", "ours is lower"
BASELINE, NO_BASELINE, NOT_FINISHED = "baseline", "no baseline in this run", "not finished"
UNKNOWN = "-"  # without correct/wrong bits there is no interval

Interval = tuple[float, float]


@dataclass(frozen=True)
class Comparison:
    """A row that the run has tried; accuracies are shares, gaps differences of two.

    Ours is the mean over trials that ran to the end, None where none did. Gaps are to the
    cross-entropy-only row of the same initialisation.
    """

    row: StudyRow
    trials: int
    ours: float | None
    interval: Interval | None
    study_gap: float | None
    gap: Difference | None
    level_verdict: str  # whether the study's accuracy lies in our interval
    gap_verdict: str  # whether the study's gap lies in the interval of ours

    @property
    def label(self) -> str:
        """`random, layers lower, cosine_growth`."""
        row, alpha = self.row, self.row.alpha
        layers = [] if row.layers == "none" else [f"layers {row.layers}"]
        schedule = alpha["alpha_schedule"]
        if schedule == "fixed":
            schedule = "cross-entropy only" if alpha == CE_ONLY else f"fixed {alpha['alpha']:g}"
        return ", ".join([row.initialisation, *layers, schedule])


def same_inputs(run: Run) -> bool:
    """Whether the run has the study's teacher and data, so that accuracies can be compared."""
    first = run.plan.requests[0]
    changed = any(getattr(first, name) is not None for name in OTHER_INPUTS)
    return first.preset == STUDY_PRESET and not changed


def compare_with_study(run: Run) -> list[Comparison]:
    """The rows of the reference study that the run has tried, in the study's order."""
    trials: dict[int, list[TrialRecord]] = {}
    for trial in run.trials.values():
        row = reference_row(trial.config)
        if row is not None:
            trials.setdefault(STUDY_ROWS.index(row), []).append(trial)
    finished = {
        number: [trial for trial in found if trial.outcome == FINISHED]
        for number, found in trials.items()
    }
    baselines = {row.initialisation: n for n, row in enumerate(STUDY_ROWS) if row.alpha == CE_ONLY}
    return [
        _compare(run, number, found, baselines, finished)
        for number, found in sorted(finished.items())
    ]


def _compare(
    run: Run,
    number: int,
    trials: Sequence[TrialRecord],
    baselines: dict[str, int],
    finished: dict[int, list[TrialRecord]],
) -> Comparison:
    row, baseline = STUDY_ROWS[number], baselines[STUDY_ROWS[number].initialisation]
    is_baseline, base = number == baseline, finished.get(baseline)
    interval = best5_interval(trials, run) if trials else None
    gap = difference(trials, base, run) if trials and base and not is_baseline else None
    study_gap = None if is_baseline else row.accuracy - STUDY_ROWS[baseline].accuracy
    no_level = UNKNOWN if trials else NOT_FINISHED
    no_gap = BASELINE if is_baseline else no_level if base or not trials else NO_BASELINE
    return Comparison(
        row=row,
        trials=len(trials),
        ours=fmean(trial.best5 or 0.0 for trial in trials) if trials else None,
        interval=interval,
        study_gap=study_gap,
        gap=gap,
        level_verdict=verdict(row.accuracy, interval, no_level),
        gap_verdict=verdict(study_gap, None if gap is None else (gap.low, gap.high), no_gap),
    )


def verdict(study: float | None, ours: Interval | None, missing: str) -> str:
    """Agrees where the study's number lies within our interval, its ends included."""
    if study is None or ours is None:
        return missing
    low, high = ours
    return HIGHER if study < low else LOWER if study > high else AGREES
