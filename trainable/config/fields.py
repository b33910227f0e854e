"""Frozen dataclasses whose fields describe themselves: checked when made, and flags of a command.

Flags, help, conversion from text and checks follow from the fields. Loads neither torch nor Ray.
"""

import argparse
import math
import operator
import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import MISSING, Field, field, fields, is_dataclass
from functools import cache, partial
from itertools import repeat
from types import UnionType
from typing import Any, NoReturn, get_args, get_origin, get_type_hints

from trainable.common.errors import UserError, error_line, not_among

HIGHEST = 10**9  # of a number without another bound: more is a slip
METAVARS = {int: "N", float: "X", str: "NAME", tuple: "KEY=VALUE"}
BOUNDS = {
    "low": (operator.ge, "at least"),
    "high": (operator.le, "at most"),
    "above": (operator.gt, "above"),
    "below": (operator.lt, "below"),
}


def described(
    help: str,
    default: Any = MISSING,
    *,
    choices: Collection[str] = (),
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    below: float | None = None,
    parse: Callable[[str], Any] | None = None,
    flag: str | None = None,
    metavar: str | None = None,
    **metadata: Any,
) -> Any:
    """A field with its description and bounds: `low` and `high` included, `above` and `below` not.

    `parse` turns a flag's text into the value; if it returns pairs (`KEY=VALUE`), repeated flags
    make a tuple of them. `flag` is the flag's name if it is not the field's own.
    """
    about = {"help": help, "choices": tuple(choices), "parse": parse, "flag": flag}
    bounds = {"low": low, "high": high, "above": above, "below": below}
    return field(default=default, metadata={**about, **bounds, "metavar": metavar, **metadata})


def plain(value: Any) -> Any:
    """A number of numpy's as Python's, anything else as it is."""
    return value.item() if hasattr(value, "item") else value


@cache
def field_types(cls: type) -> dict[str, tuple[type, bool]]:
    """For each field its type (str, int, float, tuple, ...) and whether None is allowed."""
    types: dict[str, tuple[type, bool]] = {}
    for name, hint in get_type_hints(cls).items():
        options = get_args(hint) if isinstance(hint, UnionType) else (hint,)
        types[name] = (get_origin(options[0]) or options[0], type(None) in options)
    return types


def check_fields(instance: Any) -> None:
    """UserError, which names field, value and what would be right, for the first that is wrong."""
    for about in fields(instance):
        if "help" in about.metadata:
            _check_value(type(instance), about, getattr(instance, about.name), f"{about.name}: ")


def check_types(instance: Any) -> None:
    """TypeError for the first value, in a dataclass or those within it, that is not of its type."""
    for name, hint in get_type_hints(type(instance)).items():
        value = getattr(instance, name)
        if not _is_of(value, hint):
            raise TypeError(f"{name}: {str(value)[:40]!r} is not of its type")


def _is_of(value: Any, hint: Any) -> bool:
    kind, parts = get_origin(hint) or hint, get_args(hint)
    if kind is UnionType:
        return any(_is_of(value, part) for part in parts)
    if kind in (int, float):
        lowest = -1 if kind is float else 0  # a correlation may be below 0
        return type(value) in {int, kind} and lowest <= value < math.inf
    if kind is Any or not isinstance(value, kind):
        return kind is Any
    if isinstance(value, Mapping):
        return all(_is_of(k, parts[0]) and _is_of(v, parts[1]) for k, v in value.items())
    if isinstance(value, list | tuple):
        return all(_is_of(part, parts[0]) for part in value)
    if is_dataclass(value) and not any("help" in about.metadata for about in fields(value)):
        check_types(value)  # one that does not check itself
    return True


def from_plain(hint: Any, value: Any) -> Any:
    """A value of this type, from what `asdict`, and perhaps JSON, made of it."""
    make: Any = get_origin(hint) or hint
    parts = get_args(hint)
    if make is UnionType:
        return value if value is None else from_plain(parts[0], value)
    if is_dataclass(hint):
        hints = get_type_hints(hint)
        return make(**{key: from_plain(hints.get(key), part) for key, part in value.items()})
    if make is tuple and isinstance(value, list | tuple):
        each = repeat(parts[0]) if parts[-1] is ... else parts
        return tuple(map(from_plain, each, value))
    return value


def flag_of(about: Field[Any]) -> str:
    """`--learning-rate`."""
    return f"--{about.metadata['flag'] or about.name.replace('_', '-')}"


def add_flags(
    group: Any, cls: type, names: Iterable[str] | None = None, *, defaults: bool = True
) -> None:
    """A flag for each described field of `cls`; those not given leave no trace in the namespace.
    Without `defaults` it says none, since what is not given comes from elsewhere."""
    wanted = None if names is None else set(names)
    for about in fields(cls):
        if "help" not in about.metadata or (wanted is not None and about.name not in wanted):
            continue
        kind, _ = field_types(cls)[about.name]
        options: dict[str, Any] = {"action": argparse.BooleanOptionalAction}
        if kind is not bool:
            options = {
                "type": partial(_from_flag, cls, about),
                "action": "append" if kind is tuple else "store",
                "metavar": about.metadata["metavar"] or METAVARS.get(kind),
            }
        group.add_argument(
            flag_of(about),
            dest=about.name,
            default=argparse.SUPPRESS,
            help=field_help(about, default=defaults).replace("%", "%%"),
            **options,
        )


def field_help(about: Field[Any], *, default: bool = True) -> str:
    """A field's description, choices or bounds, and default: `depth ...; at least 1; default 6`."""
    meta = about.metadata
    bounds = [
        f"{relation} {meta[key]:.10g}"
        for key, (_, relation) in BOUNDS.items()
        if meta[key] is not None
    ]
    allowed = ", ".join(meta["choices"] or bounds)
    shown = default and about.default not in (None, MISSING, (), "")
    text = f"{meta['help']}{f'; {allowed}' if allowed else ''}"
    return f"{text}; default {about.default}" if shown else text


class OneLineParser(argparse.ArgumentParser):
    """An argument parser that leaves its texts' lines as they are, and whose errors are one line,
    with exit code 2."""

    def __init__(self, **options: Any) -> None:
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, **options)

    def error(self, message: str) -> NoReturn:
        """Called by argparse for whatever is wrong."""
        print(error_line(message.removeprefix("argument ")), file=sys.stderr)
        raise SystemExit(2)


def given(arguments: argparse.Namespace, cls: type) -> dict[str, Any]:
    """What the command line says of a class's fields, repeated flags as tuples."""
    names = {about.name for about in fields(cls)}
    return {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in vars(arguments).items()
        if name in names
    }


def merged(values: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a configuration whose groups (dicts within it) are spread into it."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= merged(value) if isinstance(value, Mapping) else {key: value}
    return flat


def _from_flag(cls: type, about: Field[Any], text: str) -> Any:
    try:
        parse = about.metadata["parse"]
        low, (kind, _) = about.metadata["low"], field_types(cls)[about.name]
        least = "" if low is None else f" of at least {low:g}"
        value = parse(text) if parse else converted(kind, text, bound=least)
        if kind is not tuple:
            _check_value(cls, about, value, "")
    except UserError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return value


def converted(kind: type, text: str, named: str = "", bound: str = "") -> Any:
    """Text as a value of this type; UserError for no number."""
    try:
        return kind(text)
    except ValueError:
        word = "whole number" if kind is int else "number"
        raise UserError(f"{named}{text[:40]!r} is not a {word}{bound}") from None


def _check_value(cls: type, about: Field[Any], value: Any, named: str) -> None:
    kind, optional = field_types(cls)[about.name]
    if value is None and optional:
        return
    if type(value) is not kind:
        raise UserError(f"{named}{value!r} is not of type {kind.__name__}")
    if about.metadata["choices"] and value not in about.metadata["choices"]:
        raise UserError(f"{named}{not_among(value, about.metadata['choices'])}")
    if isinstance(value, int | float):
        _check_bounds(about, value, named)


def _check_bounds(about: Field[Any], value: float, named: str) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"{named}{value} must be a finite number")
    limits = dict(about.metadata)
    if limits["below"] is None and limits["high"] is None:
        limits["high"] = HIGHEST
    for key, (holds, relation) in BOUNDS.items():
        bound = limits[key]
        if bound is not None and not holds(value, bound):
            raise UserError(f"{named}{value} must be {relation} {bound}")
