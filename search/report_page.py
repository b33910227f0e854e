"""The report as one HTML file and as Markdown, from templates."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from search.board import SEEDS
from search.pareto import gain_words
from search.record import FINISHED, RUNNING
from search.report_contents import Report
from search.report_study import AGREES, HIGHER, LOWER
from search.report_summary import points, rounded, short_words

SHOWN_ROWS = 15  # of a stratum before the rest folds away
NO_VALUE = "-"
CAPTIONS = {
    "learning_curves": "Accuracy at each evaluation",
    "alpha_schedules": "How alpha, the weight of the labels, moves over a trial",
    "sharpness": "best5 by initialisation, schedule and sharpness",
    "front": "Accuracy against what a student costs",
    "marginals": "Mean score by each setting's value",
}


def render_html(report: Report, drawn: Mapping[str, Mapping[str, str]]) -> str:
    """The page, complete in itself: style and figures inside, no script, no other host."""
    figures = {
        name: {layout: Markup(_inside(svg)) for layout, svg in by_layout.items()}
        for name, by_layout in drawn.items()
    }
    template = _environment(autoescape=True).get_template("report.html")
    return template.render(**_context(report), figures=figures)


def render_markdown(report: Report, figures: Sequence[str]) -> str:
    """The same in Markdown; the figures are the files beside it."""
    template = _environment(autoescape=False).get_template("report.md")
    return template.render(**_context(report), figures=list(figures))


def _inside(svg: str) -> str:
    """An SVG as HTML holds it, where names need no declaration."""
    return svg.replace(' xmlns="http://www.w3.org/2000/svg"', "").replace(
        ' xmlns:xlink="http://www.w3.org/1999/xlink"', ""
    )


def _environment(*, autoescape: bool) -> Environment:
    environment = Environment(
        loader=PackageLoader("search", "templates"),
        autoescape=autoescape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "share": share,
        "interval": interval,
        "signed": signed,
        "duration": duration,
        "cell": cell,
        "rounded": rounded,
    }
    return environment


def _context(report: Report) -> dict[str, Any]:
    with_whole = report.whole_sentences is not None
    scales = {name: Scale.over(rows, report.teacher) for name, rows in report.strata.items()}
    return {
        "report": report,
        "captions": CAPTIONS,
        "strata": {
            name: [leaderboard_row(row, report, scales[name]) for _, row in rows.iterrows()]
            for name, rows in report.strata.items()
        },
        "scales": scales,
        "with_whole": with_whole,
        "shown": SHOWN_ROWS,
        "study": study_tables(report),
        "importance": importance_rows(report.importance),
        "verdicts": {AGREES: "agrees", HIGHER: "differs", LOWER: "differs"},
        "points": points,
        "front": [candidate for candidate in report.candidates if candidate.on_front],
        "gain_words": gain_words,
    }


class Scale:
    """Places on a strip from the lowest interval's end to the highest, in per cent."""

    def __init__(self, low: float, high: float) -> None:
        self.low, self.high = low, high

    @classmethod
    def over(cls, rows: pd.DataFrame, teacher: float) -> "Scale":
        """The scale of these trials and the teacher."""
        ends = [*rows["low"].dropna(), *rows["high"].dropna(), *rows["last"].dropna(), teacher]
        return cls(min(ends), max(ends))

    def place(self, value: float | None) -> float | None:
        """Per cent from the left; None for no value."""
        if value is None or pd.isna(value):
            return None
        return round(100 * (value - self.low) / ((self.high - self.low) or 1.0), 2)


def leaderboard_row(row: pd.Series, report: Report, scale: Scale) -> dict[str, Any]:
    """A trial as the leaderboard shows it, values as text and places on the strip."""
    leads = report.leaders.get(row["stratum"]) == row["digest"]
    tied = row["digest"] in report.tied
    ended = {RUNNING: "not ended"}.get(row["outcome"], row["outcome"])
    return {
        "digest": row["digest"],
        "words": short_words(row),
        "seeds": row.get(SEEDS, ""),
        "mark": "first" if leads else "tied" if tied else "",
        "whole_length": row["outcome"] == FINISHED,
        "best5": share(row["best5"]),
        "interval": interval((row["low"], row["high"])),
        "of_teacher": NO_VALUE if pd.isna(row["of_teacher"]) else f"{row['of_teacher']:.1%}",
        "last": share(row["last"]),
        "whole": share(row["whole"]),
        "evaluations": f"{row['evaluations']}/{row['planned_evaluations']}",
        "outcome": ended,
        "reason": row["reason"],
        "teacher": scale.place(report.teacher),
        "places": {key: scale.place(row[key]) for key in ("low", "high", "best5", "last")},
    }


def study_tables(report: Report) -> dict[str, list[Any]]:
    """The study's rows by its table."""
    tables: dict[str, list[Any]] = {}
    for row in report.study:
        tables.setdefault(row.table, []).append(row)
    return tables


def importance_rows(table: pd.DataFrame) -> dict[str, list[dict[str, Any]]]:
    """Settings by the trials they were weighed over, with their share in per cent."""
    found: dict[str, list[dict[str, Any]]] = {}
    for _, row in table.iterrows():
        key = f"{row['stratum']} ({row['trials']})"
        entry = {"parameter": row["parameter"], "share": round(100 * float(row["importance"]), 1)}
        found.setdefault(key, []).append(entry)
    return found


def share(value: float | None) -> str:
    """`0.8508`."""
    return NO_VALUE if value is None or pd.isna(value) else f"{value:.4f}"


def interval(ends: tuple[float, float] | None) -> str:
    """`0.827 to 0.875`."""
    if ends is None or pd.isna(ends[0]):
        return NO_VALUE
    return f"{ends[0]:.3f} to {ends[1]:.3f}"


def signed(value: float | None) -> str:
    """`+0.85` points of a difference 0.0085."""
    return NO_VALUE if value is None or pd.isna(value) else f"{100 * value:+.2f}"


def duration(seconds: float) -> str:
    """`42 s`, `7.5 min` or `3.2 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def cell(text: object) -> str:
    """Text inside a Markdown table, where a bar or a line's end would break the row."""
    return " ".join(str(text).split()).replace("|", "\\|")
