"""Labelled examples from a hub id, a local folder or file, or tables, checked before training."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from trainable.common.errors import UserError, count_of
from trainable.data.columns import (
    UNLABELLED,
    Text,
    class_names,
    declared_names,
    label_column,
    number_labels,
    read_labels,
    read_texts,
    shown,
    text_columns,
)
from trainable.data.datasets import Dataset, LabelledTexts, hold_out
from trainable.data.tables import read_tables, read_test, tables_of


class Columns(NamedTuple):
    """What the user calls the columns: `A`, or `A,B` for a pair, and the labels'; None where they
    have usual names."""

    text: str | None = None
    label: str | None = None


USUAL = Columns()


def load_dataset(
    source: str | Mapping[str, Any],
    configuration: str | None,
    cache: Path,
    columns: Columns = USUAL,
) -> Dataset:
    """Reads `source`: a folder of files named by split, one file, a hub id, or tables by split.

    `configuration` is the hub's name of a subset (`sst2` of `nyu-mll/glue`). Without a labelled
    validation split a tenth of the examples is held out, the same one each time. UserError for what
    is missing, empty or unreadable, and for labels that do not fit together.
    """
    if isinstance(source, str):
        named = f"--dataset {source}:"
        tables = read_tables("--dataset", source, configuration, cache, columns.label)
    else:
        named, tables = "dataset:", tables_of(source)
    table, where = tables["train"], f"{named} the training split"
    texts = text_columns(table, where, columns.text)
    label = label_column(table, where, columns.label)
    labels = read_labels(table, label, where)
    names = declared_names(table, label) or class_names(labels, where)
    train = _numbered(table, where, texts, labels, names)
    _check_classes(train, names, where)
    described = f"Texts: {' and '.join(texts)}{' (pairs)' * (len(texts) == 2)}; labels: {label} "
    described += f"({shown(names) or 'numbers, a regression'})"
    dataset, evaluation, test = Dataset(train, train, names), None, None
    if "evaluation" in tables:
        split = f"{named} the validation split"
        evaluation = _labelled(tables["evaluation"], split, columns, dataset)
    if "test" in tables and {*texts, label} <= set(tables["test"].column_names):
        test = _labelled(tables["test"], f"{named} the test split", columns, dataset)
    if evaluation is None:
        train, evaluation = hold_out(train)
        described += "; validation: a tenth of the training examples"
        if not evaluation.labels:
            raise UserError(
                f"{named} {len(train)} examples are too few to hold out a tenth for validation; "
                "give more, or a folder with a train and a validation file"
            )
    if left_out := labels.count(None):
        described += f"; left out: {count_of(left_out, 'row')} labelled {UNLABELLED}, without label"
    if "test" in tables and test is None:
        described += "; test: not used, it has no labels"
    return Dataset(train, evaluation, names, test=test, description=described)


def with_test(
    dataset: Dataset, source: str, configuration: str | None, cache: Path, columns: Columns
) -> Dataset:
    """The dataset with the labelled examples of another source as its test split: its split `test`,
    or the only one it has. Raises as `load_dataset`."""
    table = read_test("--test", source, configuration, cache, columns.label)
    test = _labelled(table, f"--test {source}", columns, dataset)
    if test is None:
        raise UserError(f"--test {source} has no labels; give labelled examples")
    return replace(dataset, test=test)


def load_texts(
    source: str, configuration: str | None, cache: Path, given: str | None, *, pair: bool
) -> list[Text]:
    """The texts of a --transfer, or pairs of them, "" where there is none. Columns are those
    `given` if they are there, else the usual ones. Raises as `load_dataset`."""
    table = read_tables("--transfer", source, configuration, cache)["train"]
    names = table.column_names
    if given and given not in names and not set(given.split(",")) <= set(names):
        given = None  # the name is that of the labelled examples' column
    columns = text_columns(table, f"--transfer {source}:", given, pair=pair)
    parts = [[t if isinstance(t, str) else "" for t in table[column]] for column in columns]
    texts: list[Text] = list(zip(*parts, strict=True)) if pair else [*parts[0]]
    return texts


def _labelled(table: Any, where: str, columns: Columns, dataset: Dataset) -> LabelledTexts | None:
    """The examples of a split beside the training split; None if no row has a label."""
    texts = text_columns(table, where, columns.text, pair=dataset.pairs)
    labels = read_labels(table, label_column(table, where, columns.label), where)
    if not labels:
        raise UserError(f"{where} is empty")
    if all(label is None for label in labels):
        return None
    return _numbered(table, where, texts, labels, dataset.label_names)


def _numbered(
    table: Any, where: str, texts: tuple[str, ...], labels: list[Any], names: list[str]
) -> LabelledTexts:
    """The labelled rows of a table."""
    rows = [row for row, label in enumerate(labels) if label is not None]
    numbers = number_labels([labels[row] for row in rows], names, where)
    return LabelledTexts(read_texts(table, texts, where, rows), numbers)


def _check_classes(train: LabelledTexts, names: list[str], where: str) -> None:
    """UserError for training examples with fewer than two labels, or not with each declared one."""
    if not train.labels:
        raise UserError(f"{where} is empty, or no row of it has a label")
    present = set(train.labels)
    absent = [name for number, name in enumerate(names) if number not in present]
    if absent or len(present) < 2:
        problem = f"no example of the label {absent[0]}" if absent else "examples of one label only"
        raise UserError(f"{where} has {problem}; give some of each, of two labels at least")
