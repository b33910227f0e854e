"""Which trials a sweep runs, and in which order."""

import random
from dataclasses import replace
from typing import Any

import optuna
from optuna.samplers import RandomSampler
from optuna.trial import FixedTrial

from search.request import Request
from spaces import SEARCHED_SPACES, SPACES
from spaces.recipe import Suggests
from trainable.config import TrialConfig
from trainable.errors import UserError
from trainable.inputs import complete_config
from trainable.names import NO_LAYERS

POSSIBLE_DRAWS = 64  # enough for every value of a setting of few to be among them

Point = dict[str, Any]


def plan_trials(request: Request) -> list[TrialConfig]:
    """The configurations of a space, each once on each seed, shuffled by the request's seed.

    ASHA never stops the first to arrive at a rung, so the order must not favour any of them. More
    samples, seeds or added values leave those of fewer among them. Samples are drawn from the
    space's own configurations; an added value then joins those drawn that have another for it.
    Raises UserError where a value is of a setting that the space varies, or spoils a trial.
    """
    if request.searched:
        return [config for config, _ in plan_starts(request)]
    points = [
        {**point, **depth}
        for point in SPACES[request.space](request.sized_preset.coarse_grid)
        for depth in _depth_points(request)
    ]
    _check_overrides(request, points)
    drawn = list(_each_once(request, points).values())
    random.Random(request.seed).shuffle(drawn)
    drawn = drawn[: request.samples]
    if request.additions:
        drawn = _grown(request, drawn)
        random.Random(request.seed).shuffle(drawn)
    configs = [_config(request, point) for point in drawn]
    return configs + [
        replace(config, seed=config.seed + more)
        for more in range(1, request.seeds)
        for config in configs
    ]


def plan_starts(request: Request) -> list[tuple[TrialConfig, Point]]:
    """What a searched space has tried first, on each seed, with the draw that it stands for."""
    _refuse_additions(request)
    best, *plain = SEARCHED_SPACES[request.space].starts
    usual, *others = _depth_points(request)
    starts = [{**start, **usual} for start in (best, *plain)]
    starts += [{**best, **depth} for depth in others]
    _check_overrides(request, starts)
    return [
        (config, start)
        for start in starts[: request.samples]
        for config in request.on_all_seeds(config_of_draw(request, start))
    ]


def starting_parameters(request: Request, configs: list[TrialConfig]) -> dict[str, Point]:
    """The draws that `plan_trials` began a searched space with, by digest of these trials of it."""
    drawn = [parameters for _, parameters in plan_starts(request)]
    return {config.digest: point for config, point in zip(configs, drawn, strict=True)}


def draw(request: Request, trial: Suggests) -> Point:
    """A searched space's point, drawn with the `suggest` methods of an Optuna trial."""
    point = SEARCHED_SPACES[request.space].draw(trial)
    if len(request.depths) > 1:
        point["student_layers"] = trial.suggest_categorical("student_layers", request.depths)
    return point


def config_of_draw(request: Request, parameters: Point) -> TrialConfig:
    """The configuration that drawn values stand for, on the first seed."""
    return _config(request, draw(request, FixedTrial(parameters)))


def possible_trials(request: Request) -> list[TrialConfig]:
    """Configurations as the sweep may come to have them: all that are listed, or random draws."""
    if not request.searched:
        return plan_trials(request)
    study = optuna.create_study(sampler=RandomSampler(seed=0))
    drawn = [_config(request, draw(request, study.ask())) for _ in range(POSSIBLE_DRAWS)]
    return [*plan_trials(request), *drawn]


def _depth_points(request: Request) -> list[Point]:
    """The depths to try, as what they add to a point: nothing where there is only the usual one."""
    several = len(request.depths) > 1
    return [{"student_layers": depth} for depth in request.depths] if several else [{}]


def _refuse_additions(request: Request) -> None:
    for key, value in request.additions:
        raise UserError(
            f"--add {key}={value}: {request.space} draws its values from ranges; "
            "--samples draws more of them"
        )


def _config(request: Request, point: Point) -> TrialConfig:
    return complete_config(request.sized_preset, point, request.overrides, request.seed)


def _each_once(request: Request, points: list[Point]) -> dict[TrialConfig, Point]:
    """Of points that train the same student, the first; keyed by what they do."""
    found: dict[TrialConfig, Point] = {}
    for point in points:
        found.setdefault(_config(request, point).recipe, point)
    return found


def _check_overrides(request: Request, points: list[Point]) -> None:
    varied = {key for point in points for key in point}
    for key, value in request.overrides.items():
        if key in varied:
            instead = "" if request.searched else f" (--add {key}={value} tries one more value)"
            raise UserError(
                f"--set {key}={value}: the space {request.space} sets it itself; --set is for what "
                f"a space leaves constant{instead}"
            )
    trials = [_config(request, point) for point in points]
    for key, value in request.overrides.items():
        if all(key in trial.idle_settings for trial in trials):
            raise UserError(f"--set {key}={value}: changes nothing in any trial of {request.space}")


def _grown(request: Request, points: list[Point]) -> list[Point]:
    """The points, and for each added value those that have another one for that setting."""
    given = {key for point in points for key in point}
    for key, value in request.additions:
        varied = [point for point in points if point.get(key) not in (None, NO_LAYERS)]
        if not varied:
            instead = "leave it out" if key in given else f"--set {key}={value} fixes it in all"
            raise UserError(
                f"--add {key}={value}: the space {request.space} does not vary it; {instead}"
            )
        try:
            more = [*points, *({**point, key: value} for point in varied)]
            points = list(_each_once(request, more).values())
        except UserError as error:
            raise UserError(f"--add {key}={value}: {error}") from None
    return points
