"""Trial schedulers by name. Ray is loaded only when one is made."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from search.strata import ASHA, FIFO

if TYPE_CHECKING:
    from search.record import Run

Slots = Callable[[], int]  # trials that run at a time


def make_asha(run: "Run", slots: Slots) -> Any:
    """Asynchronous successive halving within each stratum."""
    from search.stratified_asha import StratifiedASHA

    return StratifiedASHA(run, slots)


def make_fifo(run: "Run", slots: Slots) -> Any:
    """Every trial to its end, in the order of the sweep."""
    from search.resuming import ResumingScheduler

    return ResumingScheduler(run)


SCHEDULERS: dict[str, Callable[["Run", Slots], Any]] = {ASHA: make_asha, FIFO: make_fifo}
