"""The commands, the sweep in Ray Tune, its record and its results; `find` calls them from Python.

Imports point down: notebook, the commands, then students, sweep, policy, results, record and plan,
each only what comes after it, and `trainable`.
"""

from importlib import import_module
from typing import Any

import trainable as trainable  # first: a command that is interrupted while it loads ends quietly


def __getattr__(name: str) -> Any:
    """`search.find` and `search.SearchResult`; the commands do not load what these need."""
    if name not in ("find", "SearchResult"):
        raise AttributeError(f"module 'search' has no attribute {name!r}")
    return getattr(import_module("search.notebook"), name)
