"""Trial schedulers by name. Ray is loaded only when one is made."""

from collections.abc import Callable
from typing import Any

from search.strata import SchedulerSettings


def make_asha(settings: SchedulerSettings) -> Any:
    """Asynchronous successive halving within each stratum."""
    from search.stratified_asha import StratifiedASHA

    return StratifiedASHA(settings)


def make_fifo(settings: SchedulerSettings) -> Any:
    """Every trial to its end, in the order of the sweep."""
    from ray.tune.schedulers import FIFOScheduler

    return FIFOScheduler()


SCHEDULERS: dict[str, Callable[[SchedulerSettings], Any]] = {"asha": make_asha, "fifo": make_fifo}
