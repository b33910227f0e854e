"""Batches of examples of similar length, shuffled anew each epoch."""

from collections.abc import Iterator

import numpy as np

from trainable.common.errors import UserError
from trainable.config.trial_config import TrialConfig

FORWARD_SHARE = 1 / 3  # of a training step, that classifying the same examples takes
EVALUATION_SHARE = 1 / 5  # of a trial's time in a search
POOL_BATCHES = 50  # examples of this many batches are sorted by length together
# Tokens that batches are padded to where each width has a cost of its own, such as a captured step.
WIDTHS = (8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)


def epoch_batches(lengths: np.ndarray, batch_size: int, seed: int, epoch: int) -> list[np.ndarray]:
    """Row numbers of each batch of an epoch; every row of `lengths` [N] is in exactly one batch.

    All examples are shuffled, each pool of POOL_BATCHES batches is sorted by length and cut, and
    the batches are shuffled. All but at most one have `batch_size` rows. The order depends on seed
    and epoch only, so a resumed trial finds its place by counting.
    """
    generator = np.random.default_rng([seed, epoch])
    order = generator.permutation(len(lengths))
    pool = batch_size * POOL_BATCHES
    batches: list[np.ndarray] = []
    for start in range(0, len(order), pool):
        rows = order[start : start + pool]
        batches += [rows[batch] for batch in batches_by_length(lengths[rows], batch_size)]
    return [batches[index] for index in generator.permutation(len(batches))]


def mixed_batches(
    lengths: np.ndarray, batch_size: int, seed: int, epoch: int, *, labelled: int, share: float
) -> list[np.ndarray]:
    """`epoch_batches` of the first `labelled` rows, shuffled with batches of `share` times as many
    of the rows behind, which are drawn anew in each epoch, none twice while there are others."""
    batches = epoch_batches(lengths[:labelled], batch_size, seed, epoch)
    count = round(share * labelled)
    if not count:
        return batches
    generator, others = np.random.default_rng([seed, epoch, 1]), len(lengths) - labelled
    rounds = [generator.permutation(others) for _ in range(-(-count // others))]
    rows = labelled + np.concatenate(rounds)[:count]
    batches += [rows[batch] for batch in epoch_batches(lengths[rows], batch_size, seed, epoch)]
    return [batches[index] for index in generator.permutation(len(batches))]


def remaining_batches(
    lengths: np.ndarray,
    batch_size: int,
    seed: int,
    step: int,
    total_steps: int,
    *,
    labelled: int | None = None,
    share: float = 0.0,
) -> Iterator[np.ndarray]:
    """The batches from `step` (from 0) on, over as many epochs as `total_steps` take; see
    `mixed_batches`."""
    labelled = len(lengths) if labelled is None else labelled
    per_epoch = steps_per_epoch(labelled, batch_size, share)
    for epoch in range(step // per_epoch, -(-total_steps // per_epoch)):
        batches = mixed_batches(lengths, batch_size, seed, epoch, labelled=labelled, share=share)
        yield from batches[max(step - epoch * per_epoch, 0) :]


def batches_by_length(lengths: np.ndarray, batch_size: int) -> list[np.ndarray]:
    """Row numbers of each batch in order of length, each row once."""
    order = np.argsort(lengths, kind="stable")
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]


def padded_width(longest: int) -> int:
    """The least of WIDTHS that holds `longest` tokens; beyond the last, a multiple of it."""
    fitting = [width for width in WIDTHS if width >= longest]
    return fitting[0] if fitting else -(-longest // WIDTHS[-1]) * WIDTHS[-1]


def steps_per_epoch(examples: int, batch_size: int, share: float = 0.0) -> int:
    """How many batches `mixed_batches` makes of so many labelled examples."""
    return -(-examples // batch_size) + -(-round(share * examples) // batch_size)


def trial_steps(labelled: int, config: TrialConfig) -> int:
    """Optimiser steps of a trial on so many labelled examples: its `max_steps`, or its epochs."""
    per_epoch = steps_per_epoch(labelled, config.batch_size, config.transfer)
    return config.epochs * per_epoch if config.max_steps is None else config.max_steps


def affordable_evaluations(trained: int, evaluated: int, *, least: int, most: int) -> int:
    """How many evaluations, on `evaluated` examples each, take at most EVALUATION_SHARE of a trial
    that trains on so many examples, counted with repeats; from `least` to `most`."""
    forward_passes = trained / FORWARD_SHARE * EVALUATION_SHARE / (1 - EVALUATION_SHARE)
    return min(max(int(forward_passes / evaluated), least), most)


def evaluation_steps(total_steps: int, evaluations: int) -> list[int]:
    """After how many steps each evaluation comes: equally spaced, the last at the end; UserError
    if there are fewer steps than evaluations."""
    if evaluations > total_steps:
        raise UserError(
            f"evaluations: {evaluations} are more than the trial's {total_steps} steps; give "
            "fewer, or more training examples or epochs"
        )
    return [total_steps * (i + 1) // evaluations for i in range(evaluations)]
