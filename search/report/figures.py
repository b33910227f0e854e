"""The report's figures as SVG, drawn from the numbers of `search.report.figure_data`.

Text stays text, so that it can be searched and takes the page's font.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from io import StringIO
from math import ceil
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, LogLocator, MaxNLocator, NullLocator

from search.record.trial_record import FINISHED, STOPPED
from search.report.contents import Report
from search.report.figure_data import point_panels, value_name
from search.report.importance import independent_settings, marginals, scored
from search.results.pareto import cost_name

WIDTH = 10.4  # of a figure, in inches
# Okabe and Ito's colours, which colour-blind readers tell apart; greys for what stands behind.
BEST, TIED, MUTED = "#0072B2", "#56B4E9", "#57606a"
SETS = (BEST, "#D55E00", "#009E73", "#CC79A7", "#E69F00", TIED, "#1f2328")
MARKERS = "osD^vPX"
# Of curves by rank: not finished, finished, tied, best.
CURVE_COLOURS, CURVE_WIDTHS = ("#b9c0c8", "#8b949e", TIED, BEST), (0.8, 0.9, 1.2, 2.4)
MOST_TICKS = 6
TITLE = "title: "  # what begins the name of an element whose name is to be shown when pointed at
STYLE = Path(__file__).parent / "templates" / "report.mplstyle"


def draw_all(report: Report) -> dict[str, str]:
    """SVG by figure; one that would show nothing is left out."""
    run, trials, evaluations = report.run, report.trials, report.evaluations
    figures: dict[str, Callable[[], Figure]] = {}
    if not evaluations.empty:
        teacher = run.plan.inputs.teacher.accuracy
        figures["learning_curves"] = partial(curves_figure, evaluations, report.rungs, teacher)
        if len(trials[["alpha_schedule", "alpha", "sharpness"]].drop_duplicates()) > 1:
            figures["sharpness"] = partial(points_figure, point_panels(trials))
    if not report.costs.empty:
        figures["front"] = partial(pareto_figure, report.costs, cost_name(run))
    if len(names := independent_settings(scored(trials))) > 1:
        tables = {name: marginals(trials, name) for name in names}
        figures["marginals"] = partial(marginals_figure, tables)
    return {name: draw(name, figure) for name, figure in figures.items()}


def draw(name: str, make: Callable[[], Figure]) -> str:
    """The SVG of a figure, the same each time, without what only a file of its own needs."""
    with mpl.rc_context({"svg.hashsalt": name}, fname=STYLE):
        written = StringIO()
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        make().savefig(written, format="svg", metadata=nothing, transparent=True)
    svg = written.getvalue()
    svg = re.sub(r' (?:width|height)="[\d.]+pt"', "", svg[svg.index("<svg") :], count=2)
    return re.sub(rf'<g id="{TITLE}([^"]*)">', r'<g class="titled"><title>\1</title>', svg)


def _panels(count: int, columns: int, height: float, **shared: Any) -> tuple[Figure, list[Axes]]:
    """A figure of so many panels, each `height` inches."""
    columns = min(columns, count)
    rows = ceil(count / columns)
    figure = Figure(figsize=(WIDTH, rows * height))
    axes = figure.subplots(rows, columns, squeeze=False, **shared).ravel().tolist()
    for spare in axes[count:]:
        spare.remove()
    return figure, axes[:count]


def curves_figure(evaluations: pd.DataFrame, rungs: pd.DataFrame, teacher: float) -> Figure:
    """Accuracy over evaluations, a panel for each stratum, with ASHA's rungs."""
    strata = evaluations["stratum"].nunique()
    if strata == evaluations["recipe"].nunique() > 1:  # ASHA compares nothing
        evaluations, rungs = evaluations.assign(stratum="all recipes"), rungs[:0]
    strata = evaluations["stratum"].unique()
    figure, axes = _panels(len(strata), 2, 3.1, sharey=True)
    accuracies = evaluations["accuracy"]
    low, high = accuracies.quantile(0.02), max(accuracies.max(), teacher)
    margin = 0.08 * max(high - low, 0.01)
    for axis, stratum in zip(axes, strata, strict=True):
        axis.set(ylim=(low - margin, high + 2 * margin), title=stratum, xlabel="evaluation")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.axhline(teacher, color="black", linewidth=1, linestyle=(0, (5, 3)))
        _note(axis, f"teacher {teacher:.3f}", (0.01, teacher), ("axes fraction", "data"))
        for rung in rungs[rungs["stratum"] == stratum].itertuples():
            axis.axvline(rung.rung, color=MUTED, linewidth=0.8, linestyle=(0, (1, 2)))
            _note(axis, f"{rung.stopped} stopped", (rung.rung, 0.01), ("data", "axes fraction"))
        of_stratum = evaluations[evaluations["stratum"] == stratum]
        for _, curve in of_stratum.groupby("digest"):
            _draw_curve(axis, curve)
    for axis in axes[::2]:
        axis.set_ylabel("accuracy")
    return figure


def _draw_curve(axis: Axes, curve: pd.DataFrame) -> None:
    last = curve.iloc[-1]
    axis.plot(
        curve["evaluation"],
        curve["accuracy"],
        gid=f"{TITLE}{last['label']}: {last['outcome']}, last {last['accuracy']:.4f}",
        color=CURVE_COLOURS[last["rank"]],
        linewidth=CURVE_WIDTHS[last["rank"]],
        marker="o" if len(curve) == 1 else None,
        markersize=3,
        zorder=2 + last["rank"],
    )
    if last["outcome"] == STOPPED:
        axis.plot(last["evaluation"], last["accuracy"], "x", color=MUTED, markersize=4, zorder=6)


def _note(axis: Axes, text: str, place: tuple[float, float], coordinates: Any) -> None:
    look: dict[str, Any] = {"fontsize": 8.5, "color": MUTED, "textcoords": "offset points"}
    axis.annotate(text, place, xytext=(3, 3), xycoords=coordinates, **look)


def points_figure(panels: Mapping[tuple[str, str], pd.DataFrame]) -> Figure:
    """best5 with its interval by alpha or sharpness, a panel for each initialisation, schedule."""
    schedules = list(dict.fromkeys(schedule for _, schedule in panels))
    figure, axes = _panels(len(panels), len(schedules), 2.2, sharex="col", sharey="row")
    sets = sorted(set(pd.concat(panels.values())["aligned_layers"]))
    looks: dict[str, dict[str, Any]] = {
        layers: {"color": SETS[n % len(SETS)], "marker": MARKERS[n % len(MARKERS)]}
        for n, layers in enumerate(sets)
    }
    for axis, ((initialisation, schedule), rows) in zip(axes, panels.items(), strict=True):
        axis.set_title(f"{initialisation}\n{schedule}")
        axis.grid(visible=False, axis="x")
        for _, row in rows.iterrows():
            layers = row["aligned_layers"]
            _draw_point(axis, row, looks[layers], sets.index(layers))
    first_row, last_row = axes[: len(schedules)], axes[-len(schedules) :]
    for top, bottom, schedule in zip(first_row, last_row, schedules, strict=True):
        values = pd.concat(rows["value"] for (_, its), rows in panels.items() if its == schedule)
        _scale_values(top, schedule, sorted(set(values)))
        bottom.set_xlabel(value_name(schedule))
    for axis in axes[:: len(schedules)]:
        axis.set_ylabel("best5")
    points = [mpl.lines.Line2D([], [], ls="none", **look) for look in looks.values()]
    labels = [f"layers {layers}" for layers in sets]
    figure.legend(points, labels, loc="outside upper left", ncols=len(sets))
    return figure


def _draw_point(axis: Axes, row: pd.Series, look: Mapping[str, Any], place: int) -> None:
    """A trial with its interval, beside those of other sets; hollow where not run to the end."""
    fixed, colour = row["alpha_schedule"] == "fixed", look["color"]
    x = row["value"] + 0.015 * place if fixed else row["value"] * 1.03**place
    axis.plot((x, x), (row["low"], row["high"]), color=colour, alpha=0.55, linewidth=1.1)
    axis.plot(
        x,
        row["best5"],
        **look,
        gid=f"{TITLE}{row['label']}: {row['best5']:.4f}",
        markerfacecolor=colour if row["outcome"] == FINISHED else "white",
        markersize=5,
    )


def _scale_values(axis: Axes, schedule: str, values: Sequence[float]) -> None:
    """Of a column of panels."""
    axis.margins(x=0.2)
    if schedule == "fixed":
        axis.set_xlim(-0.1, 1.2)
    else:
        axis.set_xscale("log")  # sharpness is above 0, and 0.5 is as far from 1 as 2 is
        axis.xaxis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
        axis.xaxis.set_minor_locator(NullLocator())
    if len(values) <= MOST_TICKS:
        axis.xaxis.set_major_locator(FixedLocator(values))
    axis.xaxis.set_major_formatter("{x:.3g}")


def pareto_figure(students: pd.DataFrame, cost_name: str) -> Figure:
    """best5 with its interval by what a student costs; the front is joined by steps."""
    figure, (axis,) = _panels(1, 1, 3.2)
    front = students[students["on_front"]]
    axis.step(front["cost"], front["best5"], where="post", color=BEST, linewidth=1.5)
    axis.vlines(front["cost"], front["low"], front["high"], color=TIED, linewidth=3)
    for row in students.itertuples():
        title = f"{TITLE}{row.label}: {row.best5:.4f}"
        colour = BEST if row.on_front else CURVE_COLOURS[1]
        axis.plot(row.cost, row.best5, "o", gid=title, color=colour)
    axis.set(xlabel=cost_name, ylabel="best5")
    axis.xaxis.set_major_locator(MaxNLocator(6, integer=cost_name == "layers"))
    return figure


def marginals_figure(tables: Mapping[str, pd.DataFrame]) -> Figure:
    """Mean score by value of each setting on one scale, bars the spread between trials."""
    figure, axes = _panels(len(tables), 4, 1.9, sharex=True)
    for axis, (name, table) in zip(axes, tables.items(), strict=True):
        places, spread = range(len(table)), table["spread"].fillna(0.0)
        axis.hlines(places, table["mean"] - spread, table["mean"] + spread, color=TIED, linewidth=4)
        axis.plot(table["mean"], places, "o", color=BEST, markersize=5)
        values = [v if isinstance(v, str) else f"{v:g}" for v in table["value"]]
        counts = zip(values, table["count"], strict=True)
        axis.set_yticks(places, [f"{value} ({count})" for value, count in counts])
        axis.set(title=name, ylim=(len(table) - 0.4, -0.6))
        axis.xaxis.set_major_locator(MaxNLocator(4))
        axis.tick_params(labelbottom=True)
        axis.grid(visible=False, axis="y")
    return figure
