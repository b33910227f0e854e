"""The leaderboard of a run: a `recipes_table` as a terminal and a report show it."""

from collections.abc import Sequence

import pandas as pd
from rich.console import Console

from search.record.run import Run
from search.record.trial_record import FINISHED, PENDING, RUNNING
from search.results.cells import NO_VALUE, Cells, as_rich, compact, interval, percent, share, signed
from search.results.recommendation import recommended
from trainable.engine.metrics import BEST_OF

TIED, NOT_COMPARED, ONE_LABEL = "~", "*", "!"  # before a best5
LEGEND = {
    TIED: "not significantly different from the best, which does not mean equal",
    NOT_COMPARED: "not comparable, neither better nor worse: stopped early, interrupted, with "
    "another number of evaluations, or not all is recorded",
    ONE_LABEL: "one label only, the same for every example",
}
OVER = "over default"
DEFAULT, RECOMMENDED = "default", "recommended"  # in that column, and as the outcome
OPTIONAL = ("of teacher", "last", "95% interval")  # give way, in this order, on a short line


def print_leaderboard(run: Run, recipes: pd.DataFrame, console: Console) -> None:
    """One table of all recipes, the teacher's score above."""
    inputs = run.plan.inputs
    count = inputs.examples["evaluation"]
    on = "" if _full_split(run) else f" on the {count:,} validation examples"
    console.print(f"\nTeacher {inputs.metric_label}: {inputs.describe_teacher()}{on}.")
    cells = leaderboard_cells(run, recipes)
    shown = fitted(cells, console)
    if cells.above:
        console.print(cells.above)
    console.print(as_rich(shown))
    hidden = set(cells.headers) - set(shown.headers)
    also = f" In the report, too: {', '.join(sorted(hidden))}." if hidden else ""
    console.print(cells.notes + also, style="dim")


def fitted(cells: Cells, console: Console) -> Cells:
    """Without those of the OPTIONAL columns for which a terminal has no room."""
    endless = console.options.update(width=1000)
    for header in OPTIONAL:
        if console.measure(as_rich(cells), options=endless).maximum <= console.width:
            break
        n = cells.headers.index(header)
        headers, *rows = ([*line[:n], *line[n + 1 :]] for line in (cells.headers, *cells.rows))
        cells = cells._replace(headers=headers, rows=rows)
    return cells


def leaderboard_cells(run: Run, recipes: pd.DataFrame) -> Cells:
    """All recipes, best first; what all of them share stands above the rows, not in them."""
    rates, several = _learning_rates(recipes), len(recipes) > 1
    parts = [
        [part for part in compact(label).split(", ")[1:] if not (rates and part.startswith("lr "))]
        for label in recipes["label"]
    ]
    shared = [part for part in parts[0] if all(part in own for own in parts)] if several else []
    rows = [row for _, row in recipes.iterrows()]
    chosen = recommended(run) if several else None
    best = chosen.trials[0].config.recipe.digest if chosen else ""
    gains = _over_default(run, recipes)
    optional = {
        OVER: not {*gains} <= {NO_VALUE, DEFAULT},
        "seeds": _on_seeds(recipes),
        "full split": _full_split(run) is not None,
        "reference": any(request.space == "study" for request in run.plan.requests),
    }
    columns = {
        "recipe": [", ".join(p for p in own if p not in shared) or "all as above" for own in parts],
        "initialisation": [*recipes["initialisation"]],
        "seeds": [*map(_seeds, rows)],
        "best5": [f"{_mark(row)}{share(row['best5'])}" for row in rows],
        "95% interval": [*map(interval, zip(recipes["low"], recipes["high"], strict=True))],
        "of teacher": [*map(percent, recipes["of_teacher"])],
        "last": [*map(share, recipes["last"])],
        "full split": [*map(share, recipes["full_validation"])],
        OVER: gains,
        "reference": [*map(share, recipes["reference"])],
        "outcome": [RECOMMENDED if row["recipe"] == best else _outcome(row) for row in rows],
    }
    columns = {header: texts for header, texts in columns.items() if optional.get(header, True)}
    for header in ("outcome", "seeds", "initialisation", "recipe"):
        if several and len(set(columns.get(header, ()))) == 1:
            text = columns.pop(header)[0]
            shared = [f"{header} {text}", *shared] if header != "recipe" else shared
    above = f"In all rows: {', '.join(shared)}." if shared else ""
    above += f" Learning rates differ with the initialisation: {rates}." if rates else ""
    marks = {_mark(row) for row in rows}
    unmarked = any(pd.notna(row["best5"]) and not _mark(row) for row in rows[1:])
    notes = _column_notes(run, recipes, [*columns]) + [
        f"{m}: {LEGEND[m]}." for m in LEGEND if m in marks
    ]
    notes += ["No mark after the first: significantly worse."] * unmarked
    notes += ["reference: the reference study's accuracy on SST-2."] * optional["reference"]
    return Cells([*columns], [*zip(*columns.values(), strict=True)], above.strip(), " ".join(notes))


def _column_notes(run: Run, recipes: pd.DataFrame, headers: Sequence[str]) -> list[str]:
    full, over, metric = _full_split(run), "examples", run.plan.inputs.metric_label
    on = f"{run.plan.inputs.examples['evaluation']:,}"
    on = f"validation subset of {on} examples" if full else f"{on} validation examples"
    if _on_seeds(recipes):
        over = "examples and seeds, averaged over a recipe's seeds"
    note = (
        f"best5: mean of the five best evaluations (of all, where there are fewer) on the {on}, "
        f"with its 95% interval over {over}. last: the last evaluation (no selection), whose "
        "student is kept."
    )
    planned = round(recipes["planned_evaluations"].max())
    early = f"best5 of {planned} evaluations counts early ones, too: learning fast raises it."
    notes = {
        note: True,
        early: BEST_OF <= planned < 2 * BEST_OF,
        f"{OVER}: points, in the last evaluation.": OVER in headers,
        f"full split: {metric} on all {full or 0:,} validation examples, at the end.": full,
    }
    return [text for text, holds in notes.items() if holds]


def _over_default(run: Run, recipes: pd.DataFrame) -> list[str]:
    """By how much the last evaluation of the finished is better than that of the default, `default`
    for which."""
    last = recipes["full_validation"].fillna(recipes["last"])[recipes["outcome"] == FINISHED]
    is_default = recipes["recipe"] == (run.default_recipe.digest if run.default_recipe else "")
    gains = (last - last[is_default].mean()).reindex(recipes.index).map(signed)
    return [*gains.mask(is_default, DEFAULT)]


def _learning_rates(recipes: pd.DataFrame) -> str:
    """`5e-05 for teacher_spread; 0.0001 for random`; empty where all have the same, or each
    initialisation several."""
    rates = recipes.groupby("initialisation")["learning_rate"].unique()
    if (rates.map(len) > 1).any() or recipes["learning_rate"].nunique() < 2:
        return ""
    by_rate = rates.index.groupby(rates.map(lambda values: values[0]))
    return "; ".join(f"{rate:g} for {', '.join(names)}" for rate, names in by_rate.items())


def _mark(row: pd.Series) -> str:
    """What stands before a row's best5."""
    if pd.isna(row["best5"]) or row["one_label"]:
        return ONE_LABEL if row["one_label"] else ""
    if row.name == 0 and row["outcome"] == FINISHED:
        return ""
    return NOT_COMPARED if pd.isna(row["tied"]) else TIED if row["tied"] else ""


def _on_seeds(recipes: pd.DataFrame) -> bool:
    return bool((recipes["planned_seeds"] > 1).any())


def _full_split(run: Run) -> int | None:
    return run.plan.inputs.examples.get("full")


def _outcome(row: pd.Series) -> str:
    """`finished`, `stopped 3/15`, `failed: out of memory`."""
    name = {RUNNING: "unfinished", PENDING: "not started"}.get(row["outcome"], row["outcome"])
    if row["evaluations"] and row["outcome"] != FINISHED:
        name += f" {row['evaluations']}/{row['planned_evaluations']}"
    return f"{name}: {row['reason']}" if row["reason"] else str(name)


def _seeds(row: pd.Series) -> str:
    """`3`, or `2 of 3` where the numbers are of fewer."""
    count, planned = row["seeds"], row["planned_seeds"]
    return str(count) if count == planned else f"{count} of {planned}"
