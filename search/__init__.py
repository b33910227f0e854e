"""The commands, the sweep in Ray Tune, its record and its results; `find` calls them from Python.

Imports point down: notebook, the commands, then students, sweep, policy, results, record and plan,
each only what comes after it, and `trainable`.
"""

import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any


def _check_place(package: str) -> None:
    """Ends in a line where a file or folder of the user's, such as of spaces, is found in place of
    a package of ours."""
    found, own = find_spec(package), Path(__file__).parents[1] / package
    if found is None:
        return  # the import says so
    there = Path(next(iter(found.submodule_search_locations or [str(found.origin)])))
    if own.resolve() == there.resolve():
        return
    line = f"{there} hides this project's package {package}; rename it, or work elsewhere"
    if sys.argv[:1] != ["-m"]:
        raise ImportError(line)
    print(f"error: {line}", file=sys.stderr)
    sys.exit(2)


_check_place("trainable")
_check_place("spaces")

import trainable as trainable  # noqa: E402 # first: a command interrupted as it loads ends quietly


def __getattr__(name: str) -> Any:
    """`search.find` and `search.SearchResult`; the commands do not load what these need."""
    if name not in ("find", "SearchResult"):
        raise AttributeError(f"module 'search' has no attribute {name!r}")
    return getattr(import_module("search.notebook"), name)
