"""The comparison's table, one a data set and budget, as Markdown."""

from statistics import fmean

import numpy as np

from search.results.statistics import BOOTSTRAP_SEED, mean_interval
from tests.peers.jobs import OURS, PEERS, lines_of_code
from tests.scripts.benchmark_table import difference, points
from trainable.engine.metrics import unpack_predictions

GOAL = 0.99  # of the teacher's validation accuracy
HEADER = [
    *("", "seeds", "lines of code", "trials begun (whole)", "took, s", "s to 99 % of the teacher"),
    *("held out (95 %)", "points over this project (95 %)", "`kill -9` at half: s lost + restart"),
]


def seconds_to(goal, scores):
    """When the first score [seconds, score] is at least `goal`; None if none is."""
    return next((when for when, score in scores if score >= goal), None)


def markdown(results, dataset, budget, missing):
    """The rows of what has results, the teacher first, and a line for each way in `missing`, which
    has the reason."""
    mine = [r for r in results if r["dataset"] == dataset and r["budget"] in (None, budget)]
    runs = {}
    for r in mine:
        if not r["killed"]:
            runs.setdefault(r["way"], []).append(r)
    kills = {r["way"]: r for r in mine if r["killed"]}
    bits = {
        way: np.array([unpack_predictions(r["correct"], r["examples"], 2) for r in rows], float)
        for way, rows in runs.items()
    }
    lines = [f"\n{dataset}, {budget}\n", row(HEADER), row(["---"] * len(HEADER))]
    for way in (w for w in ("teacher", "default", OURS, *PEERS) if w in runs):
        cells = [f"**{way}, this project**" if way == OURS else way, len(runs[way])]
        cells += searched(way, runs) if way in (OURS, *PEERS) else ["", "", took(runs[way]), ""]
        low, high = mean_interval(bits[way], np.random.default_rng(BOOTSTRAP_SEED))
        cells.append(f"{bits[way].mean():.4f} ({low:.4f} to {high:.4f})")
        compared = way != OURS and OURS in bits
        cells.append(points(difference(bits[way], bits[OURS])).strip() if compared else "")
        kill = kills.get(way)
        cells.append(f"{kill['lost']:.0f} + {kill['restart']:.0f}" if kill else "")
        lines.append(row(cells))
    return "\n".join([*lines, "", *(f"- {way}: no result: {why}" for way, why in missing.items())])


def searched(way, runs):
    """Lines, trials, seconds, and each seed's time to the goal."""
    rows = runs[way]
    trials = (f"{fmean(r[key] for r in rows):.3g}" for key in ("trials", "whole"))
    reached = "?"
    if "teacher" in runs:
        goal = GOAL * runs["teacher"][0]["validation_accuracy"]
        ends = [[[r["seconds"], r["validation_accuracy"]]] for r in rows]
        times = [seconds_to(goal, r["scores"] + end) for r, end in zip(rows, ends, strict=True)]
        reached = " / ".join("never" if t is None else f"{t:.0f}" for t in times)
    return [lines_of_code(way), "{} ({})".format(*trials), took(rows), reached]


def took(rows):
    """Mean seconds."""
    return f"{fmean(r['seconds'] for r in rows):.0f}"


def row(cells):
    """A line of the table."""
    return f"| {' | '.join(map(str, cells))} |"
