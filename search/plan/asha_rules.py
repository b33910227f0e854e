"""Who is compared with whom, and when: strata of trials, and rungs."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

EVERYTHING = "all trials"
REDUCTION_FACTOR = 2  # of ASHA: the better half goes on at each rung


def stratum_of(config: Mapping[str, Any], compare_within: Sequence[str]) -> str:
    """A name that two configurations share exactly where they agree in all these settings."""
    named = [
        str(config[setting]) if setting == "initialisation" else f"{setting}={config[setting]}"
        for setting in compare_within
    ]
    return ", ".join(named) or EVERYTHING


def rungs(evaluations: int, grace_evaluations: int) -> list[int]:
    """The numbers of evaluations at which ASHA compares trials: the grace, doubled while it fits.

    At the last evaluation a trial has ended anyway; Ray decides nothing there.
    """
    first = min(grace_evaluations, evaluations)
    doublings = int(math.log(evaluations / first) / math.log(REDUCTION_FACTOR))
    numbers = [first * REDUCTION_FACTOR**doubling for doubling in range(doublings + 1)]
    return [number for number in numbers if number < evaluations]
