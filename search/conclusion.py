"""What a complete confirmation says: computed from its run, then printed and written down."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from statistics import fmean

import numpy as np
from rich.box import MARKDOWN
from rich.console import Console
from rich.table import Table

from search.finalists import Confirmation
from search.record import FAILED, FINISHED, Run, TrialRecord
from search.statistics import seed_interval
from search.trial_words import wording
from search.verdicts import Retrained, Verdict, judge
from trainable.config import TrialConfig
from trainable.files import whole_file, write_json
from trainable.metrics import unpack_bits

PAGE, JSON = "confirm.md", "confirm.json"
HEADERS = ("recipe", "last", "95 % interval", "best5", "best5 when chosen", "seeds")
NO_VALUE = "-"
FILE_WIDTH = 1000  # columns: a table's rows stay whole


@dataclass(frozen=True)
class Row:
    """One recipe; accuracies are shares, means over its seeds, None where no seed finished."""

    recipe: str
    last: float | None  # of the final evaluation (no selection)
    interval: tuple[float, float] | None  # 95 % t over seeds; None below two
    best5: float | None
    chosen: float | None  # best5 in the run that it was chosen from; None for a baseline
    seeds: int  # that finished


@dataclass(frozen=True)
class Conclusion:
    """The verdicts of a confirmation, what they are based on, and what went wrong."""

    confirmation: Confirmation
    examples: int  # of the final evaluation
    rows: list[Row]
    verdicts: list[Verdict]
    sentences: list[str]  # the verdicts in words
    failures: list[str]
    notes: list[str]


def conclude(run: Run) -> Conclusion:
    """The answers of a confirmation that has ended."""
    assert run.plan.confirms is not None
    confirmation = Confirmation.from_dict(run.plan.confirms)
    retrained = {recipe: Retrained() for recipe in confirmation.recipes}
    finished = [trial for trial in run.trials.values() if trial.outcome == FINISHED]
    for trial in finished:
        if (bits := final_bits(trial, run)) is not None:
            students, seed = retrained[trial.config.recipe], trial.config.seed
            students.last[seed] = bits
            students.best5[seed] = trial.evaluations[-1]["best5_accuracy"]
    label, failed = wording(run), [t for t in run.trials.values() if t.outcome == FAILED]
    names = {recipe: label(TrialRecord(recipe)) for recipe in retrained}
    verdicts, examples = judge(retrained, confirmation.pairs), run.plan.inputs.examples
    lost = len(finished) - sum(len(students.last) for students in retrained.values())
    return Conclusion(
        confirmation,
        examples=examples.get("whole", examples["evaluation"]),
        rows=_rows(confirmation, retrained, names),
        verdicts=verdicts,
        sentences=[verdict.sentence(names) for verdict in verdicts],
        failures=[f"{label(trial)}: {trial.reason}" for trial in failed],
        notes=_notes(confirmation, examples, verdicts, lost),
    )


def final_bits(trial: TrialRecord, run: Run) -> np.ndarray | None:
    """Which examples the final evaluation got right, [N], of the full validation split where it was
    scored on that; None where the record lost them."""
    last, examples = trial.evaluations[-1], run.plan.inputs.examples
    split, packed = "evaluation", last["correct"]
    if last.get("whole_accuracy") is not None:
        split, packed = "whole", last["whole_correct"]
    return unpack_bits(packed, examples[split]) if packed else None


def _rows(
    confirmation: Confirmation,
    retrained: Mapping[TrialConfig, Retrained],
    names: Mapping[TrialConfig, str],
) -> list[Row]:
    finalists = [config.recipe for config in confirmation.finalists]
    chosen = dict(zip(finalists, confirmation.scores, strict=True))
    return [
        Row(
            recipe=names[recipe],
            last=_mean(students.accuracies),
            interval=seed_interval(students.accuracies) if len(students.last) > 1 else None,
            best5=_mean(students.best5.values()),
            chosen=chosen.get(recipe),
            seeds=len(students.last),
        )
        for recipe, students in retrained.items()
    ]


def _mean(values: Iterable[float]) -> float | None:
    return fmean(found) if (found := list(values)) else None


def _notes(
    confirmation: Confirmation, examples: dict[str, int], verdicts: list[Verdict], lost: int
) -> list[str]:
    """What the numbers are, and their limitations."""
    split, asked = f"the {examples['evaluation']:,} validation examples", confirmation.asked
    if "whole" in examples:
        split = f"the full validation split of {examples['whole']:,} examples (best5: the subset "
        split += f"of {examples['evaluation']:,})"
    comparisons = sum(verdict.difference is not None for verdict in verdicts)
    notes = [
        f"last: accuracy of the final evaluation (no selection) on {split}; mean over seeds, with "
        "its 95 % t interval for other seeds on these examples.",
        "best5: mean of the five best evaluations; when chosen: the score that made the recipe a "
        f"finalist of {confirmation.run}, optimistic because it was selected.",
        "Differences are between final evaluations; each interval is for other seeds and other "
        f"examples, unadjusted. Significant: Holm-adjusted p of all {comparisons} comparison(s) "
        "below 0.05. Not significant does not mean equal.",
    ]
    if len(asked) > 1:
        notes.append(
            f"Seeds were added later ({', then '.join(map(str, asked))}): if an earlier result was "
            "the reason, the p-values are too small."
        )
    if lost:
        notes.append(f"{lost} finished trial(s) left out: their per-example results were lost.")
    return notes


def print_conclusion(conclusion: Conclusion, console: Console) -> None:
    """The verdicts, then the table and what its numbers are: Markdown."""
    made, seeds = conclusion.confirmation, ", ".join(map(str, conclusion.confirmation.seeds))
    where = f"fresh seeds {seeds} and {conclusion.examples:,} examples"
    console.print(f"\nConfirmation of {made.run} on {where}:\n", soft_wrap=True)
    for sentence in conclusion.sentences:
        console.print(f"- {sentence}", soft_wrap=True)
    table = Table(box=MARKDOWN)
    for header in HEADERS:
        left = header == HEADERS[0]
        table.add_column(header, justify="left" if left else "right", no_wrap=not left)
    for row in conclusion.rows:
        table.add_row(*_cells(row))
    console.print(table)
    for failure in conclusion.failures:
        console.print(f"- failed: {failure}", soft_wrap=True)
    for note in conclusion.notes:
        console.print(f"- {note}", style="dim", soft_wrap=True)


def _cells(row: Row) -> list[str]:
    interval = NO_VALUE if row.interval is None else "{:.4f} - {:.4f}".format(*row.interval)
    last, best5, chosen = (
        NO_VALUE if value is None else f"{value:.4f}" for value in (row.last, row.best5, row.chosen)
    )
    return [row.recipe, last, interval, best5, chosen, str(row.seeds)]


def write_conclusion(conclusion: Conclusion, run: Run) -> None:
    """`confirm.md` and `confirm.json` in the run's folder, each whole or as it was."""
    with whole_file(run.folder / PAGE) as path, path.open("w", encoding="utf-8") as file:
        print_conclusion(
            conclusion, Console(file=file, width=FILE_WIDTH, markup=False, highlight=False)
        )
    with whole_file(run.folder / JSON) as path:
        write_json(path, asdict(conclusion))
