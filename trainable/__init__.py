"""One trial: data, teacher, student, losses, training loop.

`prepare` makes what all trials share, and `student` a Ray Tune trainable of it. Imports point down:
trial, teacher, engine, models, data, config, common, each only what comes after it. Only
`trainable.trial.tune_function` knows of Ray, and is loaded when `student` is first asked for.
"""

from importlib import import_module
from typing import Any

_EXPORTS = {"prepare": "trainable.trial.preparation", "student": "trainable.trial.tune_function"}


def __getattr__(name: str) -> Any:
    """Loads torch, or Ray, only for who asks for it."""
    if name not in _EXPORTS:
        raise AttributeError(f"module 'trainable' has no attribute {name!r}")
    globals()[name] = value = getattr(import_module(_EXPORTS[name]), name)
    return value
