"""The figure of a replay."""

from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

COLOURS = {"asha": "#D55E00", "promotion": "#0072B2"}


def write_figure(table: pd.DataFrame, path: Path) -> None:
    """Regret by work, a point a policy of the table of `compare`, as SVG; the first one ringed."""
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axis = figure.subplots()
    for scheduler, rows in table.groupby("scheduler"):
        colour = COLOURS[str(scheduler)]
        axis.plot(100 * rows["work"], 100 * rows["regret"], "o", color=colour, alpha=0.5)
        axis.plot([], [], "o", color=colour, label=scheduler)
    first = table.iloc[0]
    axis.plot(100 * first["work"], 100 * first["regret"], "o", ms=14, mfc="none", mec="black")
    axis.annotate(
        str(first["policy"]),
        (100 * first["work"], 100 * first["regret"]),
        (-8, 10),
        ha="right",
        textcoords="offset points",
    )
    axis.set(xlabel="work, % of all evaluations", ylabel="regret, points")
    axis.legend()
    figure.savefig(path, format="svg", metadata={"Date": None})
