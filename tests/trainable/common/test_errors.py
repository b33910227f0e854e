"""What is said of a name that is not known."""

import pytest

from trainable.common.errors import first_line, unknown_name


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("cosine_grwoth", "'cosine_grwoth' is not known; did you mean cosine_growth? "),
        ("xyz", "'xyz' is not known; "),
        (None, "None is not known; "),
        ("xyz\n", r"'xyz\n' is not known; "),  # in one line
    ],
)
def test_the_nearest_name_where_one_is_close_and_all_of_them(value, sentence):
    said = str(unknown_name("alpha_schedule", value, ("fixed", "cosine_growth")))
    assert said == f"alpha_schedule: {sentence}choose from fixed, cosine_growth"


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
