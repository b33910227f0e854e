"""Labelled examples from a hub id, a local folder or a file, checked before any training."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from trainable.common.digest import digest_strings, digest_values
from trainable.common.errors import UserError
from trainable.data.tables import LABEL_COLUMN, read_tables

TEXT_COLUMNS = ("sentence", "text")
HELD_OUT_SHARE = 0.1  # of the examples: for a teacher, and where there is no evaluation split
NO_LABEL = -100  # what torch's cross-entropy leaves out
SPLIT_SEED = 0  # subsets and held-out parts are the same in every run


@dataclass(frozen=True)
class LabelledTexts:
    """N examples and their labels, 0..C-1."""

    texts: list[str]
    labels: list[int]

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Dataset:
    """What students train on and what they are scored on; label_names [C].

    `full` is the full evaluation split if `evaluation` is a sample of it; `transfer` are texts to
    train on without labels, whose labels are NO_LABEL.
    """

    train: LabelledTexts
    evaluation: LabelledTexts
    label_names: list[str]
    full: LabelledTexts | None = None
    transfer: LabelledTexts | None = None

    @property
    def splits(self) -> dict[str, LabelledTexts]:
        """Those that are not None, by name."""
        names = ("train", "evaluation", "full", "transfer")
        splits = {name: getattr(self, name) for name in names}
        return {name: split for name, split in splits.items() if split is not None}

    @property
    def digest(self) -> str:
        """Of every example, label and label name, in order."""
        parts = {
            name: [digest_strings(split.texts), split.labels] for name, split in self.splits.items()
        }
        return digest_values({**parts, "label_names": self.label_names})


def load_dataset(source: str, configuration: str | None, cache: Path) -> Dataset:
    """Reads `source`: a folder with train and evaluation files, one file, or a hub id.

    `configuration` is the hub's name of a subset (`sst2` of `nyu-mll/glue`). Files have a column
    `sentence` or `text` and a column `label`. Without an evaluation file a tenth of the examples is
    held out, the same one each time. UserError for what is missing, empty or unreadable, and for
    labels that are not 0..C-1.
    """
    tables = read_tables("--dataset", source, configuration, cache)
    train = _labelled_texts(tables["train"], source, "training")
    label_names = _label_names(tables["train"], source, train)
    if "evaluation" in tables:
        evaluation = _labelled_texts(tables["evaluation"], source, "validation")
    else:
        train, evaluation = hold_out(train)
        if train.labels and not evaluation.labels:
            raise UserError(
                f"--dataset {source}: {len(train)} examples are too few to hold out a tenth for "
                "validation; give more, or a folder with a train and a validation file"
            )
    return check_dataset(Dataset(train, evaluation, label_names), source)


def load_texts(flag: str, source: str, configuration: str | None, cache: Path) -> list[str]:
    """The texts of a hub id, folder or file, "" where there is none; raises as `load_dataset`."""
    table = read_tables(flag, source, configuration, cache)["train"]
    column = _text_column(table, f"{flag} {source}:")
    return [text if isinstance(text, str) else "" for text in table[column]]


def with_transfer(dataset: Dataset, texts: list[str]) -> tuple[Dataset, int]:
    """The dataset with distinct texts to train on without labels, and how many were left out.

    Left out are empty ones, and those that have the letters and digits of a validation example.
    """
    validation = {_letters(text) for text in (dataset.full or dataset.evaluation).texts}
    kept = [text for text in texts if text.strip() and _letters(text) not in validation]
    distinct = list(dict.fromkeys(kept))
    transfer = LabelledTexts(distinct, [NO_LABEL] * len(distinct))
    return replace(dataset, transfer=transfer), len(texts) - len(kept)


def _letters(text: str) -> str:
    return re.sub(r"[\W_]+", "", text.casefold())


def hold_out(split: LabelledTexts) -> tuple[LabelledTexts, LabelledTexts]:
    """The split in two, for training and for evaluation, stratified."""
    rest, held_out = hold_out_rows(split.labels)
    return pick(split, rest), pick(split, held_out)


def hold_out_rows(labels: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Which examples are left and which are held out: a stratified tenth, the same each time."""
    order = stratified_order(labels)
    cut = round(len(order) * HELD_OUT_SHARE)
    return order[cut:], order[:cut]


def check_dataset(dataset: Dataset, source: str) -> Dataset:
    """The dataset itself; UserError for an empty split or labels that are not exactly 0..C-1."""
    classes = len(dataset.label_names)
    for split, part in (("training", dataset.train), ("validation", dataset.evaluation)):
        if not part.labels:
            raise UserError(f"--dataset {source}: the {split} split is empty")
        wrong = sorted(set(part.labels) - set(range(classes)))
        if wrong:
            raise UserError(
                f"--dataset {source}: label {wrong[0]} in the {split} split; "
                f"labels must be 0 to {classes - 1}"
            )
    missing = sorted(set(range(classes)) - set(dataset.train.labels))
    if missing or classes < 2:
        raise UserError(
            f"--dataset {source}: the training split has labels "
            f"{sorted(set(dataset.train.labels))}; they must be 0..C-1 with at least two classes, "
            "each present"
        )
    return dataset


def subset(dataset: Dataset, train: int | None, evaluation: int | None) -> Dataset:
    """At most so many examples of each split, stratified."""
    return replace(
        dataset,
        train=_stratified(dataset.train, train),
        evaluation=_stratified(dataset.evaluation, evaluation),
    )


def sample_evaluation(dataset: Dataset, count: int | None) -> Dataset:
    """The dataset with the first `count` of `stratified_order` to evaluate on, and all of them as
    `full`; unchanged for None, or a count that leaves nothing out."""
    if count is None or count >= len(dataset.evaluation):
        return dataset
    sample = _stratified(dataset.evaluation, count)
    return replace(dataset, evaluation=sample, full=dataset.evaluation)


def check_sizes(dataset: Dataset, used: Dataset, asked: Mapping[str, int | None]) -> None:
    """UserError if a number of examples that a user asked for, by its flag, is too large or leaves
    out a label. Of a split smaller than a preset's size all is used."""
    parts = {
        "--max-train-samples": (dataset.train, used.train),
        "--max-eval-samples": (dataset.evaluation, used.full or used.evaluation),
        "--eval-subset": (used.full or used.evaluation, used.evaluation),
    }
    for flag, (split, part) in parts.items():
        count = asked[flag]
        if count is None:
            continue
        if flag == "--eval-subset" and count > len(split):
            raise UserError(
                f"{flag} {count}: the validation split has {len(split)} examples; give at most "
                f"{len(split)}"
            )
        if set(part.labels) != set(split.labels):
            labels = np.asarray(split.labels)[stratified_order(split.labels)]
            least = 1 + max(int(np.argmax(labels == label)) for label in set(split.labels))
            raise UserError(
                f"{flag} {count}: too few to have each label among them; give at least {least}"
            )


def shared_examples(dataset: Dataset) -> str:
    """A warning if validation texts are also trained on, else empty."""
    known, validation = set(dataset.train.texts), (dataset.full or dataset.evaluation).texts
    shared = sum(text in known for text in validation)
    if not shared:
        return ""
    return (
        f"Warning: {shared:,} of the {len(validation):,} validation examples are also training "
        "examples; scores are too high by what is remembered."
    )


def _stratified(split: LabelledTexts, count: int | None) -> LabelledTexts:
    if count is None or count >= len(split):
        return split
    return pick(split, stratified_order(split.labels)[:count])


def stratified_order(labels: Sequence[int]) -> np.ndarray:
    """A shuffle [N] of which every prefix has each label in nearly its overall share."""
    generator = np.random.default_rng(SPLIT_SEED)
    array = np.asarray(labels)
    position = np.empty(len(array))  # where in [0, 1) each example stands among its label's own
    for label in np.unique(array):
        rows = generator.permutation(np.flatnonzero(array == label))
        position[rows] = (np.arange(len(rows)) + generator.random()) / len(rows)
    return np.argsort(position, kind="stable")


def pick(split: LabelledTexts, rows: np.ndarray) -> LabelledTexts:
    """The examples at these positions, in this order."""
    return LabelledTexts([split.texts[i] for i in rows], [split.labels[i] for i in rows])


def _text_column(table: Any, named: str, *beside: str) -> str:
    columns = table.column_names
    for column in TEXT_COLUMNS:
        if {column, *beside} <= set(columns):
            return column
    needed = " and ".join([*beside, " or ".join(TEXT_COLUMNS)])
    raise UserError(f"{named} has columns {', '.join(columns) or 'none'}; it needs {needed}")


def _labelled_texts(table: Any, source: str, split: str) -> LabelledTexts:
    column = _text_column(table, f"--dataset {source}: the {split} split", LABEL_COLUMN)
    labels = list(table[LABEL_COLUMN])
    if any(type(label) is not int for label in labels):
        # One blank turns a whole column of a CSV into strings: name the label that is at fault.
        # 0.0 is what 0 becomes in a column where another label is missing.
        wrong = [label for label in labels if not str(label).removesuffix(".0").isdecimal()]
        raise UserError(
            f"--dataset {source}: label {(wrong or labels)[0]!r} in the {split} split; "
            "labels must be whole numbers from 0"
        )
    texts = list(table[column])
    for row, text in enumerate(texts):
        if not isinstance(text, str) or not text.strip():
            raise UserError(
                f"--dataset {source}: row {row} of the {split} split has no text in {column}"
            )
    return LabelledTexts(texts, labels)


def _label_names(table: Any, source: str, train: LabelledTexts) -> list[str]:
    names = getattr(table.features[LABEL_COLUMN], "names", None)
    if names:
        return list(names)
    highest = max(train.labels, default=0)
    if highest > max(len(train), 1):
        raise UserError(
            f"--dataset {source}: label {highest} in the training split of {len(train):,} "
            "examples; labels must be 0..C-1, each present"
        )
    return [str(label) for label in range(highest + 1)]
