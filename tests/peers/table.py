"""The comparison's table, one a data set and budget, as Markdown."""

from statistics import fmean

import numpy as np

from search.results.statistics import mean_interval
from tests.peers.jobs import OURS, PEERS, lines_of_code
from tests.scripts.benchmark_table import difference, points
from trainable.engine.metrics import unpack_predictions

GOAL = 0.99  # of the teacher's validation accuracy
HEADER = (
    "| | seeds | lines of code | trials begun (whole) | seconds | seconds to 99 % of the teacher "
    "| held out (95 %) | points over this project (95 %) | `kill -9`: s lost + s to restart |"
)
COLUMNS = HEADER.count("|") - 1


def seconds_to(goal, scores):
    """When the first score [seconds, score] is at least `goal`, in words."""
    return next((f"{when:.0f}" for when, score in scores if score >= goal), "never")


def markdown(results, dataset, budget, reasons):
    """A row for each way that has results, and a line for each in `reasons`, why it has none."""
    runs, kills, bits = {}, {}, {}
    for r in results:
        if r["dataset"] == dataset and r["budget"] in (None, budget):
            if r.get("killed"):
                kills[r["way"]] = f"{r['lost']:.0f} + {r['restart']:.0f}"
            else:
                runs.setdefault(r["way"], []).append(r)
    for way, mine in runs.items():
        of_seeds = [unpack_predictions(r["correct"], r["examples"], 2) for r in mine]
        bits[way] = np.array(of_seeds, dtype=float)
    teacher = runs.get("teacher", [{"validation_accuracy": np.nan}])[0]["validation_accuracy"]
    lines = [f"\n{dataset}, {budget}\n", HEADER, "|---" * COLUMNS + "|"]
    for way in (way for way in ("teacher", "default", OURS, *PEERS) if way in runs):
        cells = [way, len(runs[way]), "", "", f"{fmean(r['seconds'] for r in runs[way]):.0f}", ""]
        # Those of `search_benchmark` in the same folder have no such count.
        if way in (OURS, *PEERS) and "whole" in runs[way][0]:
            trials, whole = (fmean(r[key] for r in runs[way]) for key in ("trials", "whole"))
            ends = [[[r["seconds"], r["validation_accuracy"]]] for r in runs[way]]
            scores = [r["scores"] + end for r, end in zip(runs[way], ends, strict=True)]
            cells[2:4] = lines_of_code(way), f"{trials:.3g} ({whole:.3g})"
            if "teacher" in runs:  # else nobody knows when it is reached
                cells[5] = " / ".join(seconds_to(GOAL * teacher, of_seed) for of_seed in scores)
        low, high = mean_interval(bits[way])
        cells.append(f"{bits[way].mean():.4f} ({low:.4f} to {high:.4f})")
        compared = way != OURS and OURS in bits
        cells.append(points(difference(bits[way], bits[OURS])).strip() if compared else "")
        lines.append(f"| {' | '.join(map(str, [*cells, kills.get(way, '')]))} |")
    missing = (f"- {way}: no result: {why}" for way, why in reasons.items())
    return "\n".join([*lines, "", *missing])
