"""The report's figures as SVG, drawn from the numbers of `search.report_data`.

Each is drawn twice, for a wide page and for a phone's, since shrinking makes text unreadable. Text
stays text, so that it can be searched and takes the page's font.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from io import StringIO
from math import ceil
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from search.pareto import Candidate
from search.record import STOPPED
from search.report_data import AlphaCurve, Curve, CurvePanel, Point, PointPanel

# Okabe and Ito's colours, which colour-blind readers tell apart; greys for what stands behind.
LEADER, TIED, OTHER, ENDED_EARLY = "#0072B2", "#56B4E9", "#8b949e", "#b9c0c8"
INK, MUTED, RULE = "#1f2328", "#57606a", "#d8dee4"
SETS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#1f2328")
MARKERS = "osD^vPX"
SHADES = ("#9ecae1", "#4292c6", "#08519c")  # low, middle and high sharpness
MOST_TIED = 20  # curves of a full weight
MOST_TICKS = 6  # values of sharpness that stand side by side as categories


@dataclass(frozen=True)
class Layout:
    """A page to draw for: width in inches of 72 units, points of text, panels side by side."""

    name: str
    width: float
    text: float
    curves: int
    alphas: int
    points: int
    marginals: int


WIDE = Layout("wide", 10.4, 9.5, curves=2, alphas=5, points=5, marginals=4)
NARROW = Layout("narrow", 5.0, 11.0, curves=1, alphas=2, points=2, marginals=1)
LAYOUTS = (WIDE, NARROW)


def _style(layout: Layout) -> Any:  # matplotlib's own type lists every name that there is
    return {
        "svg.fonttype": "none",
        "svg.hashsalt": layout.name,  # the same ids each time, others in the other layout
        "font.family": "sans-serif",
        "font.size": layout.text,
        "axes.titlesize": layout.text + 0.5,
        "axes.titlelocation": "left",
        "axes.titleweight": "bold",
        "axes.labelsize": layout.text,
        "axes.labelcolor": MUTED,
        "axes.edgecolor": RULE,
        "axes.grid": True,
        "axes.axisbelow": True,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "grid.color": RULE,
        "grid.linewidth": 0.6,
        "text.color": INK,
        "xtick.color": MUTED,
        "ytick.color": MUTED,
        "xtick.labelsize": layout.text - 1,
        "ytick.labelsize": layout.text - 1,
        "xtick.major.size": 0,
        "ytick.major.size": 0,
        "figure.constrained_layout.use": True,
    }


def draw(figure: Callable[[Layout], tuple[Figure, Mapping[str, str]]], layout: Layout) -> str:
    """The SVG of a figure, without what only a file of its own needs to say."""
    with mpl.rc_context(_style(layout)):
        made, titles = figure(layout)
        written = StringIO()
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        made.savefig(written, format="svg", metadata=nothing, transparent=True)
    svg = written.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r' (?:width|height)="[\d.]+pt"', "", svg, count=2)
    for name, words in titles.items():  # shown when the pointer rests on it
        svg = svg.replace(f'<g id="{name}">', f'<g id="{name}"><title>{escape(words)}</title>')
    return svg


def _grid(
    groups: Sequence[int], columns: int, layout: Layout, height: float, **shared: Any
) -> tuple[Figure, list[Axes]]:
    """A figure of groups of so many panels, each `height` inches, a group in rows of its own."""
    columns = min(columns, max(groups))
    rows = [ceil(size / columns) for size in groups]
    figure = Figure(figsize=(layout.width, sum(rows) * height))
    places = figure.subplots(sum(rows), columns, squeeze=False, **shared).ravel().tolist()
    axes: list[Axes] = []
    for size, height_of_group in zip(groups, rows, strict=True):
        group, places = places[: height_of_group * columns], places[height_of_group * columns :]
        axes += group[:size]
        for spare in group[size:]:
            spare.remove()
    return figure, axes


def curves_figure(
    panels: Sequence[CurvePanel],
    leaders: Mapping[str, str],
    tied: frozenset[str],
    teacher: float,
    layout: Layout,
) -> tuple[Figure, dict[str, str]]:
    """Accuracy over evaluations, a panel a stratum; `leaders` are digests by stratum."""
    figure, axes = _grid([len(panels)], layout.curves, layout, 3.1, sharey=True)
    everything = [a for panel in panels for curve in panel.curves for a in curve.accuracies]
    low, high = float(np.quantile(everything, 0.02)), max([*everything, teacher])
    margin = 0.08 * max(high - low, 0.01)
    titles: dict[str, str] = {}
    for axis, panel in zip(axes, panels, strict=True):
        axis.set_ylim(low - margin, high + 2 * margin)
        axis.set_xlim(0.7, panel.evaluations + 0.3)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.set_title(panel.stratum)
        axis.set_xlabel("evaluation")
        axis.axhline(teacher, color=INK, linewidth=1, linestyle=(0, (5, 3)))
        axis.annotate(
            f"teacher {teacher:.3f}",
            (0.01, teacher),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            xytext=(0, 3),
            fontsize=layout.text - 1,
        )
        _draw_rungs(axis, panel, layout)
        leader = leaders.get(panel.stratum)
        for curve in sorted(panel.curves, key=lambda c: _prominence(c, leader, tied)):
            name = f"{layout.name}-curve-{curve.digest}"
            titles[name] = f"{curve.words}: {curve.outcome}, last {curve.accuracies[-1]:.4f}"
            _draw_curve(axis, curve, leader, tied, name)
    for axis in axes[:: layout.curves]:
        axis.set_ylabel("accuracy")
    return figure, titles


def _prominence(curve: Curve, leader: str | None, tied: frozenset[str]) -> int:
    """What is drawn later stands in front."""
    if curve.digest == leader:
        return 3
    return 2 if curve.digest in tied else 0 if curve.outcome == STOPPED else 1


def _draw_curve(
    axis: Axes, curve: Curve, leader: str | None, tied: frozenset[str], name: str
) -> None:
    rank = _prominence(curve, leader, tied)
    numbers = range(1, len(curve.accuracies) + 1)
    axis.plot(
        numbers,
        curve.accuracies,
        gid=name,
        color=(ENDED_EARLY, OTHER, TIED, LEADER)[rank],
        linewidth=(0.8, 0.9, 0.8 if len(tied) > MOST_TIED else 1.3, 2.4)[rank],
        marker="o" if len(numbers) == 1 else None,
        markersize=3,
        zorder=2 + rank,
    )
    if curve.outcome == STOPPED:
        axis.plot(numbers[-1], curve.accuracies[-1], "x", color=MUTED, markersize=4, zorder=6)


def _draw_rungs(axis: Axes, panel: CurvePanel, layout: Layout) -> None:
    """Where ASHA compared, and how many trials it ended there."""
    for rung in panel.rungs:
        stops = sum(c.outcome == STOPPED and len(c.accuracies) == rung for c in panel.curves)
        axis.axvline(rung, color=MUTED, linewidth=0.8, linestyle=(0, (1, 2)))
        axis.annotate(
            f"{stops} stopped",
            (rung, 0.01),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            xytext=(3, 1),
            fontsize=layout.text - 1.5,
            color=MUTED,
        )


def alpha_figure(
    curves: Mapping[str, Sequence[AlphaCurve]], layout: Layout
) -> tuple[Figure, dict[str, str]]:
    """Alpha over a trial, a panel a schedule, a curve a sharpness."""
    figure, axes = _grid(
        [len(curves)], layout.alphas, layout, 2.0, sharey=True, sharex=layout is WIDE
    )
    for number, (axis, (schedule, drawn)) in enumerate(zip(axes, curves.items(), strict=True)):
        axis.set_title(schedule)
        axis.set(xlim=(0, 1), ylim=(-0.04, 1.04), xticks=(0, 0.5, 1), yticks=(0, 0.5, 1))
        axis.set_xticklabels(("start", "half", "end"))
        labels = axis.get_xticklabels()
        labels[0].set_horizontalalignment("left")
        labels[-1].set_horizontalalignment("right")
        if number % layout.alphas == 0:
            axis.set_ylabel("alpha")
        for curve, shade in zip(drawn, _shades(len(drawn)), strict=True):
            axis.plot(curve.progress, curve.alpha, color=shade, linewidth=1.8)
        _label_alphas(axis, drawn, layout)
    return figure, {}


def _shades(count: int) -> list[Any]:
    """From light to dark, the middle one alone where there is one."""
    scale = mpl.colors.LinearSegmentedColormap.from_list("sharpness", SHADES)
    return [scale(0.5 if count == 1 else index / (count - 1)) for index in range(count)]


def _label_alphas(axis: Axes, curves: Sequence[AlphaCurve], layout: Layout) -> None:
    """A word on the curves: on all of a few, else on the least and the greatest."""
    count = len(curves)
    chosen = range(count) if count <= 3 else (0, count - 1)
    for place, index in enumerate(chosen):
        curve = curves[index]
        if curve.schedule == "fixed":
            where, text = (0.5, curve.value), f"{curve.value:.2g}"
        else:
            level = 0.5 if len(chosen) == 1 else 0.78 - 0.56 * place / (len(chosen) - 1)
            step = int(np.argmin(np.abs(np.asarray(curve.alpha[: _first_turn(curve)]) - level)))
            where, text = (curve.progress[step], curve.alpha[step]), f"k={curve.value:.2g}"
        axis.text(
            *where,
            text,
            fontsize=layout.text - 1.5,
            ha="center",
            va="center",
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
        )


def _first_turn(curve: AlphaCurve) -> int:
    """Steps up to which alpha moves one way: half of them in the shapes that come back."""
    return len(curve.alpha) // 2 if curve.schedule.endswith("shape") else len(curve.alpha)


def points_figure(
    panels: Sequence[PointPanel], words: Mapping[str, str], layout: Layout
) -> tuple[Figure, dict[str, str]]:
    """best5 with its interval by sharpness, a panel for each initialisation and schedule."""
    schedules = list(dict.fromkeys(panel.schedule for panel in panels))
    columns = min(layout.points, len(schedules))
    of_each = [len(schedules)] * (len(panels) // len(schedules))
    figure, axes = _grid(of_each, columns, layout, 2.1)
    sets = sorted({point.layers for panel in panels for point in panel.points})
    values = {name: _few_values(panels, name) for name in schedules}
    sharp = [p.value for panel in panels if panel.schedule != "fixed" for p in panel.points]
    span = (min(sharp, default=1.0) / 1.2, max(sharp, default=1.0) * 1.2)
    limits = _limits_by_initialisation(panels)
    titles: dict[str, str] = {}
    for number, (axis, panel) in enumerate(zip(axes, panels, strict=True)):
        axis.set_title(f"{panel.initialisation}\n{panel.schedule}", fontsize=layout.text)
        axis.set_ylim(*limits[panel.initialisation])
        axis.yaxis.set_major_locator(MaxNLocator(4))
        axis.grid(visible=False, axis="x")
        if number % len(schedules) % columns:
            axis.set_yticklabels(())
        else:
            axis.set_ylabel("best5")
        _scale_of_values(axis, panel.schedule, values[panel.schedule], span)
        titles |= {
            name: f"{words[point.digest]}: {point.best5:.4f} ({point.low:.3f} to {point.high:.3f})"
            for name, point in _draw_points(
                axis, panel, values[panel.schedule], sets, layout
            ).items()
        }
    if len(sets) > 1:
        _draw_key(figure, sets, layout)
    return figure, titles


def _scale_of_values(
    axis: Axes, schedule: str, values: Sequence[float] | None, span: tuple[float, float]
) -> None:
    """Few values side by side; many on the scale that all panels share, `span` of sharpness."""
    if values is not None:
        axis.set_xticks(range(len(values)), [f"{value:g}" for value in values])
        axis.set_xlim(-0.6, max(len(values), 1) - 0.4)
    elif schedule == "fixed":
        axis.set(xlim=(-0.05, 1.05), xticks=(0, 0.5, 1))
    else:
        axis.set_xscale("log")  # sharpness is above 0, and 0.5 is as far from 1 as 2 is
        axis.set_xlim(*span)
        axis.xaxis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
        axis.xaxis.set_major_formatter("{x:g}")
        axis.xaxis.set_minor_locator(NullLocator())


def _few_values(panels: Sequence[PointPanel], schedule: str) -> list[float] | None:
    """The values that a schedule is tried with, alike in all its panels; None for many."""
    found = {p.value for panel in panels if panel.schedule == schedule for p in panel.points}
    return sorted(found) if len(found) <= MOST_TICKS else None


def _limits_by_initialisation(panels: Sequence[PointPanel]) -> dict[str, tuple[float, float]]:
    """Panels of one initialisation share their scale; another may lie points away."""
    limits = {}
    for name in {panel.initialisation for panel in panels}:
        points = [p for panel in panels if panel.initialisation == name for p in panel.points]
        low, high = min(p.low for p in points), max(p.high for p in points)
        margin = 0.06 * max(high - low, 0.01)
        limits[name] = (low - margin, high + margin)
    return limits


def _draw_points(
    axis: Axes,
    panel: PointPanel,
    values: Sequence[float] | None,
    sets: Sequence[str],
    layout: Layout,
) -> dict[str, Point]:
    """The points by the names they have in the SVG; `values` are few and stand as categories."""
    axis.set_xlabel("alpha" if panel.schedule == "fixed" else "sharpness k")
    drawn = {}
    beside: dict[tuple[float, str], int] = {}  # trials that differ elsewhere stand side by side
    for point in panel.points:
        index = sets.index(point.layers)
        again = beside[point.value, point.layers] = beside.get((point.value, point.layers), -1) + 1
        offset = (index - (len(sets) - 1) / 2) * min(0.22, 0.8 / len(sets)) + 0.06 * again
        place = point.value if values is None else values.index(point.value) + offset
        color, marker = SETS[index % len(SETS)], MARKERS[index % len(MARKERS)]
        axis.plot((place, place), (point.low, point.high), color=color, linewidth=1.1, alpha=0.55)
        name = f"{layout.name}-point-{point.digest}"
        axis.plot(
            place,
            point.best5,
            marker,
            gid=name,
            color=color,
            markerfacecolor=color if point.whole else "white",
            markersize=5,
        )
        drawn[name] = point
    return drawn


def _draw_key(figure: Figure, sets: Sequence[str], layout: Layout) -> None:
    handles = [
        mpl.lines.Line2D(
            [],
            [],
            linestyle="none",
            marker=MARKERS[index % len(MARKERS)],
            color=SETS[index % len(SETS)],
            label=f"layers {name}",
        )
        for index, name in enumerate(sets)
    ]
    columns = len(sets) if layout is WIDE else 2
    figure.legend(
        handles=handles, loc="outside upper left", ncols=min(columns, len(sets)), frameon=False
    )


def front_figure(
    candidates: Sequence[Candidate], cost_name: str, layout: Layout
) -> tuple[Figure, dict[str, str]]:
    """best5 with its interval by what a student costs; the front is joined by steps."""
    figure, (axis,) = _grid([1], 1, layout, 3.2)
    front = [candidate for candidate in candidates if candidate.on_front]
    axis.step(
        [candidate.cost for candidate in front],
        [candidate.best5 for candidate in front],
        where="post",
        color=LEADER,
        linewidth=1.5,
    )
    titles: dict[str, str] = {}
    for number, candidate in enumerate(candidates):
        name, colour = f"front-{number}", LEADER if candidate.on_front else OTHER
        if candidate.on_front:
            axis.vlines(candidate.cost, candidate.low, candidate.high, color=TIED, linewidth=3)
        axis.plot(
            *(candidate.cost, candidate.best5, "o"),
            color=colour,
            markersize=6,
            gid=name,
            zorder=3 if candidate.on_front else 2,
        )
        titles[name] = f"{candidate.words}: {candidate.best5:.4f}"
    axis.set(xlabel=cost_name, ylabel="best5")
    axis.xaxis.set_major_locator(MaxNLocator(6, integer=cost_name == "layers"))
    return figure, titles


def marginals_figure(
    tables: Mapping[str, pd.DataFrame], layout: Layout
) -> tuple[Figure, dict[str, str]]:
    """Mean score by value of each setting, a panel a setting, bars the spread between trials."""
    figure, axes = _grid([len(tables)], layout.marginals, layout, 1.9)
    limits = _marginal_limits(tables.values())
    for axis, (name, table) in zip(axes, tables.items(), strict=True):
        axis.set_title(name)
        axis.xaxis.set_major_locator(MaxNLocator(4))
        axis.set_xlim(*limits)
        places = range(len(table))
        spread = table["spread"].fillna(0.0)
        axis.hlines(places, table["mean"] - spread, table["mean"] + spread, color=TIED, linewidth=4)
        axis.plot(table["mean"], places, "o", color=LEADER, markersize=5)
        labels = [
            f"{_setting_words(value)} ({count})"
            for value, count in zip(table["value"], table["count"], strict=True)
        ]
        axis.set_yticks(places, labels)
        axis.set_ylim(len(table) - 0.4, -0.6)
        axis.grid(visible=False, axis="y")
    return figure, {}


def _marginal_limits(tables: Iterable[pd.DataFrame]) -> tuple[float, float]:
    """One scale for all settings, so that large effects look larger."""
    together = pd.concat(tables)
    spread = together["spread"].fillna(0.0)
    low, high = (together["mean"] - spread).min(), (together["mean"] + spread).max()
    margin = 0.05 * max(high - low, 0.01)
    return float(low - margin), float(high + margin)


def _setting_words(value: Any) -> str:
    return value if isinstance(value, str) else f"{value:g}"
