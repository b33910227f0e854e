"""What a complete confirmation says: computed from its run, then printed and written down."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from search.finalists import Confirmation
from search.record import CONFIRMS, FAILED, FINISHED, Run, TrialRecord
from search.statistics import seed_interval
from search.verdicts import Retrained, Verdict, in_common, judge, recipe_names
from trainable.config import TrialConfig
from trainable.files import whole_file, write_json
from trainable.metrics import unpack_bits

MARKDOWN, JSON = "confirm.md", "confirm.json"
HEADERS = ("recipe", "last", "95 % interval", "best5", "best5 when chosen", "seeds")
NO_VALUE = "-"


@dataclass(frozen=True)
class Row:
    """One recipe; accuracies are shares, means over its seeds, None where no seed finished."""

    recipe: str
    last: float | None  # of the last evaluation, which nothing selected
    interval: tuple[float, float] | None  # 95 % t over seeds; None below two
    best5: float | None
    chosen: float | None  # best5 in the run that it was chosen from; None for a baseline
    seeds: int  # that finished


@dataclass(frozen=True)
class Conclusion:
    """The verdicts of a confirmation, what they stand on, and what went wrong."""

    confirmation: Confirmation
    sentences: int  # that the last evaluation was taken on
    rows: list[Row]
    verdicts: list[Verdict]
    failures: list[str]
    notes: list[str]


def conclude(run: Run) -> Conclusion:
    """The answers of a confirmation that has ended."""
    confirmation = Confirmation.from_dict(run.sweep[CONFIRMS])
    retrained = {recipe: Retrained() for recipe in confirmation.recipes}
    for trial in run.trials.values():
        if trial.outcome == FINISHED:
            students, seed = retrained[trial.config.recipe], trial.config.seed
            students.last[seed] = last_bits(trial, run)
            students.best5[seed] = trial.evaluations[-1]["best5_accuracy"]
    verdicts = judge(retrained, confirmation.pairs)
    whole = run.sweep["task"]["sentences"].get("whole")
    return Conclusion(
        confirmation,
        sentences=whole or run.sweep["evaluation_sentences"],
        rows=_rows(confirmation, retrained),
        verdicts=verdicts,
        failures=[
            f"{trial.config.words()}: {trial.reason}"
            for trial in run.trials.values()
            if trial.outcome == FAILED
        ],
        notes=_notes(run, confirmation, sum(v.difference is not None for v in verdicts)),
    )


def last_bits(trial: TrialRecord, run: Run) -> np.ndarray:
    """Which sentences the last evaluation got right, [N]: of the whole split where it has that."""
    last = trial.evaluations[-1]
    if last.get("whole_correct") is not None:
        return unpack_bits(last["whole_correct"], run.sweep["task"]["sentences"]["whole"])
    return unpack_bits(last["correct"], run.sweep["evaluation_sentences"])


def _rows(confirmation: Confirmation, retrained: dict[TrialConfig, Retrained]) -> list[Row]:
    names = recipe_names(retrained)
    finalists = [config.recipe for config in confirmation.finalists]
    chosen = dict(zip(finalists, confirmation.scores, strict=True))
    rows = []
    for recipe, students in retrained.items():
        scores = students.accuracies
        rows.append(
            Row(
                recipe=names[recipe],
                last=float(np.mean(scores)) if scores else None,
                interval=seed_interval(scores) if len(scores) > 1 else None,
                best5=float(np.mean(list(students.best5.values()))) if scores else None,
                chosen=chosen.get(recipe),
                seeds=len(scores),
            )
        )
    return rows


def _notes(run: Run, confirmation: Confirmation, comparisons: int) -> list[str]:
    """What the numbers are, and what they don't say."""
    sentences = run.sweep["task"]["sentences"]
    count, whole = run.sweep["evaluation_sentences"], sentences.get("whole")
    taken_on = f"the {count:,} evaluation sentences"
    if whole is not None:
        taken_on = f"all {whole:,} evaluation sentences (best5: the sample of {count:,})"
    notes = [
        f"last: the final evaluation, which nothing selected, on {taken_on}; mean over seeds, with "
        "its 95 % t interval for other seeds on these sentences.",
        "best5: mean of the five best evaluations; when chosen: that which made the "
        f"recipe a finalist of {confirmation.run}, which flatters it.",
        "Differences are of last, their intervals for other seeds and other sentences, each by "
        f"itself; shown: Holm-adjusted p of all {comparisons} comparison(s) below 0.05. Not shown "
        "does not mean equal.",
    ]
    if len(confirmation.asked) > 1:
        numbers = ", then ".join(str(count) for count in confirmation.asked)
        notes.append(
            f"Seeds were added on the way ({numbers}): if an earlier answer was the reason, the "
            "p-values are too small."
        )
    return notes


def print_conclusion(conclusion: Conclusion, console: Console) -> None:
    """The sentences, then the table and what its numbers are."""
    console.print(f"\n{title(conclusion)}", soft_wrap=True)
    for verdict in conclusion.verdicts:
        console.print(f"- {verdict.sentence()}", soft_wrap=True)
    table = Table(box=None, pad_edge=False)
    table.add_column(HEADERS[0])
    for header in HEADERS[1:]:
        table.add_column(header, justify="right", no_wrap=True)
    for row in conclusion.rows:
        table.add_row(*_cells(row))
    console.print()
    console.print(table)
    for failure in conclusion.failures:
        console.print(f"failed: {failure}", soft_wrap=True)
    for note in conclusion.notes:
        console.print(note, style="dim")


def write_conclusion(conclusion: Conclusion, run: Run) -> None:
    """`confirm.md` and `confirm.json` in the run's folder, each whole or as it was."""
    with whole_file(run.folder / MARKDOWN) as path:
        path.write_text(as_markdown(conclusion), encoding="utf-8")
    with whole_file(run.folder / JSON) as path:
        write_json(path, as_values(conclusion))


def title(conclusion: Conclusion) -> str:
    """`Confirmation of NAME on 5 fresh seeds (1-5) and 800 sentences; all teacher_spread.`"""
    confirmation = conclusion.confirmation
    common = in_common(confirmation.recipes)
    return (
        f"Confirmation of {confirmation.run} on {len(confirmation.seeds)} fresh seeds "
        f"({seeds_words(confirmation.seeds)}) and {conclusion.sentences:,} sentences"
        + (f"; all {common}." if common else ".")
    )


def seeds_words(seeds: tuple[int, ...]) -> str:
    """`1-5`, or all of them where they don't follow one another."""
    if len(seeds) > 2 and list(seeds) == list(range(seeds[0], seeds[0] + len(seeds))):
        return f"{seeds[0]}-{seeds[-1]}"
    return ", ".join(map(str, seeds))


def _cells(row: Row) -> list[str]:
    interval = NO_VALUE if row.interval is None else "{:.4f} - {:.4f}".format(*row.interval)
    last, best5, chosen = map(_share, (row.last, row.best5, row.chosen))
    return [row.recipe, last, interval, best5, chosen, str(row.seeds)]


def _share(value: float | None) -> str:
    return NO_VALUE if value is None else f"{value:.4f}"


def as_markdown(conclusion: Conclusion) -> str:
    """The same as is printed."""
    lines = [f"# {title(conclusion)}", ""]
    lines += [f"- {verdict.sentence()}" for verdict in conclusion.verdicts]
    rows = [list(HEADERS), ["---", *["---:"] * (len(HEADERS) - 1)]]
    rows += [_cells(row) for row in conclusion.rows]
    lines += ["", *(f"| {' | '.join(cells)} |" for cells in rows), ""]
    lines += [f"- failed: {failure}" for failure in conclusion.failures]
    lines += [f"- {note}" for note in conclusion.notes]
    return "\n".join(lines) + "\n"


def as_values(conclusion: Conclusion) -> dict[str, Any]:
    """Plain JSON values; differences are first less second, in shares."""
    return {
        "confirms": conclusion.confirmation.to_dict(),
        "sentences": conclusion.sentences,
        "recipes": [asdict(row) for row in conclusion.rows],
        "comparisons": [_as_values(verdict) for verdict in conclusion.verdicts],
        "failures": conclusion.failures,
        "notes": conclusion.notes,
    }


def _as_values(verdict: Verdict) -> dict[str, Any]:
    first, second = verdict.pair
    difference = verdict.difference
    return {
        "first": first.to_dict(),
        "second": second.to_dict(),
        "names": list(verdict.names),
        "seeds": verdict.seeds,
        "difference": None if difference is None else asdict(difference),
        "adjusted_p_value": None if difference is None else verdict.adjusted,
        "shown": verdict.shown,
        "sentence": verdict.sentence(),
    }
