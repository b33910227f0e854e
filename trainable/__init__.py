"""One trial: data, teacher, student, losses, training loop.

`prepare` makes what all trials share, and `student` a Ray Tune trainable of it. Imports point down:
trial, serving, teacher, engine, models, data, config, common, each only what comes after it. Only
`trainable.trial.tune_function` knows of Ray, and is loaded when `student` is first asked for.
"""

import os
import sys
from importlib import import_module
from signal import default_int_handler
from typing import Any

# Read as torch is loaded. By default threads spin while they wait for one another, and on cores
# that other processes use, too, a step of two threads then takes many times as long.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

_words = sys.orig_argv  # `python -m` is looking for a command, whose modules take a second
_command = _words[_words.index("-m") + 1] if "-m" in _words[:-1] else ""
if sys.argv[:1] == ["-m"] and _command.partition(".")[0] in ("search", "trainable"):
    _interrupts = import_module("trainable.common.interrupts")
    _interrupts.replace_handler(default_int_handler, _interrupts.end_quietly)

_EXPORTS = {"prepare": "trainable.trial.preparation", "student": "trainable.trial.tune_function"}


def __getattr__(name: str) -> Any:
    """Loads torch, or Ray, only for who asks for it."""
    if name not in _EXPORTS:
        raise AttributeError(f"module 'trainable' has no attribute {name!r}")
    globals()[name] = value = getattr(import_module(_EXPORTS[name]), name)
    return value
