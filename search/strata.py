"""Who is compared with whom, and when: strata of trials, and a scheduler's settings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

EVERYTHING = "all trials"


def stratum_of(config: Mapping[str, Any], compare_within: Sequence[str]) -> str:
    """A name that two configurations share exactly where they agree in all these settings."""
    named = [
        str(config[setting]) if setting == "initialisation" else f"{setting}={config[setting]}"
        for setting in compare_within
    ]
    return ", ".join(named) or EVERYTHING


@dataclass(frozen=True)
class SchedulerSettings:
    """What a scheduler may need to know of a sweep; evaluations are a trial's."""

    evaluations: int
    grace_evaluations: int
    compare_within: tuple[str, ...]
    run_folder: Path
