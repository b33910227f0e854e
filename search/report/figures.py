"""The report's figures as SVG, drawn from the numbers of `search.report.figure_data`.

Text stays text, so that it can be searched and takes the page's font.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from io import StringIO
from math import ceil, exp
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
MARKERS = "osD^vPX*"  # one more than SETS: the next layer sets have other pairs of both
# Of curves by rank: not finished, finished, tied, best.
CURVE_COLOURS, CURVE_WIDTHS = ("#b9c0c8", "#8b949e", TIED, BEST), (0.8, 0.9, 1.2, 2.4)
NOTE: dict[str, Any] = {"fontsize": 8.5, "color": MUTED}
NOTE |= {"xytext": (3, 3), "textcoords": "offset points"}
MOST_TICKS = 6
TITLE = "title: "  # what begins the name of an element whose name is to be shown when pointed at
STYLE = Path(__file__).parent / "templates" / "report.mplstyle"


def all_figures(report: Report) -> dict[str, str]:
    """SVG by figure; one that would show nothing is left out."""
    run, trials, evaluations = report.run, report.trials, report.evaluations
    figures: dict[str, Callable[[], Figure]] = {}
    if not evaluations.empty:
        of_teacher = run.plan.inputs.teacher.score, run.plan.inputs.metric_label
        figures["learning_curves"] = partial(curves_figure, evaluations, report.rungs, *of_teacher)
        if len(trials[["alpha_schedule", "alpha", "sharpness"]].drop_duplicates()) > 1:
            figures["sharpness"] = partial(points_figure, point_panels(trials))
    if not report.costs.empty:
        figures["front"] = partial(pareto_figure, report.costs, cost_name(run))
    if len(names := independent_settings(scored(trials))) > 1:
        tables = {name: marginals(trials, name) for name in names}
        figures["marginals"] = partial(marginals_figure, tables)
    return {name: as_svg(name, figure) for name, figure in figures.items()}


def as_svg(name: str, make: Callable[[], Figure]) -> str:
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


def curves_figure(
    evaluations: pd.DataFrame, rungs: pd.DataFrame, teacher: float, metric: str
) -> Figure:
    """The score over evaluations, a panel for each stratum, with the scheduler's rungs."""
    strata = evaluations["stratum"].nunique()
    if strata == evaluations["recipe"].nunique() > 1:  # none is compared at a rung
        evaluations, rungs = evaluations.assign(stratum="all recipes"), rungs[:0]
    strata = evaluations["stratum"].unique()
    figure, axes = _panels(len(strata), 2, 3.1, sharey=True)
    scores = evaluations["score"]
    low, high = scores.quantile(0.02), max(scores.max(), teacher)
    margin = 0.08 * max(high - low, 0.01)
    for axis, stratum in zip(axes, strata, strict=True):
        axis.set(ylim=(low - margin, high + 2 * margin), title=stratum, xlabel="evaluation")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.axhline(teacher, color="black", linewidth=1, linestyle=(0, (5, 3)))
        across, up = ("axes fraction", "data"), ("data", "axes fraction")
        axis.annotate(f"teacher {teacher:.3f}", (0.01, teacher), xycoords=across, **NOTE)
        for rung in rungs[rungs["stratum"] == stratum].itertuples():
            axis.axvline(rung.rung, color=MUTED, linewidth=0.8, linestyle=(0, (1, 2)))
            axis.annotate(f"{rung.stopped} stopped", (rung.rung, 0.01), xycoords=up, **NOTE)
        of_stratum = evaluations[evaluations["stratum"] == stratum]
        for _, curve in of_stratum.groupby("digest"):
            _draw_curve(axis, curve)
    for axis in axes[::2]:
        axis.set_ylabel(metric)
    return figure


def _draw_curve(axis: Axes, curve: pd.DataFrame) -> None:
    last = curve.iloc[-1]
    axis.plot(
        curve["evaluation"],
        curve["score"],
        gid=f"{TITLE}{last['label']}: {last['outcome']}, last {last['score']:.4f}",
        color=CURVE_COLOURS[last["rank"]],
        linewidth=CURVE_WIDTHS[last["rank"]],
        marker="o" if len(curve) == 1 else None,
        markersize=3,
        zorder=2 + last["rank"],
    )
    if last["outcome"] == STOPPED:
        axis.plot(last["evaluation"], last["score"], "x", color=MUTED, markersize=4, zorder=6)


def points_figure(panels: Mapping[tuple[str, str], pd.DataFrame]) -> Figure:
    """best5 with its interval by alpha or sharpness, a panel for each initialisation, schedule.

    Points of different layer sets stand side by side; hollow if not run to the end.
    """
    points = pd.concat(panels.values())
    sets = sorted(set(points["aligned_layers"]))
    looks = [(SETS[n % len(SETS)], MARKERS[n % len(MARKERS)]) for n in range(len(sets))]
    schedules = {schedule for _, schedule in panels}
    figure, axes = _panels(len(panels), len(schedules), 2.2, sharex="col", sharey="row")
    for axis, ((initialisation, schedule), rows) in zip(axes, panels.items(), strict=True):
        axis.set(title=f"{initialisation}\n{schedule}", xlabel=value_name(schedule), ylabel="best5")
        axis.label_outer()
        axis.grid(visible=False, axis="x")
        of_schedule = points.loc[points["alpha_schedule"] == schedule, "value"]
        _scale_values(axis, schedule, sorted(set(of_schedule)))
        for row in rows.itertuples():
            n = sets.index(row.aligned_layers)
            colour, marker = looks[n]
            aside = 0.15 * n / max(10, len(sets))  # of a value's own points
            x = row.value + aside if schedule == "fixed" else row.value * exp(2 * aside)
            axis.plot((x, x), (row.low, row.high), color=colour, alpha=0.55, linewidth=1.1)
            title = f"{TITLE}{row.label}: {row.best5:.4f}"
            face = colour if row.outcome == FINISHED else "white"
            axis.plot(x, row.best5, marker, gid=title, color=colour, mfc=face, ms=5)
    handles = [mpl.lines.Line2D([], [], ls="none", color=c, marker=marker) for c, marker in looks]
    labels = [f"layers {layers}" for layers in sets]
    figure.legend(handles, labels, loc="outside upper left", ncols=min(len(sets), 8))
    return figure


def _scale_values(axis: Axes, schedule: str, values: Sequence[float]) -> None:
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
        rows, spread = range(len(table)), table["spread"].fillna(0.0)
        axis.hlines(rows, table["mean"] - spread, table["mean"] + spread, color=TIED, linewidth=4)
        axis.plot(table["mean"], rows, "o", color=BEST, markersize=5)
        values = [v if isinstance(v, str) else f"{v:g}" for v in table["value"]]
        counts = zip(values, table["count"], strict=True)
        axis.set_yticks(rows, [f"{value} ({count})" for value, count in counts])
        axis.set(title=name, ylim=(len(table) - 0.4, -0.6))
        axis.xaxis.set_major_locator(MaxNLocator(4))
        axis.tick_params(labelbottom=True)
        axis.grid(visible=False, axis="y")
    return figure
