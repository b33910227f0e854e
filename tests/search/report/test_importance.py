"""Importance and marginals of settings, on tables whose answer is known."""

from itertools import product

import numpy as np
import pandas as pd
import pytest

from search.record.trial_record import FAILED, FINISHED, STOPPED, TrialRecord
from search.report.importance import (
    NOT_APPLICABLE,
    comparable_settings,
    followers,
    importance,
    independent_settings,
    marginals,
)
from search.results.table import trials_table
from tests.search.results.test_table import config, evaluations, make_run


def finished(rights, *more, **settings):
    return TrialRecord(config(**settings), FINISHED, evaluations=evaluations(rights, *more))


def table_of(*trials, **values):
    return trials_table(make_run(*trials, **values))


@pytest.fixture
def by_temperature():
    """A full grid where the temperature decides nearly all, the learning rate little."""
    return table_of(
        *(
            finished(700 + 50 * i + 2 * j, temperature=temperature, learning_rate=rate)
            for i, temperature in enumerate([1.0, 2.0, 4.0])
            for j, rate in enumerate([1e-5, 3e-5, 5e-5])
        )
    )


@pytest.fixture
def conditional():
    """Schedules of which the fixed one has alpha, the other sharpness; two initialisations."""
    return table_of(
        finished(800, alpha=0.5),
        finished(810, alpha=0.25),
        finished(820, alpha=None, alpha_schedule="cosine_growth", sharpness=1.0),
        finished(840, alpha=None, alpha_schedule="cosine_growth", sharpness=3.0),
        finished(900, initialisation="teacher_spread", alpha=0.5),
        finished(910, initialisation="teacher_spread", aligned_layers="1,2,3"),
    )


def test_the_setting_that_decides_stands_above_all_others(by_temperature, capsys):
    found = importance(by_temperature)
    assert list(found.index) == ["temperature", "learning_rate"]
    assert found["share"]["temperature"] > 0.9
    assert found["share"].sum() == pytest.approx(1.0, abs=0.05)
    assert found["low"]["temperature"] > found["high"]["learning_rate"]
    pd.testing.assert_frame_equal(importance(by_temperature), found)
    assert tuple(capsys.readouterr()) == ("", "")


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("effect", [0, 100])
def test_intervals_overlap_unless_a_setting_decides(seed, effect):
    generator = np.random.default_rng(seed)
    grid = product((1.0, 2.0, 4.0), (1e-5, 3e-5, 5e-5), (4, 8), (0.0, 0.1))
    names = ("temperature", "learning_rate", "batch_size", "warmup_share")
    trials = [
        finished(
            700 + effect * int(values[0]) + int(generator.normal(0, 20)),
            **dict(zip(names, values, strict=True)),
        )
        for values in grid
    ]
    found = importance(table_of(*trials))
    others = found.drop("temperature")
    assert len(others) == 3
    assert (found["low"].max() < found["high"].min()) == (not effect)
    assert (found["low"]["temperature"] > others["high"].max()) == bool(effect)
    assert found["share"].between(found["low"], found["high"]).all()


@pytest.mark.parametrize("rates", [(1e-4, 5e-5, 1e-5), (1e-4, 5e-5, 5e-5)])
def test_a_setting_that_follows_from_another_is_left_out(rates):
    starts = ("random", "teacher_spread", "teacher_lower")
    trials = [
        finished(800 + 10 * i, initialisation=start, learning_rate=rate, temperature=2.0 + n)
        for n in range(3)
        for i, (start, rate) in enumerate(zip(starts, rates, strict=True))
    ]
    table = table_of(*trials)
    assert followers(table) == {"learning_rate": "initialisation"}
    assert independent_settings(table) == ["initialisation", "temperature"]
    assert set(importance(table).index) == {"initialisation", "temperature"}
    broken = table_of(*trials, finished(700, initialisation="random", learning_rate=5e-5))
    assert followers(broken) == {}
    starts = (*starts, "teacher_upper")  # what follows from a follower follows from its leader
    rates_and_sizes = zip(starts, (1e-5, 2e-5, 3e-5, 3e-5), (8, 8, 16, 16), strict=True)
    chain = [
        finished(800, initialisation=start, learning_rate=rate, batch_size=size, temperature=t)
        for start, rate, size in rates_and_sizes
        for t in (1.0, 2.0)
    ]
    both = ("learning_rate", "batch_size")
    assert followers(table_of(*chain)) == dict.fromkeys(both, "initialisation")


def test_constant_settings_are_left_out_and_none_and_layer_sets_are_categories(conditional):
    comparable = ["initialisation", "aligned_layers", "alpha_schedule", "alpha", "sharpness"]
    # Of the others each has one value, if only where layers are aligned.
    assert comparable_settings(conditional) == comparable
    found = importance(conditional)
    assert set(found.index) == set(comparable)
    assert found.index[0] == "initialisation"


@pytest.mark.parametrize(
    "trials",
    [
        [],
        [finished(800), finished(800, temperature=3.0)],  # nothing to explain
        [finished(800), TrialRecord(config(temperature=3.0), FAILED, "nan")],
    ],
)
def test_too_little_to_tell_is_empty(trials):
    assert importance(table_of(*trials)).empty


def test_stopped_trials_count_at_equal_evaluations():
    stopped = TrialRecord(config(temperature=4.0), STOPPED, evaluations=evaluations(600))
    table = table_of(finished(700, 900), stopped)
    assert importance(table)["share"].to_dict() == {"temperature": pytest.approx(1.0)}
    assert marginals(table, "temperature")["mean"].tolist() == pytest.approx([0.7, 0.6])


def test_numbers_with_gaps_come_in_quarters():
    generator = np.random.default_rng(0)
    trials = [
        finished(
            800 + i, alpha=None, alpha_schedule="cosine_growth", sharpness=generator.uniform(1, 5)
        )
        for i in range(12)
    ]
    table = table_of(finished(700), *trials)
    found = marginals(table, "sharpness")
    assert found["count"].tolist() == [3, 3, 3, 3, 1]
    assert found["value"].iloc[-1] == NOT_APPLICABLE
    assert found["mean"].iloc[-1] == 0.7
    assert set(importance(table).index) == {"alpha_schedule", "sharpness"}


def test_marginals_by_hand(by_temperature):
    found = marginals(by_temperature, "temperature")
    assert found["value"].tolist() == [1.0, 2.0, 4.0]
    assert found["mean"].tolist() == pytest.approx([0.702, 0.752, 0.802])
    assert found["spread"].tolist() == pytest.approx([0.002] * 3)
    assert found["count"].tolist() == [3, 3, 3]


def test_marginals_of_names_and_of_what_does_not_apply(conditional):
    found = marginals(conditional, "sharpness")
    assert found["value"].tolist() == [1.0, 3.0, "-"]
    assert found["mean"].tolist() == pytest.approx([0.82, 0.84, 0.855])
    assert found["count"].tolist() == [1, 1, 4]
    assert pd.isna(found["spread"][0])
    assert marginals(conditional, "initialisation")["value"].tolist() == [
        "random",
        "teacher_spread",
    ]
    assert marginals(conditional, "hidden_pool")["value"].tolist() == ["-", "cls"]
    assert len(marginals(table_of(), "temperature")) == 0
