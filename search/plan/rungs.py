"""Who is compared with whom, and when: strata of trials, and rungs."""

from collections.abc import Mapping, Sequence
from itertools import count, takewhile
from typing import Any

EVERYTHING = "all trials"
SCHEDULERS = ASHA, FIFO, PROMOTION = "asha", "fifo", "promotion"
WITH_RUNGS = (ASHA, PROMOTION)  # those that compare trials at rungs
FACTOR = 2  # one in so many goes on at each rung
LOSS_WEIGHT, LARGEST_LOSS = 1e-6, 10.0  # of a loss; together less than half an example of 25,000


def stratum_of(config: Mapping[str, Any], compare_within: Sequence[str]) -> str:
    """A name that two configurations share exactly where they agree in all these settings."""
    named = [
        str(config[setting]) if setting == "initialisation" else f"{setting}={config[setting]}"
        for setting in compare_within
    ]
    return ", ".join(named) or EVERYTHING


def rung_score(evaluation: Mapping[str, Any]) -> float:
    """What is compared at a rung: the mean of score and agreement with the teacher at this
    evaluation, and of equal ones the validation loss.

    The teacher's answers are a second set of labels, which makes the score less noisy. The loss
    tells students apart that still give every example the same label. `search.replay` compares
    this with other signals.
    """
    loss = min(evaluation["validation_loss"], LARGEST_LOSS)
    score = (evaluation["score"] + evaluation["teacher_agreement"]) / 2
    return float(score - LOSS_WEIGHT * loss)


def rungs(evaluations: int, grace_evaluations: int, factor: int) -> list[int]:
    """The numbers of evaluations at which trials are compared: the grace, times the factor while
    it fits.

    At the last evaluation a trial has ended anyway; Ray decides nothing there.
    """
    first = min(grace_evaluations, evaluations)
    powers = takewhile(lambda number: number < evaluations, (first * factor**n for n in count()))
    return list(powers)
