"""Which columns of a table are the texts and the labels, and what their values stand for."""

import math
from collections.abc import Sequence
from typing import Any

from trainable.common.errors import UserError, unknown_name

Text = str | tuple[str, str]  # two texts are a pair
# By their usual names; a pair wins over a single text.
TEXT_COLUMNS = (
    ("sentence1", "sentence2"),
    ("premise", "hypothesis"),
    ("question", "sentence"),
    ("question1", "question2"),
    ("text", "text_pair"),
    ("sentence",),
    ("text",),
    ("review",),
)
LABEL_COLUMNS = ("label", "labels", "score")
UNLABELLED = -1  # how GLUE marks the examples whose labels it keeps to itself
MOST_CLASSES = 100  # where more than half of the examples have a label of their own
SHOWN_NAMES = 10


def parts_of(text: Text) -> tuple[str, ...]:
    """The one or two texts of an example."""
    return (text,) if isinstance(text, str) else text


def text_columns(
    table: Any, named: str, given: str | None = None, *, pair: bool | None = None
) -> tuple[str, ...]:
    """The column of the texts, or both of a pair: those `given` as `A` or `A,B`, else the usual
    ones; `pair` says which of both it must be.

    UserError, which begins with `named`, if they are not there.
    """
    names = table.column_names
    if given is None:
        usual = [c for c in TEXT_COLUMNS if pair is None or pair == (len(c) == 2)]
        found = [columns for columns in usual if set(columns) <= set(names)]
        if not found:
            known = ", ".join(" and ".join(columns) for columns in usual)
            raise UserError(
                f"{named} has columns {', '.join(names) or 'none'}; it needs {known}, or name "
                "the texts' with --text-column A, or A,B for pairs"
            )
        return found[0]
    columns = (given,) if given in names else tuple(part.strip() for part in given.split(","))
    if len(columns) > 2:
        raise UserError(f"{named} --text-column {given}: give one column, or two for pairs")
    for column in columns:
        if column not in names:
            raise unknown_name(f"{named} --text-column", column, names)
    if pair not in (None, len(columns) == 2):
        raise UserError(f"{named} --text-column {given}: {'pairs' if pair else 'texts'} are wanted")
    return columns


def label_column(table: Any, named: str, given: str | None = None) -> str:
    """The column of the labels: the one given, else the first with a usual name; raises as
    `text_columns`."""
    names = table.column_names
    if given is not None and given not in names:
        raise unknown_name(f"{named} --label-column", given, names)
    column = given or next((column for column in LABEL_COLUMNS if column in names), None)
    if column is None:
        raise UserError(
            f"{named} has columns {', '.join(names) or 'none'}; it needs "
            f"{', '.join(LABEL_COLUMNS[:-1])} or {LABEL_COLUMNS[-1]}, or name the labels' with "
            "--label-column"
        )
    return column


def read_texts(table: Any, columns: Sequence[str], named: str, rows: list[int]) -> list[Text]:
    """The texts in these rows; UserError for a row where one is missing."""
    parts = [list(table[column]) for column in columns]
    for column, values in zip(columns, parts, strict=True):
        for row in rows:
            if not isinstance(values[row], str) or not values[row].strip():
                raise UserError(f"{named}: row {row} has no text in {column}")
    if len(parts) == 1:
        return [parts[0][row] for row in rows]
    return [(parts[0][row], parts[1][row]) for row in rows]


def read_labels(table: Any, column: str, named: str) -> list[Any]:
    """Each row's label: the name of a class, a number, or None where it is UNLABELLED.

    Whole numbers are ints, whatever their type in the table. All are None if no row has a label.
    UserError for a row without a label, or a word among numbers.
    """
    values, declared = list(table[column]), declared_names(table, column)
    if declared:
        return [None if value in (None, UNLABELLED) else declared[value] for value in values]
    numbers = [_number(value) for value in values]
    missing = [
        value in (None, "") or (isinstance(value, float) and math.isnan(value)) for value in values
    ]
    if all(m or number == UNLABELLED for m, number in zip(missing, numbers, strict=True)):
        return [None] * len(values)
    words = all(number is None for number in numbers)
    for row, (value, number) in enumerate(zip(values, numbers, strict=True)):
        if missing[row] or (number is None and not words):
            rest = "" if missing[row] else ", a word among numbers"
            raise UserError(f"{named}: label {value!r} in row {row}{rest}; give each row its label")
    if words:
        return [str(value).strip() for value in values]
    if any(isinstance(number, float) for number in numbers):
        return numbers
    return [None if number == UNLABELLED else number for number in numbers]


def declared_names(table: Any, column: str) -> list[str]:
    """The names of a `ClassLabel` column in its own order; empty for any other column."""
    return list(getattr(table.features[column], "names", None) or [])


def class_names(labels: list[Any], named: str) -> list[str]:
    """The classes of training labels in order, numbers by value; empty for a regression, whose
    labels are not all whole. UserError if nearly every example has a label of its own."""
    present = {label for label in labels if label is not None}
    if any(isinstance(label, float) for label in present):
        return []
    if len(present) > max(MOST_CLASSES, len(labels) // 2):
        raise UserError(
            f"{named}: {len(present):,} different labels in {len(labels):,} examples; name the "
            "labels' column with --label-column"
        )
    return [str(label) for label in sorted(present)]


def number_labels(labels: list[Any], names: list[str], named: str) -> list[int] | list[float]:
    """Labels as positions among `names`, or as floats if there are none; UserError for a label that
    is not among them, or no number."""
    if not names:
        if words := [label for label in labels if isinstance(label, str)]:
            raise UserError(f"{named}: label {words[0]!r}; those of the training split are numbers")
        return [float(label) for label in labels]
    index = {name: number for number, name in enumerate(names)}
    for label in labels:
        if str(label) not in index:
            raise UserError(
                f"{named}: label {label} is not among those of the training split: {shown(names)}"
            )
    return [index[str(label)] for label in labels]


def shown(names: list[str]) -> str:
    """The names with commas, the first few of many."""
    more = ", ..." if len(names) > SHOWN_NAMES else ""
    return ", ".join(names[:SHOWN_NAMES]) + more


def _number(value: Any) -> int | float | None:
    """A finite number, an int if it is whole; None for anything else, truth values included."""
    if isinstance(value, bool):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    if not math.isfinite(number):
        return None
    return int(number) if number.is_integer() else number
