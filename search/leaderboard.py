"""The leaderboard of a run: computed as rows, then drawn."""

from dataclasses import dataclass

from rich.console import Console
from rich.table import Table
from rich.text import Text

from search.record import FAILED, FINISHED, PENDING, RUNNING, STOPPED, WAITING, Run, TrialRecord
from search.strata import stratum_of
from search.trial_words import wording
from search.unit_scores import (
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
from spaces.study import STUDY_ROWS
from trainable.layers import resolve_layer_set

NO_VALUE = "-"
INTERRUPTED = "interrupted"  # what a trial that was running is when a leaderboard is printed
ORDER = {FINISHED: 0, STOPPED: 1, INTERRUPTED: 2, WAITING: 3, PENDING: 4, FAILED: 5}


@dataclass(frozen=True)
class Row:
    """One trial, or all seeds of a recipe: means over those that came furthest.

    Accuracies are shares, None before the first evaluation.
    """

    words: str
    outcome: str
    reason: str
    evaluations: int
    best5: float | None
    interval: tuple[float, float] | None  # 95 %, over evaluation sentences and several seeds
    last: float | None  # the one evaluation that nothing selected
    whole: float | None  # on the whole evaluation split, where `last` is on a sample of it
    study: float | None  # the study's score on SST-2, where it has this row
    seeds: str | None  # how many of how many; None in a run of one seed each


def leaderboard(run: Run) -> dict[str, list[Row]]:
    """Rows by stratum: those run to the end first, each group by falling best5."""
    strata: dict[str, list[Row]] = {}
    groups, words = rows_of(run), wording(run)
    several = len(groups) < len(run.trials)
    for trials in groups:
        name = stratum_of(trials[0].config.to_dict(), run.sweep["compare_within"])
        strata.setdefault(name, []).append(_row(trials, run, words(trials[0]), several=several))
    for rows in strata.values():
        rows.sort(key=lambda row: (ORDER[row.outcome], -(row.best5 or 0.0)))
    return dict(sorted(strata.items(), key=lambda item: -max(r.best5 or 0.0 for r in item[1])))


def _row(trials: list[TrialRecord], run: Run, words: str, *, several: bool) -> Row:
    first, outcome = trials[0], outcome_of(trials)
    scores = unit_scores(trials, run.sweep["evaluation_sentences"])
    with_study = any(r["space"] == "study" for r in run.sweep["requests"])
    return Row(
        words=unit_words(words, first) if several else words,
        outcome=INTERRUPTED if outcome == RUNNING else outcome,
        reason=reason_of(trials),
        evaluations=max(len(trial.evaluations) for trial in counted(trials)),
        best5=mean_of(trials, "best5_accuracy"),
        interval=None if scores is None else score_interval(scores),
        last=mean_of(trials, "accuracy"),
        whole=mean_of(trials, "whole_accuracy"),
        study=_study_score(first) if with_study else None,
        seeds=seeds_in_words(trials) if several else None,
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
    with_whole, strata = _print_teacher(run, console), leaderboard(run)
    for name, rows in strata.items():
        console.print(_table(name, rows, teacher, with_whole=with_whole))
    several = any(row.seeds is not None for rows in strata.values() for row in rows)
    of_seeds = (
        ", the mean over a recipe's seeds, with its 95 % interval over other sentences and other "
        "seeds (of one seed over sentences alone)."
    )
    of_sentences = (
        ", with its 95 % interval over evaluation sentences; two seeds of one recipe differ too."
    )
    console.print(
        f"best5 is the mean of the five best evaluations{of_seeds if several else of_sentences} "
        "A stopped trial had fewer evaluations: compare it only at equal numbers. last is the "
        "final evaluation alone.",
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
    with_seeds = any(row.seeds is not None for row in rows)
    headers = ["seeds"] if with_seeds else []
    headers += ["best5", "95 % interval", "of teacher", "last"]
    headers += ["whole", "evaluations"] if with_whole else ["evaluations"]
    for header in [*headers, "study (SST-2)"] if with_study else headers:
        table.add_column(header, justify="right", no_wrap=True)
    table.add_column("outcome")
    for row in rows:
        table.add_row(
            Text(row.words.removeprefix(f"{name}, ")),
            *([row.seeds] if with_seeds else []),
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
