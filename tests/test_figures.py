"""What stands in the figures' SVG: text as text, each trial's line, the same each time."""

from functools import partial
from xml.etree import ElementTree

import pandas as pd
import pytest

from search.figures import (
    LAYOUTS,
    NARROW,
    WIDE,
    alpha_figure,
    curves_figure,
    draw,
    marginals_figure,
    points_figure,
)
from search.report_data import Curve, CurvePanel, Point, PointPanel, alpha_curves
from tests.report_runs import config

CURVES = (
    Curve("aaaa", "first & best", "finished", (0.7, 0.8, 0.9)),
    Curve("bbbb", "second", "stopped", (0.6, 0.7)),
    Curve("cccc", "third", "running", (0.5,)),
)
PANELS = [CurvePanel("teacher_spread", 3, (2,), CURVES)]
CONFIGS = [config(alpha_schedule="cosine_growth", sharpness=k) for k in (0.5, 1.0, 2.0, 3.0)]


def texts(svg):
    """All words of an SVG, in order."""
    namespace = "{http://www.w3.org/2000/svg}"
    return [node.text for node in ElementTree.fromstring(svg).iter(f"{namespace}text")]


def curves(layout):
    return draw(
        partial(curves_figure, PANELS, {"teacher_spread": "aaaa"}, frozenset({"aaaa"}), 0.95),
        layout,
    )


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
def test_each_curve_stands_there_under_its_name(layout):
    svg = curves(layout)
    assert svg.startswith("<svg")
    for curve in CURVES:
        assert svg.count(f'id="{layout.name}-curve-{curve.digest}"') == 1
    assert "<title>first &amp; best: finished, last 0.9000</title>" in svg
    assert {"teacher_spread", "evaluation", "accuracy", "teacher 0.950", "1 stopped"} <= set(
        texts(svg)
    )


def test_figure_is_the_same_each_time():
    assert curves(WIDE) == curves(WIDE)


def test_size_is_the_pages():
    opening = curves(NARROW).partition(">")[0]
    assert "viewBox" in opening
    assert " width=" not in opening
    assert " height=" not in opening


def test_ids_of_two_layouts_on_one_page_differ():
    def ids(layout):
        return {n.get("id") for n in ElementTree.fromstring(curves(layout)).iter() if n.get("id")}

    shared = ids(WIDE) & ids(NARROW)
    assert not [
        name for name in shared if "curve" in name or (name.startswith("p") and len(name) == 11)
    ]


def test_a_few_sharpnesses_are_all_named_and_of_many_the_ends():
    few = draw(partial(alpha_figure, alpha_curves(CONFIGS[:3])), WIDE)
    assert [t for t in texts(few) if t.startswith("k=")] == ["k=0.5", "k=1", "k=2"]
    many = draw(partial(alpha_figure, alpha_curves(CONFIGS)), WIDE)
    assert [t for t in texts(many) if t.startswith("k=")] == ["k=0.5", "k=3"]


def points(count):
    return tuple(Point(f"d{i}", 1.0 + i, "1,2", 0.8, 0.75, 0.85, whole=True) for i in range(count))


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
@pytest.mark.parametrize("count", [1, 3, 20])
def test_points_as_categories_or_on_a_scale(layout, count):
    panels = [
        PointPanel("random", "cosine_growth", points(count)),
        PointPanel("random", "fixed", ()),
    ]
    words = {point.digest: f"trial {point.digest}" for point in panels[0].points}
    svg = draw(partial(points_figure, panels, words), layout)
    for point in panels[0].points:
        assert f"<title>trial {point.digest}: 0.8000 (0.750 to 0.850)</title>" in svg
    assert "sharpness k" in texts(svg)


def test_layer_sets_have_a_key_where_they_differ():
    two = points(1) + (Point("x", 1.0, "none", 0.8, 0.7, 0.9, whole=False),)
    panels = [PointPanel("random", "cosine_growth", two)]
    svg = draw(partial(points_figure, panels, {"d0": "one", "x": "other"}), WIDE)
    assert {"layers 1,2", "layers none"} <= set(texts(svg))


@pytest.mark.parametrize("values", [[1.0, 3.0, "-"], ["1 to 2", "2 to 4"], ["a<b", "c"]])
def test_marginals_of_numbers_ranges_and_names(values):
    count = len(values)
    table = pd.DataFrame(
        {
            "value": values,
            "mean": [0.8 + 0.01 * i for i in range(count)],
            "spread": [0.01] * (count - 1) + [float("nan")],
            "count": [2] * count,
        }
    )
    svg = draw(partial(marginals_figure, {"sharpness": table}), WIDE)
    assert "sharpness" in texts(svg)
    labels = [t for t in texts(svg) if t.endswith(" (2)")]
    assert labels == [f"{v if isinstance(v, str) else format(v, 'g')} (2)" for v in values]
