"""What is said of a name that is not known."""

import pytest

from trainable.errors import (
    TrainingDivergedError,
    UserError,
    first_line,
    not_among,
    unknown_name,
)

SCHEDULES = ("fixed", "cosine_growth", "cosine_descent")


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (
            "cosine_grwoth",
            "'cosine_grwoth' is not known; did you mean cosine_growth? "
            "valid: fixed, cosine_growth, cosine_descent",
        ),
        ("xyz", "'xyz' is not known; valid: fixed, cosine_growth, cosine_descent"),
        ("", "'' is not known; valid: fixed, cosine_growth, cosine_descent"),
        (None, "None is not known; valid: fixed, cosine_growth, cosine_descent"),
    ],
)
def test_the_nearest_name_where_one_is_close_and_all_of_them(value, sentence):
    assert not_among(value, SCHEDULES) == sentence


def test_names_may_come_from_a_generator():
    assert not_among("fixd", (name for name in SCHEDULES)) == not_among("fixd", SCHEDULES)


def test_a_value_with_a_line_break_keeps_the_message_on_one_line():
    assert "\n" not in not_among("fixed\n", SCHEDULES)


def test_unknown_name_begins_with_the_setting():
    error = unknown_name("alpha_schedule", "fixd", SCHEDULES)
    assert type(error) is UserError
    assert str(error) == f"alpha_schedule: {not_among('fixd', SCHEDULES)}"


def test_a_diverged_trial_is_not_the_users_mistake():
    assert not issubclass(TrainingDivergedError, UserError)
    assert issubclass(TrainingDivergedError, RuntimeError)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("one\ntwo"), "one"),
        (ValueError("\n  one  \ntwo"), "one  "),
        (ValueError("one"), "one"),
        (ValueError(), "ValueError"),
        (OSError(" \n"), "OSError"),
    ],
)
def test_the_first_line_of_an_error_or_its_name(error, line):
    assert first_line(error) == line
