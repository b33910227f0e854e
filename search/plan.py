"""Which trials a sweep runs, and in which order."""

import random
from dataclasses import replace
from typing import Any

from search.request import Request
from spaces import SPACES
from trainable.config import TrialConfig
from trainable.errors import UserError
from trainable.inputs import complete_config
from trainable.names import NO_LAYERS

Point = dict[str, Any]


def plan_trials(request: Request) -> list[TrialConfig]:
    """The configurations of a space, each once on each seed, shuffled by the request's seed.

    ASHA never stops the first to arrive at a rung, so the order must not favour any of them. More
    samples or seeds leave the trials of fewer as they are, and in their places.
    Raises UserError where a value is of a setting that the space varies, or spoils a trial.
    """
    preset, overrides = request.sized_preset, request.overrides
    points = SPACES[request.space](preset.coarse_grid)
    _check_overrides(request, points)
    points = _grown(request, points)
    configs = [complete_config(preset, point, overrides, request.seed) for point in points]
    for key, value in overrides.items():
        if all(key in config.idle_settings for config in configs):
            raise UserError(f"--set {key}={value}: changes nothing in any trial of {request.space}")
    once = list({config.digest: config for config in configs}.values())
    random.Random(request.seed).shuffle(once)
    drawn = once[: request.samples]
    return drawn + [
        replace(config, seed=config.seed + more)
        for more in range(1, request.seeds)
        for config in drawn
    ]


def _check_overrides(request: Request, points: list[Point]) -> None:
    for key, value in request.overrides.items():
        if any(key in point for point in points):
            raise UserError(
                f"--set {key}={value}: the space {request.space} sets it itself; --set is for what "
                f"a space leaves constant (--add {key}={value} tries one more value)"
            )


def _grown(request: Request, points: list[Point]) -> list[Point]:
    """The points, and for each added value those that have another one for that setting."""
    for key, value in request.additions:
        varied = [point for point in points if point.get(key) not in (None, NO_LAYERS)]
        if not varied:
            constant = not any(key in point for point in points)
            instead = f"--set {key}={value} fixes it in all trials" if constant else "leave it out"
            raise UserError(
                f"--add {key}={value}: the space {request.space} does not vary it; {instead}"
            )
        points = points + [{**point, key: value} for point in varied]
    return points
