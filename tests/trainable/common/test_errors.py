"""What is said of a name that is not known."""

from trainable.common.errors import first_line, unknown_name


def test_the_nearest_name_where_one_is_close_and_all_of_them():
    for value, sentence in (
        ("cosine_grwoth", "'cosine_grwoth' is not known; did you mean cosine_growth? "),
        ("xyz\n", r"'xyz\n' is not known; "),  # in one line
        (None, "None is not known; "),
    ):
        said = str(unknown_name("alpha_schedule", value, ("fixed", "cosine_growth")))
        assert said == f"alpha_schedule: {sentence}choose from fixed, cosine_growth"


def test_the_first_line_of_an_error_or_its_name():
    lines = {"one\ntwo": "one", "\n  one  \ntwo": "one  ", "one": "one", " \n": "OSError"}
    assert {text: first_line(OSError(text)) for text in lines} == lines
    assert first_line(ValueError()) == "ValueError"
