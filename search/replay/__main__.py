"""`python -m search.replay RUN`: what other schedulers would have made of a complete sweep."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd

from search.exit_codes import exit_code, leave, make_console
from search.plan.rungs import ASHA, PROMOTION
from search.record.run_folders import open_run
from search.results.cells import Cells, as_rich, difference_cells, percent
from search.results.statistics import Difference
from trainable.common.files import atomic_file
from trainable.config.fields import OneLineParser, add_flags, described, given

ABOUT = """\
Replays schedulers over the recorded learning curves of a sweep whose trials all ran to their end
(--scheduler fifo): the share of all evaluations that each would have made (work), and by how much
the trial that it would have chosen, its best by best5, falls behind the best of all in the final
evaluation (regret).

Each strategy is a scheduler, the signal that it compares at its rungs, the factor (one trial in so
many goes on) and the evaluations before the first rung. All are replayed on the same draws: three
quarters of the trials, in random order. The interval is over these draws, of the regret less that
of the first strategy, which is ASHA as Ray has it, comparing best5, with the run's own grace.

Prints the strategies that no other beats in both; RUN/replay.csv has all of them, RUN/replay.svg is
the figure."""
TABLE, FIGURE = "replay.csv", "replay.svg"
COLOURS = {ASHA: "#D55E00", PROMOTION: "#0072B2"}
HEADERS = ("strategy", "work", "regret", "less the first's", "95% interval")


@dataclass(frozen=True)
class ReplayOptions:
    """What is to be replayed, as the command line gives it."""

    draws: int = described("random subsets and orders of the trials", 100, low=2)
    slots: int = described("trials at a time", 1, low=1)
    storage: str = described("folder or URI of all runs", "runs", metavar="DIR")


def make_parser() -> argparse.ArgumentParser:
    """Every flag with its unit and default."""
    parser = OneLineParser(prog="python -m search.replay", description=ABOUT)
    parser.add_argument("run", metavar="RUN", help="the run to replay (name or path)")
    add_flags(parser, ReplayOptions)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the table, writes it and the figure; returns the exit code (2: the user's mistake)."""
    arguments = make_parser().parse_args(argv)
    asked = ReplayOptions(**given(arguments, ReplayOptions))
    return exit_code(partial(replay_run, arguments.run, asked))


def replay_run(name: str, asked: ReplayOptions) -> int:
    """UserError for a run that has no curves to replay."""
    run = open_run(name, asked.storage)
    from search.replay.curves import curves_of
    from search.replay.strategies import Strategy, compare, every_strategy  # with Ray: seconds

    curves = curves_of(run)
    first = Strategy(ASHA, "best5", 2, min(run.plan.grace_evaluations, curves.length))
    others = [strategy for strategy in every_strategy(curves) if strategy != first]
    table = compare([first, *others], curves, asked.draws, asked.slots)
    with atomic_file(run.folder / TABLE) as path:
        table.to_csv(path, index=False)
    with atomic_file(run.folder / FIGURE) as path:
        write_figure(table, path)
    console = make_console()
    console.print(as_rich(cells(table)))
    console.print(f"All {len(table)} strategies: {run.folder / TABLE} and {FIGURE}", soft_wrap=True)
    return 0


def cells(table: pd.DataFrame) -> Cells:
    """The first strategy, then those that no other beats in work and regret, least work first."""
    shown = pd.concat([table[:1], table[table["front"]].sort_values("work")])
    rows = []
    for row in shown.itertuples():
        gap = difference_cells(Difference(row.less, row.low, row.high))
        rows.append((row.strategy, percent(row.work), f"{100 * row.regret:.2f}", *gap))
    return Cells(HEADERS, rows)


def write_figure(table: pd.DataFrame, path: Path) -> None:
    """Regret by work, a point for each strategy, as SVG; the first is ringed."""
    from matplotlib.figure import Figure  # half a second

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axis = figure.subplots()
    for scheduler, rows in table.groupby("scheduler"):
        look = {"color": COLOURS[str(scheduler)], "alpha": 0.5, "label": scheduler}
        axis.plot(100 * rows["work"], 100 * rows["regret"], "o", **look)
    point = 100 * table["work"][0], 100 * table["regret"][0]
    axis.plot(*point, "o", ms=14, mfc="none", mec="black")
    axis.annotate(table["strategy"][0], point, (-8, 10), ha="right", textcoords="offset points")
    axis.set(xlabel="work, % of all evaluations", ylabel="regret, points")
    axis.legend()
    figure.savefig(path, format="svg", metadata={"Date": None})


if __name__ == "__main__":
    leave(main())
