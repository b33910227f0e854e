"""Trial schedulers by name. Ray is loaded only when one is made."""

from collections.abc import Callable
from typing import Any

Slots = Callable[[], int]  # trials that run at a time


def make_asha(run: Any, slots: Slots) -> Any:
    """Asynchronous successive halving within each stratum."""
    from search.stratified_asha import StratifiedASHA

    return StratifiedASHA(run, slots)


def make_fifo(run: Any, slots: Slots) -> Any:
    """Every trial to its end, in the order of the sweep."""
    from search.resuming import ResumingScheduler

    return ResumingScheduler(run)


# From a `search.record.Run`, which names its scheduler, to a Ray scheduler.
SCHEDULERS: dict[str, Callable[[Any, Slots], Any]] = {"asha": make_asha, "fifo": make_fifo}
