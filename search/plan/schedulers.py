"""Trial schedulers by name: each is a file NAME_scheduler.py of `search.sweep.scheduling`.

Its `SCHEDULER` is a class that extends `ResumingScheduler`; a new file is a new choice of
`--scheduler`.
"""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

SUFFIX = "_scheduler"
FOLDER = Path(__file__).parents[1] / "sweep" / "scheduling"
SCHEDULERS = sorted(file.stem.removesuffix(SUFFIX) for file in FOLDER.glob(f"*{SUFFIX}.py"))

Slots = Callable[[], int]  # trials that run at a time


def make_scheduler(name: str, run: Any, slots: Slots) -> Any:
    """The run's scheduler, with Ray, which is loaded only here."""
    return import_module(f"search.sweep.scheduling.{name}{SUFFIX}").SCHEDULER(run, slots)
