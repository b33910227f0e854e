"""The figure of a replay."""

from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from search.plan.rungs import ASHA, PROMOTION

COLOURS = {ASHA: "#D55E00", PROMOTION: "#0072B2"}


def write_figure(table: pd.DataFrame, path: Path) -> None:
    """Regret by work, a point a strategy of the table of `compare`, as SVG; the first is ringed."""
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axis = figure.subplots()
    for scheduler, rows in table.groupby("scheduler"):
        look = {"color": COLOURS[str(scheduler)], "alpha": 0.5, "label": scheduler}
        axis.plot(100 * rows["work"], 100 * rows["regret"], "o", **look)
    first = table.iloc[0]
    place = 100 * first["work"], 100 * first["regret"]
    axis.plot(*place, "o", ms=14, mfc="none", mec="black")
    axis.annotate(first["strategy"], place, (-8, 10), ha="right", textcoords="offset points")
    axis.set(xlabel="work, % of all evaluations", ylabel="regret, points")
    axis.legend()
    figure.savefig(path, format="svg", metadata={"Date": None})
