"""Importance and marginals of settings, on tables whose answer is known."""

import numpy as np
import pandas as pd
import pytest

from search.record.trial_record import FAILED, FINISHED, STOPPED, TrialRecord
from search.report.importance import NOT_APPLICABLE, importance, marginals, varying_settings
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


def test_the_setting_that_decides_comes_first(by_temperature, capsys):
    found = importance(by_temperature)
    assert list(found) == ["temperature", "learning_rate"]
    assert found["temperature"] > 0.9
    assert sum(found.values()) == pytest.approx(1.0, abs=0.05)
    assert importance(by_temperature) == found != importance(by_temperature, seed=4)
    assert tuple(capsys.readouterr()) == ("", "")


def test_constant_settings_are_left_out_and_none_and_layer_sets_are_categories(conditional):
    comparable = ["initialisation", "aligned_layers", "alpha_schedule", "alpha", "sharpness"]
    # Of the others each has one value, which applies where layers are aligned.
    assert varying_settings(conditional) == [*comparable, "hidden_weight", "hidden_pool"]
    found = importance(conditional)
    assert set(found) == set(comparable)
    assert max(found, key=found.get) == "initialisation"


@pytest.mark.parametrize(
    "trials",
    [
        [],
        [finished(800)],
        [finished(800), finished(800, temperature=3.0)],  # nothing to explain
        [finished(800), TrialRecord(config(temperature=3.0), FAILED, "nan")],
        [TrialRecord(config(temperature=t), FAILED, "nan") for t in (1.0, 2.0)],
    ],
)
def test_too_little_to_tell_is_empty(trials):
    assert importance(table_of(*trials)) == {}


def test_stopped_trials_count_at_equal_evaluations():
    stopped = TrialRecord(config(temperature=4.0), STOPPED, evaluations=evaluations(600))
    table = table_of(finished(700, 900), stopped)
    assert importance(table) == {"temperature": pytest.approx(1.0)}
    assert marginals(table, "temperature")["mean"].tolist() == pytest.approx([0.7, 0.6])


def test_many_numbers_are_continuous():
    table = table_of(*(finished(600 + 10 * i, temperature=1.0 + i) for i in range(20)))
    assert importance(table) == {"temperature": pytest.approx(1.0)}


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
    assert set(importance(table)) == {"alpha_schedule", "sharpness"}


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


def test_marginals_of_no_trials():
    assert len(marginals(table_of(), "temperature")) == 0
