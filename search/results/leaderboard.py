"""The leaderboard of a run: a `recipes_table` as a terminal and a report show it."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import pandas as pd
from rich.console import Console
from rich.table import Table
from rich.text import Text

from search.record.run import Run
from search.record.trial_record import FINISHED, PENDING, RUNNING, STOPPED
from search.results.statistics import Difference
from search.results.table import rounded, short_label

NO_VALUE = "-"
TIED = "~"  # before a best5
DIGITS = 4  # of an accuracy


class Cells(NamedTuple):
    """A table as text."""

    headers: Sequence[str]
    rows: Sequence[Sequence[str]]


def print_leaderboard(run: Run, recipes: pd.DataFrame, console: Console) -> None:
    """One table of all recipes, the teacher's accuracy above."""
    count = run.plan.inputs.examples["evaluation"]
    on = "" if _full_split(run) else f" on the {count:,} validation examples"
    console.print(f"\nTeacher accuracy: {run.plan.inputs.describe_teacher()}{on}.")
    console.print(as_rich(leaderboard_cells(run, recipes)))
    console.print(leaderboard_notes(run, recipes), style="dim")
    if found := recommendation(recipes):
        console.print(found)


def recommendation(recipes: pd.DataFrame) -> str:
    """By how much the first of a `recipes_table` owes its place to luck, and which recipe is
    expected to be better than it, where one is; empty where none are compared."""
    expected = recipes["expected"]
    if expected.count() < 2:
        return ""
    # What reads as equal is: the first of them.
    first, best = recipes.iloc[0], recipes.loc[expected.round(DIGITS).idxmax()]
    luck = 100 * max(first["best5"] - first["expected"], 0.0)
    text = f"As the highest of {expected.count()}, best5 {share(first['best5'])} is expected to be "
    text += f"{luck:.2f} points too high."
    if best.name == 0:
        return text
    return (
        f"{text} Recommended instead of the first: {rounded(best['label'])}, which is expected to "
        f"have {share(best['expected'])}, the first {share(first['expected'])}."
    )


def as_rich(cells: Cells, title: str | None = None) -> Table:
    """A table for a terminal: numbers to the right, never wrapped."""
    table = Table(title=title, title_justify="left", title_style="bold", box=None)
    table.padding = (0, 1, 0, 0)
    for header in cells.headers:
        wraps, lines = header in ("recipe", "outcome"), header.replace("of ", "of\n")
        table.add_column(lines, justify="right", no_wrap=not wraps, overflow="fold")
        if wraps or header == "initialisation":
            table.columns[-1].justify = "left"
    for row in cells.rows:
        table.add_row(*map(Text, row))
    return table


def leaderboard_cells(run: Run, recipes: pd.DataFrame) -> Cells:
    """All recipes, best first."""
    columns: dict[str, Callable[[pd.Series], str]] = {
        "recipe": short_label,
        "initialisation": lambda row: row["initialisation"],
        "seeds": _seeds,
        "best5": lambda row: f"{TIED if _is_tied(row) else ''}{share(row['best5'])}",
        "95% interval": lambda row: interval((row["low"], row["high"])),
        "of teacher": lambda row: percent(row["of_teacher"]),
        "last": lambda row: share(row["last"]),
        "full split": lambda row: share(row["full_validation"]),
        "reference": lambda row: share(row["reference"]),
        "outcome": _outcome,
    }
    several, labels = len(recipes) > 1, recipes["initialisation"]
    if several and labels.is_unique and recipes.apply(short_label, axis=1).nunique() == 1:
        del columns["recipe"]
    if not _on_seeds(recipes):
        del columns["seeds"]
    if not _full_split(run):
        del columns["full split"]
    if not any(request.space == "study" for request in run.plan.requests):
        del columns["reference"]
    rows = [[show(row) for show in columns.values()] for _, row in recipes.iterrows()]
    return Cells([*columns], rows)


def leaderboard_notes(run: Run, recipes: pd.DataFrame) -> str:
    """What the columns hold."""
    on, over = f"the {run.plan.inputs.examples['evaluation']:,} validation examples", "examples"
    if _full_split(run):
        on = f"the validation subset of {run.plan.inputs.examples['evaluation']:,} examples"
    if _on_seeds(recipes):
        over = "examples and seeds, averaged over a recipe's seeds"
    notes = [
        f"best5: mean of the five best evaluations (of all, where there are fewer) on {on}, with "
        f"its 95% interval over {over}. last: the last evaluation (no selection)."
    ]
    if _full_split(run):
        notes.append(
            f"full split: accuracy on all {_full_split(run):,} validation examples, at the end."
        )
    if recipes["tied"].sum() > 1:
        notes.append(f"{TIED}: not significantly different from the best.")
    if (recipes["outcome"] == STOPPED).any():
        notes.append(
            "Trials that ASHA stopped had fewer evaluations: their scores are not comparable."
        )
    if rates := _learning_rates(recipes):
        notes.append(f"Learning rates differ with the initialisation: {rates}.")
    if any(request.space == "study" for request in run.plan.requests):
        notes.append("reference: the reference study's accuracy on SST-2.")
    return " ".join(notes)


def _learning_rates(recipes: pd.DataFrame) -> str:
    """`5e-05 for teacher_spread; 0.0001 for random`; empty where all have the same, or each
    initialisation several."""
    rates = recipes.groupby("initialisation")["learning_rate"].unique()
    if (rates.map(len) > 1).any() or recipes["learning_rate"].nunique() < 2:
        return ""
    names = rates.index.groupby(rates.map(lambda values: values[0]))
    return "; ".join(f"{rate:g} for {', '.join(found)}" for rate, found in names.items())


def _is_tied(row: pd.Series) -> bool:
    """Whether a row below the first is not significantly different from it."""
    return row.name != 0 and not pd.isna(row["tied"]) and bool(row["tied"])


def _on_seeds(recipes: pd.DataFrame) -> bool:
    return bool((recipes["planned_seeds"] > 1).any())


def _full_split(run: Run) -> int | None:
    return run.plan.inputs.examples.get("full")


def _outcome(row: pd.Series) -> str:
    """`finished`, `stopped at 3/15`, `failed: out of memory`."""
    name = {RUNNING: "interrupted", PENDING: "not started"}.get(row["outcome"], row["outcome"])
    if row["evaluations"] and row["outcome"] != FINISHED:
        name += f" at {row['evaluations']}/{row['planned_evaluations']}"
    return f"{name}: {row['reason']}" if row["reason"] else str(name)


def _seeds(row: pd.Series) -> str:
    """`3`, or `2 of 3` where the numbers are of fewer."""
    count, planned = row["seeds"], row["planned_seeds"]
    return str(count) if count == planned else f"{count} of {planned}"


def share(value: float | None) -> str:
    """`0.8508`."""
    return NO_VALUE if value is None or pd.isna(value) else f"{value:.{DIGITS}f}"


def interval(ends: tuple[float, float] | None) -> str:
    """`0.827 to 0.875`."""
    return NO_VALUE if ends is None or pd.isna(ends[0]) else f"{ends[0]:.3f} to {ends[1]:.3f}"


def percent(value: float | None) -> str:
    """`97.2%`."""
    return NO_VALUE if value is None or pd.isna(value) else f"{value:.1%}"


def signed(value: float | None) -> str:
    """`+0.85` points of a difference 0.0085."""
    return NO_VALUE if value is None else f"{100 * value:+.2f}"


def difference_cells(found: Difference | None) -> tuple[str, str]:
    """`+1.25` and `+0.30 to +2.20`, in points."""
    if found is None:
        return NO_VALUE, NO_VALUE
    return signed(found.estimate), f"{signed(found.low)} to {signed(found.high)}"
