"""Tables as text, and how numbers stand in them."""

import re
from collections.abc import Sequence
from html import escape
from typing import Any, NamedTuple

import pandas as pd
from rich.table import Table
from rich.text import Text

from search.results.statistics import Difference
from search.results.table import rounded

NO_VALUE = "-"
DIGITS = 4  # of a score
LONGEST_OUTCOME = 28  # columns of a terminal; a longer reason wraps


class Cells(NamedTuple):
    """A table as text; `above` says what all rows share, `notes` what the columns hold."""

    headers: Sequence[str]
    rows: Sequence[Sequence[str]]
    above: str = ""
    notes: str = ""


def as_rich(cells: Cells, title: str | None = None) -> Table:
    """A table for a terminal: numbers to the right, never wrapped."""
    table = Table(title=title, title_justify="left", title_style="bold", box=None)
    table.padding = (0, 1, 0, 0)
    for header in cells.headers:
        wraps, lines = header in ("recipe", "outcome"), re.sub("^(of|over) ", r"\1\n", header)
        table.add_column(lines, justify="right", no_wrap=not wraps, overflow="fold")
        table.columns[-1].max_width = LONGEST_OUTCOME if header == "outcome" else None
        if wraps or header == "initialisation":
            table.columns[-1].justify = "left"
    for row in cells.rows:
        table.add_row(*map(Text, row))
    return table


def plain(value: Any) -> Any:
    """Text that Markdown shows as it is, on one line: no markup, HTML or cell begins in it."""
    if not isinstance(value, str):
        return value
    text = re.sub(r"([\\`*\[\]|])", r"\\\1", re.sub(r"\s+", " ", value))
    return escape(text, quote=False)


def capitalised(text: str) -> str:
    """With a capital at its beginning, the rest as it is."""
    return text[:1].upper() + text[1:]


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
    return NO_VALUE if value is None or pd.isna(value) else f"{100 * value:+.2f}"


def difference_cells(difference: Difference | None) -> tuple[str, str]:
    """`+1.25` and `+0.30 to +2.20`, in points."""
    if difference is None:
        return NO_VALUE, NO_VALUE
    ends = f"{signed(difference.low)} to {signed(difference.high)}"
    return signed(difference.estimate), ends


def compact(label: str) -> str:
    """A label for a table, on one line: `layers 1,2,3, pool mean, weight 100, cosine_growth k=1`
    reads `layers 1-3, mean, w=100, growth k=1`."""

    def as_range(layers: re.Match[str]) -> str:
        first, *_, last = layers[0].split(",")
        every = ",".join(map(str, range(int(first), int(last) + 1)))
        return f"{first}-{last}" if layers[0] == every else layers[0]

    text = re.sub(r"\d+(,\d+)+", as_range, rounded(label))
    return re.sub(r"weight (?=\d)", "w=", re.sub(r"\b(cosine_|pool )", "", text))
