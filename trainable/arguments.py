"""Command-line pieces that the sweep and the single trial share. Loads neither torch nor Ray."""

import argparse
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import Field, fields, replace
from pathlib import Path
from typing import Any, NoReturn

from trainable.config import TrialConfig, setting_types
from trainable.errors import UserError, not_among, unknown_name
from trainable.files import nearest_existing
from trainable.names import EAGER, EXECUTORS, GRAPH
from trainable.presets import PRESETS, Preset, automatic_preset

AUTO = "auto"
SIZES = ("train_sentences", "evaluation_sentences", "search_sentences", "max_length")


class OneLineParser(argparse.ArgumentParser):
    """An argument parser whose errors are one line, with exit code 2."""

    def error(self, message: str) -> NoReturn:
        """Called by argparse for whatever is wrong."""
        print(f"error: {message.removeprefix('argument ')}", file=sys.stderr)
        raise SystemExit(2)


def one_of(names: Iterable[str]) -> Callable[[str], str]:
    """An argument type: one of `names`, with the nearest one suggested for another."""
    valid = tuple(names)

    def parse(text: str) -> str:
        if text not in valid:
            raise argparse.ArgumentTypeError(not_among(text, valid))
        return text

    return parse


def positive(text: str) -> int:
    """An argument type: a whole number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def at_least_zero(text: str) -> int:
    """An argument type: a whole number, 0 included."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 0")
    return int(text)


_in_its_place: ContextVar[Path | None] = ContextVar("_in_its_place", default=None)


def default_cache() -> Path:
    """The user's cache, or what `cache_at` has in its place."""
    return _in_its_place.get() or users_cache()


@contextmanager
def cache_at(folder: Path) -> Iterator[None]:
    """Within, this folder is the default cache."""
    token = _in_its_place.set(folder)
    try:
        yield
    finally:
        _in_its_place.reset(token)


def users_cache() -> Path:
    """`distillation-search` in the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base).absolute() / "distillation-search"


def writable_folder(text: str) -> Path:
    """An argument type: the absolute path of a folder that is there or can be made.

    Absolute, because trials run in other working folders.
    """
    folder = Path(text).expanduser().resolve()
    there = nearest_existing(folder)
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise argparse.ArgumentTypeError(f"{text}: {there} is not a folder that can be written to")
    return folder


def add_input_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags that choose teacher and sentences."""
    group = parser.add_argument_group("inputs")
    group.add_argument(
        "--preset",
        type=one_of((AUTO, *PRESETS)),
        default=AUTO,
        metavar="P",
        help=f"{', '.join(PRESETS)}, or auto: sst2 where a CUDA GPU is visible, mini elsewhere",
    )
    group.add_argument(
        "--teacher", metavar="T", help="hub id or local folder instead of the preset's teacher"
    )
    group.add_argument(
        "--dataset",
        metavar="D",
        help="hub id, id:configuration, or a local folder or file (TSV, CSV, JSON lines, Parquet) "
        "with sentence or text, and label; instead of the preset's",
    )
    for name, what in (
        ("--train-sentences", "most training sentences used"),
        ("--evaluation-sentences", "most evaluation sentences used"),
        (
            "--search-sentences",
            "evaluation sentences that each evaluation looks at, the same ones in all; where there "
            "are more, a trial is scored on all of them once, at its end",
        ),
        ("--max-length", "tokens a sentence is cut to"),
    ):
        group.add_argument(name, type=positive, metavar="N", help=f"{what} (the preset's)")
    group.add_argument(
        "--executor",
        type=one_of((AUTO, *EXECUTORS)),
        default=AUTO,
        metavar="E",
        help=f"{GRAPH} captures a step once and replays it, on a CUDA GPU; {EAGER} runs each as it "
        f"is; auto: {GRAPH} where it can be had",
    )
    group.add_argument(
        "--cache",
        type=writable_folder,
        default=default_cache(),
        metavar="DIR",
        help="where teachers and their outputs are kept for all runs (%(default)s)",
    )


def choose_preset(arguments: argparse.Namespace, cuda: bool) -> tuple[str, Preset, str]:
    """The preset's name, the preset with the user's sizes put in, and why it was chosen."""
    name, why = arguments.preset, "chosen with --preset"
    if name == AUTO:
        name, why = automatic_preset(cuda)
    sizes = {key: getattr(arguments, key) for key in SIZES if getattr(arguments, key) is not None}
    return name, replace(PRESETS[name], **sizes), why


def add_setting_arguments(parser: argparse.ArgumentParser) -> None:
    """One flag for each setting of a trial."""
    group = parser.add_argument_group(
        "settings of the trial",
        "A preset may set another default, and the learning rate goes by the initialisation.",
    )
    for setting in fields(TrialConfig):
        flag = "--" + setting.name.replace("_", "-")
        group.add_argument(flag, metavar="X", help=setting_help(setting).replace("%", "%%"))


def setting_help(setting: Field[Any]) -> str:
    """A setting's sentence, its choices or bounds, and its default: `depth ...; at least 1 (6)`."""
    about = setting.metadata
    words = {"low": "at least", "high": "at most", "above": "above", "below": "below"}
    bounds = [f"{word} {about[name]:g}" for name, word in words.items() if about[name] is not None]
    allowed = ", ".join(about["choices"] or bounds)
    default = "" if setting.default is None else f" ({setting.default})"
    return f"{about['help']}{f'; {allowed}' if allowed else ''}{default}"


def given_settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """The settings that `add_setting_arguments` found on the command line, in their types."""
    found = {setting.name: getattr(arguments, setting.name) for setting in fields(TrialConfig)}
    return {name: parse_setting(name, text) for name, text in found.items() if text is not None}


def parse_setting(name: str, text: str) -> Any:
    """A trial's setting from text, in its type; UserError for an unknown name or no number."""
    types = setting_types()
    if name not in types:
        raise unknown_name("setting", name, sorted(types))
    kind, _ = types[name]
    try:
        return kind(text)
    except ValueError:
        word = "a whole number" if kind is int else "a number"
        raise UserError(f"{name}: {text!r} is not {word}") from None
