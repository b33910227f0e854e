"""Labelled examples from a hub id, a local folder or file, or tables, checked before training."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from trainable.common.errors import UserError, count_of, not_among
from trainable.data.datasets import NO_LABEL, Dataset, LabelledTexts, hold_out
from trainable.data.tables import LABEL_COLUMNS, TEST_NAME, TRAIN_NAME, read_tables
from trainable.data.tokens import TEXT_COLUMNS, Text, named_columns

Columns = tuple[str | None, str | None]  # of texts and labels; None for the usual names
UNLABELLED = -1  # how GLUE marks the examples whose labels it keeps to itself
LARGEST_NUMBER = 20  # of a regression: a head that starts at 0 does not learn to answer 50
MOST_CLASSES = 100  # where more than half of the examples have a label of their own
SHOWN_NAMES = 10
CODE = r"0\d+"  # `007` is a name, and so are the labels beside it
INEXACT = 2**53  # nor can floats tell whole numbers from here on apart, which are names, too


def load_dataset(
    source: str | Mapping[str, Any],
    configuration: str | None,
    cache: Path,
    columns: Columns,
    *,
    regression: bool = False,
) -> Dataset:
    """Reads `source`: a folder of files named by split, one file, a hub id, or tables by split.

    `configuration` is the hub's name of a subset (`sst2` of `nyu-mll/glue`); the texts' column is
    given as `A,B` for pairs. Whole numbers are classes unless it is a `regression`. Without a
    labelled validation split a tenth of the examples is held out, the same one each time. UserError
    for what is missing, empty or unreadable, and for labels that do not fit together.
    """
    tables = read_tables("--dataset", source, configuration, cache, columns[1])
    named = f"--dataset {source}:" if isinstance(source, str) else "dataset:"
    table, where = tables[TRAIN_NAME], f"{named} the training split"
    texts, column = _text_columns(table, where, columns[0]), _label_column(table, where, columns[1])
    labels = _read_labels(table, column, where, regression=regression)
    names = _declared(table, column) or _class_names(labels, where)
    train = _numbered(table, where, texts, labels, names)
    _check_classes(train, names, where)
    columns = own = ",".join(texts), column
    dataset, evaluation, test = Dataset(train, train, names, columns=own), None, None

    def split_of(name: str, called: str) -> LabelledTexts | None:
        split, has = f"{named} the {called} split", tables[name].column_names
        if lacking := [name for name in (*texts, column) if name not in has]:
            raise UserError(f"{split} has columns {', '.join(has)}; it needs {lacking[0]}, too")
        return _labelled(tables[name], split, columns, dataset)

    if "evaluation" in tables:
        evaluation = split_of("evaluation", "validation")
    if TEST_NAME in tables and column in tables[TEST_NAME].column_names:
        test = split_of(TEST_NAME, "test")
    kinds = _shown(names) or "numbers, a regression"
    parts = [
        f"Texts: {' and '.join(texts)}{' (pairs)' * dataset.pairs}",
        f"labels: {column} ({kinds})",
    ]
    if evaluation is None:
        train, evaluation = hold_out(train)
        parts.append("validation: a tenth of the training examples")
        if not evaluation.labels:
            raise UserError(
                f"{named} {len(train)} examples are too few to hold out a tenth for validation; "
                "give more, or a folder with a train and a validation file"
            )
        _check_classes(train, names, f"{where}, less a tenth for validation,")
    if left_out := labels.count(None):
        parts.append(f"left out: {count_of(left_out, 'row')} labelled {UNLABELLED}, without label")
    if TEST_NAME in tables and test is None:
        parts.append("test: not used, it has no labels")
    description = "; ".join(parts)
    return replace(dataset, train=train, evaluation=evaluation, test=test, description=description)


def with_test(
    dataset: Dataset, source: str, configuration: str | None, cache: Path, columns: Columns
) -> Dataset:
    """The dataset with the labelled examples of another source as its test split: its split `test`,
    or the only one it has. Columns are the dataset's if they are there, else the usual ones; those
    given if it has none. Raises as `load_dataset`."""
    tables = read_tables("--test", source, configuration, cache, columns[1], needed=TEST_NAME)
    table = tables[TEST_NAME]
    text, label = [_if_there(table, name) for name in dataset.columns] or columns
    test = _labelled(table, f"--test {source}", (text, label), dataset)
    if test is None:
        raise UserError(f"--test {source} has no labels; give labelled examples")
    return replace(dataset, test=test, description=dataset.description.partition("; test: ")[0])


def load_texts(
    source: str, configuration: str | None, cache: Path, text: str | None, *, pair: bool
) -> list[Text]:
    """The texts of a --transfer, or pairs of them, "" where there is none. Columns are those of
    `text` if they are there, else the usual ones. Raises as `load_dataset`."""
    table = read_tables("--transfer", source, configuration, cache)[TRAIN_NAME]
    text = text and _if_there(table, text)
    columns = _text_columns(table, f"--transfer {source}:", text, pair=pair)
    parts = [[t if isinstance(t, str) else "" for t in table[column][:]] for column in columns]
    texts: list[Text] = list(zip(*parts, strict=True)) if pair else [*parts[0]]
    return texts


def _if_there(table: Any, columns: str) -> str | None:
    """A column, or both of a pair with a comma between, if the table has them."""
    names = table.column_names
    return columns if {*named_columns(columns, names)} <= {*names} else None


def _text_columns(
    table: Any, where: str, given: str | None, *, pair: bool | None = None
) -> tuple[str, ...]:
    """The column of the texts, or both of a pair; `pair` says which of both it must be."""
    columns: tuple[str, ...] = ()
    if given is not None:
        columns = named_columns(given, table.column_names)
        if len(columns) > 2 or pair not in (None, len(columns) == 2):
            raise UserError(f"--text-column {given}: {where} needs one column, or two for pairs")
    usual = [names for names in TEXT_COLUMNS if pair in (None, len(names) == 2)]
    return _columns(table, where, "--text-column", usual, columns)


def _label_column(table: Any, where: str, given: str | None) -> str:
    usual = [(name,) for name in LABEL_COLUMNS]
    return _columns(table, where, "--label-column", usual, (given,) if given else ())[0]


def _columns(
    table: Any, where: str, flag: str, usual: Sequence[tuple[str, ...]], given: tuple[str, ...]
) -> tuple[str, ...]:
    """The columns that are given, else the first that are there of the `usual` ones."""
    names = table.column_names
    for column in given:
        if column not in names:
            raise UserError(f"{flag} {column}: {where}: {not_among(column, names)}")
    found = [columns for columns in usual if set(columns) <= set(names)]
    if not given and not found:
        raise UserError(
            f"{where} has columns {', '.join(names) or 'none'}; it needs "
            f"{', '.join(map(' and '.join, usual))}, or another named with {flag}"
        )
    return given or found[0]


def _labelled(table: Any, where: str, columns: Columns, dataset: Dataset) -> LabelledTexts | None:
    """The examples of a split beside the training split; None if no row has a label."""
    texts = _text_columns(table, where, columns[0], pair=dataset.pairs)
    column = _label_column(table, where, columns[1])
    labels = _read_labels(table, column, where, regression=not dataset.label_names)
    if not labels:
        raise UserError(f"{where} is empty")
    if labels.count(None) == len(labels):
        return None
    return _numbered(table, where, texts, labels, dataset.label_names)


def _declared(table: Any, column: str) -> list[str]:
    """The names of a `ClassLabel` column in its own order; empty for any other column."""
    return list(getattr(table.features[column], "names", None) or [])


def _read_labels(table: Any, column: str, where: str, *, regression: bool) -> list[Any]:
    """Each row's label: the name of a class, also of one written as a CODE, or a number, an int if
    all are whole and it is no `regression`; None if it is UNLABELLED among declared names, or in
    all rows. UserError for one that is missing, several values or a word among numbers, or
    UNLABELLED among whole ones."""
    if names := _declared(table, column):
        return [None if n in (None, UNLABELLED) else names[n] for n in table[column][:]]
    labels = [str(label) if isinstance(label, bool) else label for label in table[column][:]]
    if any(isinstance(label, list | dict) for label in labels):
        raise UserError(f"{where}: {column} has several values in a row; give each row one label")
    numbers = pd.to_numeric(pd.Series(labels, dtype=object), errors="coerce").astype(float)
    numbers = numbers.replace([np.inf, -np.inf], np.nan)
    empty = [isinstance(label, str) and not label.strip() for label in labels]
    missing = pd.isna(pd.Series(labels, dtype=object)) | pd.Series(empty, dtype=bool)
    if (missing | (numbers == UNLABELLED)).all():
        return [None] * len(labels)
    codes = any(isinstance(label, str) and re.fullmatch(CODE, label.strip()) for label in labels)
    codes = codes or bool((numbers.abs() >= INEXACT).any())
    words = numbers.isna().all() or (codes and not regression)
    if (wrong := missing if words else numbers.isna()).any():
        row = int(wrong.idxmax())
        word = "" if missing[row] else ", a word among numbers"
        raise UserError(
            f"{where}: label {labels[row]!r} in row {row}{word}; give each row its label"
        )
    if words:
        return [str(label).strip() for label in labels]
    if regression or (numbers % 1).any():
        return list(numbers)
    if unlabelled := int((numbers == UNLABELLED).sum()):
        raise UserError(
            f"{where}: {count_of(unlabelled, 'row')} of {len(labels):,} labelled {UNLABELLED}, "
            "which means no label; leave them out, or give the class another name"
        )
    return [int(number) for number in numbers]


def _class_names(labels: list[Any], where: str) -> list[str]:
    """The classes of training labels in order, numbers by value; empty for a regression."""
    present = {label for label in labels if label is not None}
    if any(isinstance(label, float) for label in present):
        return []
    if len(present) > max(MOST_CLASSES, len(labels) // 2):
        raise UserError(
            f"{where}: {len(present):,} different labels in {len(labels):,} examples; name the "
            "labels' column with --label-column"
        )
    return [str(label) for label in sorted(present)]


def _is_text(part: Any) -> bool:
    return isinstance(part, str) and bool(part.strip())


def _numbered(
    table: Any, where: str, texts: tuple[str, ...], labels: list[Any], names: list[str]
) -> LabelledTexts:
    """The labelled rows of a table, their labels as positions among `names`, or as floats if there
    are none; UserError for a label that is not among them or out of range, or a missing text."""
    columns = [table[column][:] for column in texts]
    index = {name: number for number, name in enumerate(names)}
    examples: list[Text] = []
    numbers: list[Any] = []
    for row, (label, *parts) in enumerate(zip(labels, *columns, strict=True)):
        if label is None:
            continue
        for column, part in zip(texts, parts, strict=True):
            if not _is_text(part):
                rows = zip(labels, *columns, strict=True)
                more = sum(own is not None and not all(map(_is_text, of)) for own, *of in rows)
                all_of = f"; {more:,} rows have none, leave them out" if more > 1 else ""
                raise UserError(f"{where}: row {row} has no text in {column}{all_of}")
        if str(label) not in index if names else isinstance(label, str):
            raise UserError(
                f"{where}: label {label} is not among those of the training split: "
                f"{_shown(names) or 'numbers'}"
            )
        if not names and (abs(label) > LARGEST_NUMBER or label == NO_LABEL):
            raise UserError(
                f"{where}: label {label:g} in row {row}; scale the labels to a few units: at most "
                f"{LARGEST_NUMBER:,} to either side, and not {NO_LABEL}, which means no label"
            )
        examples.append(parts[0] if len(parts) == 1 else (parts[0], parts[1]))
        numbers.append(index[str(label)] if names else float(label))
    return LabelledTexts(examples, numbers)


def _check_classes(train: LabelledTexts, names: list[str], where: str) -> None:
    """UserError for training examples with fewer than two labels, or not with each declared one."""
    present = set(train.labels)
    absent = [f"none of {name}" for number, name in enumerate(names) if number not in present]
    if absent or len(present) < 2:
        problem = "no labelled examples" if not present else [*absent, "examples of one label"][0]
        raise UserError(f"{where} has {problem}; give some of each label, of at least two")


def _shown(names: list[str]) -> str:
    return ", ".join(names[:SHOWN_NAMES]) + ", ..." * (len(names) > SHOWN_NAMES)
