"""The data sets of the search benchmark, each a folder with train, validation and held-out TSV.

No search may see heldout.tsv. Texts that differ in punctuation and case only are one text; none is
in two of the files.
"""

import csv
import re
from pathlib import Path

import numpy as np

from trainable.common.errors import UserError
from trainable.common.files import atomic_folder
from trainable.data.datasets import LabelledTexts, pick, subset
from trainable.data.wheels import tweets

TRAINED = 5120
HELD_OUT = 10_000  # of SST-2, at most
FEW = 640
WRONG_SHARE = 0.2  # of the training labels of `noisy`
DATASETS = ("tweets", "sst2", "noisy", "cola", "tweets640")
SPLITS = ("train", "validation", "heldout")


def read_tsv(path: Path) -> LabelledTexts:
    """Texts and labels of a file with the columns `sentence` and `label`; quotes are text."""
    if not path.is_file():
        raise UserError(f"{path}: no such file; give its folder with --glue or --sst2")
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    texts = [" ".join(row["sentence"].split()) for row in rows]
    return LabelledTexts(texts, [int(row["label"]) for row in rows])


def write_tsv(path: Path, examples: LabelledTexts) -> None:
    """What `read_tsv` reads; the texts have neither tabs nor line breaks."""
    lines = [f"{text}\t{label}" for text, label in zip(*vars(examples).values(), strict=True)]
    path.write_text("\n".join(["sentence\tlabel", *lines, ""]), encoding="utf-8")


def letters(text: str) -> str:
    """What two copies of a text share."""
    return re.sub(r"[\W_]+", "", text.casefold())


def without(examples: LabelledTexts, *others: LabelledTexts) -> LabelledTexts:
    """The examples without repeats, and without those that are among the others."""
    seen = {letters(text) for split in others for text in split.texts} | {""}
    rows = []
    for row, text in enumerate(examples.texts):
        if (key := letters(text)) not in seen:
            seen.add(key)
            rows.append(row)
    return pick(examples, np.array(rows, dtype=int))


def split_in_three(source: LabelledTexts, validation: LabelledTexts, train: int, heldout: int):
    """So many training and held-out examples of `source`, drawn at random, and `validation`."""
    rest = without(source, validation)
    order = np.random.default_rng(0).permutation(len(rest))
    parts = order[:train], order[train : train + heldout]
    return pick(rest, parts[0]), validation, pick(rest, parts[1])


def of_tweets(train: int):
    """The preset mini's own examples, or the first of them, and the tweets it leaves aside."""
    available = tweets()
    used = subset(available, TRAINED, None)
    heldout = without(available.train, used.train, used.evaluation)
    return subset(available, train, None).train, used.evaluation, heldout


def with_wrong_labels(examples: LabelledTexts) -> LabelledTexts:
    """WRONG_SHARE of the labels, of two, are the other one."""
    labels = np.array(examples.labels)
    count = round(WRONG_SHARE * len(labels))
    wrong = np.random.default_rng(0).choice(len(labels), count, replace=False)
    labels[wrong] = 1 - labels[wrong]
    return LabelledTexts(examples.texts, labels.tolist())


def make_dataset(name: str, folder: Path, glue: Path | None, sst2: Path | None) -> None:
    """Writes the three files into a new folder; nothing if it is there already."""
    if folder.exists():
        return
    if name == "sst2":
        source, dev = (
            read_tsv((sst2 or Path("sst2")) / f"{part}.tsv") for part in ("train", "dev")
        )
        splits = split_in_three(source, dev, TRAINED, HELD_OUT)
    elif name == "cola":
        parts = ("train.tsv", "validation.tsv")
        source, dev = (read_tsv((glue or Path("glue")) / "cola" / part) for part in parts)
        splits = split_in_three(source, dev, TRAINED, len(source))
    else:
        train, dev, heldout = of_tweets(FEW if name == "tweets640" else TRAINED)
        splits = (with_wrong_labels(train) if name == "noisy" else train), dev, heldout
    with atomic_folder(folder) as temporary:
        for split, examples in zip(SPLITS, splits, strict=True):
            write_tsv(temporary / f"{split}.tsv", examples)
