"""The spaces: what each enumerates, written out here a second time, and that all of it is valid."""

import pytest

from search.plan import plan_trials
from search.request import Request
from spaces import SPACES
from spaces.study import STUDY_ROWS
from trainable.layers import resolve_layer_set
from trainable.presets import PRESETS

GRIDS = pytest.mark.parametrize("coarse", [False, True], ids=["full", "coarse"])
EVERY_SPACE = pytest.mark.parametrize("space", SPACES)

# initialised from the teacher, aligned layers of six, alpha, accuracy on SST-2: the study's tables
STUDY = [
    (False, "none", "cross-entropy", 0.8266),
    (True, "none", "cross-entropy", 0.8853),
    (False, "none", "fixed 0.5", 0.8342),
    (True, "none", "fixed 0.5", 0.8931),
    (True, "1,2,3,4,5,6", "fixed 0.5", 0.8929),
    (False, "1,2,3,4,5,6", "fixed 0.5", 0.8383),
    (False, "4,5,6", "fixed 0.5", 0.8321),
    (False, "1,2,3", "fixed 0.5", 0.8362),
    (False, "2,4,6", "fixed 0.5", 0.8358),
    (False, "1,3,5", "fixed 0.5", 0.8358),
    (False, "1,2,3", "cosine_descent", 0.8312),
    (False, "1,2,3", "cosine_growth", 0.8431),
    (False, "1,2,3", "cosine_vshape", 0.8353),
    (False, "1,2,3", "cosine_^shape", 0.8365),
    (True, "1,2,3", "cosine_descent", 0.8174),
    (True, "1,2,3", "cosine_growth", 0.8991),
    (True, "1,2,3", "cosine_vshape", 0.8908),
    (True, "1,2,3", "cosine_^shape", 0.8956),
]
ALPHAS = {"cross-entropy": ("fixed", 1.0, None), "fixed 0.5": ("fixed", 0.5, None)}


def plan(space, preset, **overrides):
    return plan_trials(Request(space, preset, cache="", overrides=overrides))


def study_settings(row):
    """A row of STUDY as the settings of a trial; the study's schedules have sharpness 1."""
    from_teacher, layers, alpha, _ = row
    initialisation = "teacher_spread" if from_teacher else "random"
    return (initialisation, layers, *ALPHAS.get(alpha, (alpha, None, 1.0)))


def settings(config):
    return (
        config.initialisation,
        config.aligned_layers,
        config.alpha_schedule,
        config.alpha,
        config.sharpness,
    )


def test_names_are_those_of_the_command_line():
    assert {"baselines", "logits", "layers", "schedules", "study"} <= set(SPACES)


def test_study_has_the_18_rows_and_figures():
    figures = {
        (
            init,
            resolve_layer_set(layers, 6),
            a["alpha_schedule"],
            a.get("alpha"),
            a.get("sharpness"),
        ): f
        for _, init, layers, a, f in STUDY_ROWS
    }
    assert figures == {study_settings(row): row[-1] for row in STUDY}
    assert len(STUDY_ROWS) == len(figures) == 18


def test_study_names_the_table_of_each_row():
    tables = [table for table, *_ in STUDY_ROWS]
    assert tables == ["baseline"] * 2 + ["logits"] * 2 + ["layers"] * 6 + ["schedules"] * 8


@GRIDS
def test_study_tries_exactly_its_rows(coarse):
    points = SPACES["study"](coarse)
    assert points == SPACES["study"](not coarse)
    planned = plan("study", "sst2")
    assert len(points) == len(planned) == 18
    assert {settings(config) for config in planned} == {study_settings(row) for row in STUDY}


@EVERY_SPACE
@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("depth", [6, 3])
def test_every_point_is_a_valid_trial_and_none_is_there_twice(space, preset, depth):
    points = SPACES[space](PRESETS[preset].coarse_grid)
    planned = plan(space, preset, student_layers=depth)
    assert len(planned) == len({config.digest for config in planned}) == len(points)
    assert {config.student_layers for config in planned} == {depth}


@EVERY_SPACE
@GRIDS
def test_sharpness_stands_exactly_where_a_schedule_is_and_alpha_elsewhere(space, coarse):
    for point in SPACES[space](coarse):
        scheduled = point["alpha_schedule"] != "fixed"
        assert ("sharpness" in point, "alpha" in point) == (scheduled, not scheduled)


@EVERY_SPACE
@GRIDS
def test_a_space_gives_fresh_points_each_time(space, coarse):
    before = SPACES[space](coarse)
    for point in SPACES[space](coarse):
        point.clear()
    assert SPACES[space](coarse) == before


@EVERY_SPACE
def test_coarse_leaves_out_points_and_adds_no_setting(space):
    full, coarse = SPACES[space](False), SPACES[space](True)
    assert len(coarse) <= len(full)
    assert {key for point in coarse for key in point} == {key for point in full for key in point}


@GRIDS
def test_baselines_are_cross_entropy_only_by_initialisation(coarse):
    points = SPACES["baselines"](coarse)
    assert sorted(point.pop("initialisation") for point in points) == [
        "random",
        "teacher_embeddings",
        "teacher_lower",
        "teacher_spread",
        "teacher_upper",
    ]
    rest = {"aligned_layers": "none", "alpha_schedule": "fixed", "alpha": 1.0}
    assert points == [rest] * 5


def test_baselines_need_no_teacher_outputs():
    planned = plan("baselines", "mini")
    assert not any(config.uses_teacher_outputs for config in planned)


@pytest.mark.parametrize(
    ("coarse", "alphas", "temperatures"),
    [(False, (0.0, 0.25, 0.5, 0.75), (1.0, 2.0, 4.0, 8.0)), (True, (0.5,), (1.0, 2.0, 4.0))],
)
def test_logits_cross_alpha_and_temperature_without_layers(coarse, alphas, temperatures):
    points = SPACES["logits"](coarse)
    assert {point["aligned_layers"] for point in points} == {"none"}
    found = [(p["initialisation"], p["alpha"], p["temperature"]) for p in points]
    wanted = {
        (initialisation, alpha, temperature)
        for initialisation in ("random", "teacher_spread")
        for alpha in alphas
        for temperature in temperatures
    }
    assert len(found) == len(wanted)
    assert set(found) == wanted


@pytest.mark.parametrize(
    ("depth", "layer_sets"),
    [
        (6, {"none", "1,2,3,4,5,6", "1,2,3", "4,5,6", "2,4,6", "1,3,5"}),
        (3, {"none", "1,2,3", "1", "3", "2", "1,3"}),
    ],
)
def test_layers_cross_initialisation_and_layer_set(depth, layer_sets):
    planned = plan("layers", "sst2", student_layers=depth)
    assert {settings(config) for config in planned} == {
        (initialisation, layers, "fixed", 0.5, None)
        for initialisation in ("random", "teacher_spread")
        for layers in layer_sets
    }


@pytest.mark.parametrize(
    ("preset", "layer_sets", "sharpnesses", "count"),
    [
        ("sst2", ("none", "1,2,3", "1,2,3,4,5,6"), (0.5, 1.0, 2.0), 78),
        ("mini", ("1",), (1.0, 3.0), 18),
    ],
)
def test_schedules_cross_all_and_give_fixed_no_sharpness(preset, layer_sets, sharpnesses, count):
    shapes = ("cosine_growth", "cosine_descent", "cosine_vshape", "cosine_^shape")
    alphas = [("fixed", 0.5, None)] + [(s, None, k) for s in shapes for k in sharpnesses]
    wanted = {
        (initialisation, layers, *alpha)
        for initialisation in ("random", "teacher_spread")
        for layers in layer_sets
        for alpha in alphas
    }
    planned = plan("schedules", preset)
    assert len(planned) == len(wanted) == count
    assert {settings(config) for config in planned} == wanted
