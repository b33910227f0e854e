"""The reference study beside the recipes of a run that repeat its rows, and whether they agree."""

import pandas as pd

from search.record.run import Run
from search.record.trial_record import FINISHED
from search.results.cells import NO_VALUE, Cells, difference_cells, interval, share, signed
from search.results.table import difference, rounded
from spaces.study import CE_ONLY, STUDY_ROWS, reference_row
from trainable.config.metrics import ACCURACY
from trainable.config.presets import PRESETS
from trainable.config.trial_config import TrialConfig

OTHER_INPUTS = ("teacher", "dataset", "max_train_samples", "max_eval_samples", "eval_subset")
HEADERS = (
    *("table", "recipe", "reference", "ours", "95% interval", "agrees?"),
    *("reference gap", "our gap", "95% interval", "gap agrees?"),
)
STUDY_NOTE = (
    "The reference study is Encoder Knowledge Distillation, lxxing666, SwanLab project "
    "Knowledge-Distillation; its accuracies are of DeBERTa-v3-base on SST-2, each the mean of the "
    "five best evaluations. Gaps, in points, are to the cross-entropy-only row of the same "
    "initialisation. A row agrees where the reference, taken as exact, lies in our 95% interval; a "
    "gap is undecided where no gap at all lies there, too."
)
AGREES, HIGHER, LOWER, UNDECIDED = "agrees", "ours is higher", "ours is lower", "undecided"


def same_inputs(run: Run) -> bool:
    """Whether the run has the study's teacher, data and metric, so that scores can be compared."""
    first = run.plan.requests[0]
    changed = any(getattr(first, name) is not None for name in OTHER_INPUTS)
    return first.preset == "sst2" and run.plan.inputs.metric == ACCURACY and not changed


def _as_there(config: TrialConfig) -> bool:
    """Whether it trains as deep a student as the study does, and as long."""
    wanted = {key: PRESETS["sst2"].trial[key] for key in ("student_layers", "epochs")}
    wanted |= {"batch_size": TrialConfig.batch_size, "max_steps": None}
    return all(getattr(config, key) == value for key, value in wanted.items())


def study_cells(run: Run, recipes: pd.DataFrame) -> Cells:
    """The finished of `recipes_table` that repeat a row of the study, in the study's order.

    No rows for a searched run, nor if there is nothing to compare.
    """
    finished = recipes[(recipes["outcome"] == FINISHED) & recipes["reference"].notna()]
    trained = {digest: run.trials[digest].config for digest in finished["digest"]}
    rows = map(reference_row, trained.values())
    pairs = [(row, ours) for row, (_, ours) in zip(rows, finished.iterrows(), strict=True) if row]
    alike = {digest for digest, config in trained.items() if _as_there(config)}
    alike = alike if same_inputs(run) else set()
    compared = bool(alike)
    baselines = {trained[o["digest"]].recipe: o for row, o in pairs if row.alpha == CE_ONLY}
    cells = []
    for row, ours in sorted(pairs, key=lambda pair: STUDY_ROWS.index(pair[0])):
        study_gap, gap, gap_verdict = None, None, NO_VALUE
        baseline = baselines.get(trained[ours["digest"]].with_fixed_alpha(1.0).recipe)
        if baseline is not None and row.alpha != CE_ONLY:
            study_gap = row.accuracy - baseline["reference"]
            gap = difference(ours["recipe"], baseline["recipe"], run)
        if study_gap is not None and gap is not None:
            gap_verdict = _verdict(study_gap, gap.low, gap.high)
            if gap_verdict == AGREES and gap.low <= 0.0 <= gap.high:
                gap_verdict = UNDECIDED
        low, high, verdict = ours["low"], ours["high"], "not compared"
        if ours["digest"] in alike:
            verdict = _verdict(row.accuracy, low, high)
        numbers = (share(row.accuracy), share(ours["best5"]), interval((low, high)), verdict)
        gaps = (signed(study_gap), *difference_cells(gap), gap_verdict)
        cells.append((row.table, rounded(ours["label"]), *numbers, *gaps))
        compared = compared or gap is not None
    notes = STUDY_NOTE
    if len(alike) < len(trained):
        notes += (
            " Of rows on other inputs, or trained otherwise than there, only gaps are compared."
        )
    if missing := len(STUDY_ROWS) - len({STUDY_ROWS.index(row) for row, _ in pairs}):
        notes += f" Not finished in this run: {missing} of its {len(STUDY_ROWS)} rows."
    shown = compared and not run.request.searched and run.plan.inputs.metric == ACCURACY
    return Cells(HEADERS, cells if shown else [], notes=notes)


def _verdict(study: float, low: float, high: float) -> str:
    if pd.isna(low):
        return NO_VALUE
    return HIGHER if study < low else LOWER if study > high else AGREES
