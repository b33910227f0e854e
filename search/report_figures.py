"""Which figures a report has, drawn for each layout."""

from collections.abc import Callable
from functools import partial

from matplotlib.figure import Figure

from search.figures import (
    LAYOUTS,
    Layout,
    alpha_figure,
    curves_figure,
    draw,
    front_figure,
    marginals_figure,
    points_figure,
)
from search.report_contents import Report

Drawing = Callable[[Layout], tuple[Figure, dict[str, str]]]


def draw_all(report: Report) -> dict[str, dict[str, str]]:
    """SVG by figure and layout; a figure that would show nothing is left out."""
    return {
        name: {layout.name: draw(figure, layout) for layout in LAYOUTS}
        for name, figure in _figures(report).items()
    }


def _figures(report: Report) -> dict[str, Drawing]:
    figures: dict[str, Drawing] = {"alpha_schedules": partial(alpha_figure, report.alphas)}
    if report.curves:
        figures["learning_curves"] = partial(
            curves_figure,
            report.curves,
            report.leading_trials,
            report.tied_trials,
            report.teacher,
        )
    if report.panels:
        words = dict(zip(report.table["digest"], report.table["words"], strict=True))
        figures["sharpness"] = partial(points_figure, report.panels, words)
    if report.candidates:
        figures["front"] = partial(front_figure, report.candidates, report.cost_name)
    if report.marginals:
        figures["marginals"] = partial(marginals_figure, report.marginals)
    return figures
