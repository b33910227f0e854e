"""What stands in the figures' SVG: text as text, each trial under its label, the same each time."""

import re
from functools import partial
from math import gcd
from xml.etree import ElementTree

import pandas as pd
import pytest

from search.report import figures
from search.report.figures import as_svg, curves_figure, marginals_figure, points_figure

ROWS = [("aaaa", n, 0.6 + n / 10, "first & best", "finished", 3) for n in (1, 2, 3)]
ROWS += [("bbbb", n, 0.6, "second", "stopped", 0) for n in (1, 2)]
ROWS += [("cccc", 1, 0.5, "third", "running", 0)]
CURVES = pd.DataFrame(
    ROWS, columns=["digest", "evaluation", "score", "label", "outcome", "rank"]
).assign(stratum="teacher_spread", recipe=lambda table: table["digest"])
RUNGS = pd.DataFrame({"stratum": ["teacher_spread"], "rung": [2], "stopped": [1]})


def texts(svg, kind="text"):
    """All words of an SVG, in order."""
    namespace = "{http://www.w3.org/2000/svg}"
    return [node.text for node in ElementTree.fromstring(svg).iter(f"{namespace}{kind}")]


def test_each_curve_stands_there_under_its_label_in_the_pages_size():
    make = partial(curves_figure, CURVES, RUNGS, 0.95, "accuracy")
    svg = as_svg("curves", make)
    words = {"teacher_spread", "evaluation", "accuracy", "teacher 0.950", "1 stopped"}
    assert words <= set(texts(svg))
    assert sorted(texts(svg, "title")) == [
        "first & best: finished, last 0.9000",
        "second: stopped, last 0.6000",
        "third: running, last 0.5000",
    ]
    assert re.match(r"<svg (?!.* width=)[^>]*viewBox", svg.partition(">")[0])
    assert svg == as_svg("curves", make)


@pytest.mark.parametrize("count", [3, 20])
def test_points_of_a_few_sharpnesses_or_many(count):
    shared = {"alpha_schedule": "cosine_growth", "aligned_layers": "1,2", "outcome": "finished"}
    rows = [
        {"value": 1.0 + n, "best5": 0.8, "low": 0.75, "high": 0.85, "label": f"trial {n}", **shared}
        for n in range(count)
    ]
    found = pd.DataFrame([*rows, {**rows[0], "aligned_layers": "none", "label": "other"}])
    panels = {("random", "cosine_growth"): found, ("random", "fixed"): found[:0]}
    svg = as_svg("points", partial(points_figure, panels))
    assert {"layers 1,2", "layers none", "sharpness", "alpha"} <= set(texts(svg))
    assert len(texts(svg, "title")) == count + 1
    assert gcd(len(figures.SETS), len(figures.MARKERS)) == 1  # no two layer sets look the same
    if count == 3:
        assert {"1", "2", "3"} <= set(texts(svg))


@pytest.mark.parametrize("values", [[1.0, 3.0, "-"], ["1 to 2", "2 to 4"], ["a<b", "c"]])
def test_marginals_of_numbers_ranges_and_names(values):
    spread = [0.01] * (len(values) - 1) + [float("nan")]
    table = pd.DataFrame({"value": values, "mean": 0.8, "spread": spread, "count": 2})
    svg = as_svg("marginals", partial(marginals_figure, {"sharpness": table}))
    assert "sharpness" in texts(svg)
    labels = [t for t in texts(svg) if t.endswith(" (2)")]
    assert labels == [f"{v if isinstance(v, str) else format(v, 'g')} (2)" for v in values]
