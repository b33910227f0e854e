"""Trial schedulers by name: where the class is that Ray is given."""

from collections.abc import Callable
from importlib import import_module
from typing import Any

Slots = Callable[[], int]  # trials that run at a time
SCHEDULERS = {  # each extends `ResumingScheduler`; another one is a class and a line here
    "asha": "search.sweep.scheduling.stratified_asha.StratifiedASHA",  # stops weak trials early
    "fifo": "search.sweep.scheduling.fifo.ResumingScheduler",  # runs all to the end
}


def make_scheduler(name: str, run: Any, slots: Slots) -> Any:
    """The run's scheduler, with Ray, which is loaded only here."""
    module, _, cls = SCHEDULERS[name].rpartition(".")
    return getattr(import_module(module), cls)(run, slots)
