"""The leaderboard of a run: computed as rows, then drawn."""

from dataclasses import dataclass

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from search.record import FAILED, FINISHED, PENDING, RUNNING, STOPPED, Run, TrialRecord
from search.statistics import best5_scores, sentence_interval
from search.strata import stratum_of
from search.trial_words import wording
from spaces.study import STUDY_ROWS
from trainable.layers import resolve_layer_set
from trainable.metrics import unpack_bits

BOOTSTRAP_SEED = 0
NO_VALUE = "-"
INTERRUPTED = "interrupted"  # what a trial that was running is when a leaderboard is printed
ORDER = {FINISHED: 0, STOPPED: 1, INTERRUPTED: 2, PENDING: 3, FAILED: 4}


@dataclass(frozen=True)
class Row:
    """One trial; accuracies are shares, None before the first evaluation."""

    words: str
    outcome: str
    reason: str
    evaluations: int
    best5: float | None
    interval: tuple[float, float] | None  # 95 %, over evaluation sentences
    last: float | None  # the one evaluation that nothing selected
    whole: float | None  # on the whole evaluation split, where `last` is on a sample of it
    study: float | None  # the study's score on SST-2, where it has this row


def leaderboard(run: Run) -> dict[str, list[Row]]:
    """Rows by stratum: those run to the end first, each group by falling best5."""
    strata: dict[str, list[Row]] = {}
    words = wording(run)
    for trial in run.trials.values():
        name = stratum_of(trial.config.to_dict(), run.sweep["compare_within"])
        strata.setdefault(name, []).append(_row(trial, run, words(trial)))
    for rows in strata.values():
        rows.sort(key=lambda row: (ORDER[row.outcome], -(row.best5 or 0.0)))
    return dict(sorted(strata.items(), key=lambda item: -max(r.best5 or 0.0 for r in item[1])))


def _row(trial: TrialRecord, run: Run, words: str) -> Row:
    interval, with_study = None, any(r["space"] == "study" for r in run.sweep["requests"])
    if trial.evaluations:
        count = run.sweep["evaluation_sentences"]
        correct = [unpack_bits(e["correct"], count) for e in trial.evaluations]
        generator = np.random.default_rng(BOOTSTRAP_SEED)
        interval = sentence_interval(best5_scores(correct), generator)
    return Row(
        words=words,
        outcome=INTERRUPTED if trial.outcome == RUNNING else trial.outcome,
        reason=trial.reason,
        evaluations=len(trial.evaluations),
        best5=trial.best5,
        interval=interval,
        last=trial.evaluations[-1]["accuracy"] if trial.evaluations else None,
        whole=trial.evaluations[-1].get("whole_accuracy") if trial.evaluations else None,
        study=_study_score(trial) if with_study else None,
    )


def _study_score(trial: TrialRecord) -> float | None:
    config = trial.config
    for _, initialisation, layer_set, alpha, score in STUDY_ROWS:
        row = {
            "initialisation": initialisation,
            "aligned_layers": resolve_layer_set(layer_set, config.student_layers),
            "alpha": None,
            "sharpness": None,
            **alpha,
        }
        if all(getattr(config, key) == value for key, value in row.items()):
            return score
    return None


def print_leaderboard(run: Run, console: Console) -> None:
    """A table a stratum, the teacher's accuracy above."""
    teacher = run.sweep["task"]["teacher"]["accuracy"]
    with_whole = _print_teacher(run, console)
    for name, rows in leaderboard(run).items():
        console.print(_table(name, rows, teacher, with_whole=with_whole))
    console.print(
        "best5 is the mean of the five best evaluations, with its 95 % interval over evaluation "
        "sentences; two seeds of one recipe differ too. A stopped trial had fewer evaluations: "
        "compare it only at equal numbers. last is the final evaluation alone.",
        style="dim",
    )


def _print_teacher(run: Run, console: Console) -> bool:
    """What the teacher reaches, on which sentences; whether there is a whole beside a sample."""
    task, sentences = run.sweep["task"], run.sweep["evaluation_sentences"]
    teacher, whole = task["teacher"], task.get("sentences", {}).get("whole")
    said = f"\nTeacher: {teacher['accuracy']:.4f} on the {sentences:,} evaluation sentences"
    if whole is None:
        console.print(f"{said}.")
        return False
    console.print(f"{said} of the sample, {teacher['whole_accuracy']:.4f} on all {whole:,}.")
    console.print(
        f"best5 and last: {sentences:,} sentences drawn from the {whole:,}, the same for every "
        f"trial; whole: all {whole:,}, once, at the end."
    )
    return True


def _table(name: str, rows: list[Row], teacher: float, *, with_whole: bool) -> Table:
    table = Table(title=name, title_justify="left", title_style="bold", box=None, pad_edge=False)
    table.add_column("trial")
    with_study = any(row.study is not None for row in rows)
    headers = ["best5", "95 % interval", "of teacher", "last"]
    headers += ["whole", "evaluations"] if with_whole else ["evaluations"]
    for header in [*headers, "study (SST-2)"] if with_study else headers:
        table.add_column(header, justify="right", no_wrap=True)
    table.add_column("outcome")
    for row in rows:
        table.add_row(
            Text(row.words.removeprefix(f"{name}, ")),
            _share(row.best5),
            NO_VALUE if row.interval is None else "{:.3f} - {:.3f}".format(*row.interval),
            NO_VALUE if row.best5 is None else f"{row.best5 / teacher:.1%}",
            _share(row.last),
            *([_share(row.whole)] if with_whole else []),
            str(row.evaluations),
            *([_share(row.study)] if with_study else []),
            Text(row.outcome + (f": {row.reason}" if row.reason else "")),
        )
    return table


def _share(value: float | None) -> str:
    return NO_VALUE if value is None else f"{value:.4f}"
