"""Importance and marginals of settings, on tables whose answer is known."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
from optuna.distributions import CategoricalDistribution

from search.record.trial_record import FAILED, STOPPED, TrialRecord
from search.report.importance import (
    _described,
    comparable_settings,
    followers,
    importance,
    independent_settings,
    marginals,
)
from search.results.table import trials_table
from tests.search.results.test_table import config, evaluations, finished, make_run


def table_of(trials):
    return trials_table(make_run(*trials))


@pytest.fixture
def few_resamples(monkeypatch):
    monkeypatch.setattr("search.report.importance.RESAMPLES", 4)


def test_the_setting_that_decides_stands_above_all_others(capsys):
    """A full grid where the temperature decides nearly all, the learning rate little."""
    table = table_of(
        finished(700 + 50 * i + 2 * j, temperature=2.0**i, learning_rate=rate)
        for i in range(3)
        for j, rate in enumerate([1e-5, 3e-5, 5e-5])
    )
    found = importance(table)
    assert list(found.index) == ["temperature", "learning_rate"]
    assert found["share"]["temperature"] > 0.9
    assert found["share"].sum() == pytest.approx(1.0, abs=0.05)
    assert found["low"]["temperature"] > found["high"]["learning_rate"]
    pd.testing.assert_frame_equal(importance(table), found)
    assert tuple(capsys.readouterr()) == ("", "")
    by_value = marginals(table, "temperature")
    assert by_value["value"].tolist() == [1.0, 2.0, 4.0]
    assert by_value["mean"].tolist() == pytest.approx([0.702, 0.752, 0.802])
    assert by_value["spread"].tolist() == pytest.approx([0.002] * 3)
    assert by_value["count"].tolist() == [3, 3, 3]


@pytest.mark.usefixtures("few_resamples")
def test_what_does_not_apply_is_a_value_and_constant_settings_are_left_out():
    """Schedules of which the fixed one has alpha, the other sharpness; two initialisations."""
    growth = {"alpha": None, "alpha_schedule": "cosine_growth"}
    spread = {"initialisation": "teacher_spread"}
    settings = [{}, {"alpha": 0.25}, {**growth, "sharpness": 1.0}, {**growth, "sharpness": 3.0}]
    settings += [spread, {**spread, "aligned_layers": "1,2,3"}]
    rights = (800, 810, 820, 840, 900, 910)
    table = table_of(finished(n, **chosen) for n, chosen in zip(rights, settings, strict=True))
    comparable = ["initialisation", "aligned_layers", "alpha_schedule", "alpha", "sharpness"]
    # Of the others each has one value, if only where layers are aligned.
    assert comparable_settings(table) == comparable
    found = importance(table)
    assert set(found.index) == set(comparable)
    assert found.index[0] == "initialisation"
    found = marginals(table, "sharpness")
    assert found["value"].tolist() == [1.0, 3.0, "-"]
    assert found["mean"].tolist() == pytest.approx([0.82, 0.84, 0.855])
    assert found["count"].tolist() == [1, 1, 4]
    assert pd.isna(found["spread"][0])
    names = ("initialisation", "hidden_pool")
    starts, pools = (marginals(table, name)["value"].tolist() for name in names)
    assert (starts, pools) == (["random", "teacher_spread"], ["-", "cls"])


def test_intervals_overlap_where_chance_alone_decides():
    generator = np.random.default_rng(0)
    grid = product((1.0, 2.0, 4.0), (1e-5, 3e-5, 5e-5), (4, 8), (0.0, 0.1))
    names = ("temperature", "learning_rate", "batch_size", "warmup_share")
    settings = [dict(zip(names, values, strict=True)) for values in grid]
    found = importance(
        table_of(finished(700 + int(generator.normal(0, 20)), **chosen) for chosen in settings)
    )
    assert len(found) == 4
    assert found["low"].max() < found["high"].min()
    assert found["share"].between(found["low"], found["high"]).all()


@pytest.mark.parametrize("rates", [(1e-4, 5e-5, 1e-5), (1e-4, 5e-5, 5e-5)])
@pytest.mark.usefixtures("few_resamples")
def test_a_setting_that_follows_from_another_is_left_out(rates):
    starts = ("random", "teacher_spread", "teacher_lower")
    trials = [
        finished(800 + 10 * i, initialisation=start, learning_rate=rate, temperature=2.0 + n)
        for n in range(3)
        for i, (start, rate) in enumerate(zip(starts, rates, strict=True))
    ]
    table = table_of(trials)
    assert followers(table) == {"learning_rate": "initialisation"}
    assert independent_settings(table) == ["initialisation", "temperature"]
    assert set(importance(table).index) == {"initialisation", "temperature"}
    assert followers(table_of([*trials, finished(700, learning_rate=5e-5)])) == {}


def test_what_follows_from_a_follower_follows_from_its_leader():
    starts = ("random", "teacher_spread", "teacher_lower", "teacher_upper")
    rows = zip(starts, (1e-5, 2e-5, 3e-5, 3e-5), (8, 8, 16, 16), strict=True)
    chain = table_of(
        finished(800, initialisation=start, learning_rate=rate, batch_size=size, temperature=t)
        for start, rate, size in rows
        for t in (1.0, 2.0)
    )
    followed = dict.fromkeys(("learning_rate", "batch_size"), "initialisation")
    assert followers(chain) == followed


def test_too_little_to_tell_is_empty():
    one, alike = finished(800), finished(800, temperature=3.0)  # that leaves nothing to explain
    failed = TrialRecord(config(temperature=3.0), FAILED, "nan")
    for trials in ([], [one, alike], [one, failed]):
        assert importance(table_of(trials)).empty
    assert len(marginals(table_of([]), "temperature")) == 0


def test_stopped_trials_count_at_equal_evaluations():
    stopped = TrialRecord(config(temperature=4.0), STOPPED, evaluations=evaluations(600))
    table = table_of([finished(700, 900), stopped])
    assert importance(table)["share"].to_dict() == {"temperature": pytest.approx(1.0)}
    assert marginals(table, "temperature")["mean"].tolist() == pytest.approx([0.7, 0.6])


@pytest.mark.usefixtures("few_resamples")
def test_many_names_are_no_categories_of_which_each_doubles_the_time():
    few, many = (pd.Series([f"layers {n:02}" for n in range(count)] * 2) for count in (8, 63))
    assert isinstance(_described(few)[1], CategoricalDistribution)
    values, about = _described(many)
    assert (about.low, about.high, values.tolist()) == (0.0, 62.0, [*map(float, range(63))] * 2)


def test_numbers_with_gaps_come_in_quarters():
    growth = {"alpha": None, "alpha_schedule": "cosine_growth"}
    drawn = np.random.default_rng(0).uniform(1, 5, 12)
    trials = [finished(800 + i, **growth, sharpness=float(k)) for i, k in enumerate(drawn)]
    table = table_of([finished(700), *trials])
    found = marginals(table, "sharpness")
    assert found["count"].tolist() == [3, 3, 3, 3, 1]
    assert found["value"].iloc[-1] == "-"
    assert found["mean"].iloc[-1] == 0.7
    assert set(importance(table).index) == {"alpha_schedule", "sharpness"}


def test_numbers_that_hardly_differ_come_in_quarters():
    trials = [finished(800 + n, max_steps=10_000 + n) for n in range(12)]
    values = marginals(table_of(trials), "max_steps")["value"]
    assert values.tolist()[::3] == ["10000 to 10002.8", "10008.2 to 10011"]
