"""Which trials a sweep runs, and in which order."""

import math
import random
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import islice

import numpy as np

from search.plan.draws import (
    Point,
    check_space,
    configure,
    random_draws,
    refuse_inactive,
    refuse_shape,
    starting_points,
)
from search.plan.objectives import FEEDFORWARD, LAYERS, settings_of
from search.plan.resolve import ResolvedRequest
from spaces import Inputs, call_space, load_space
from trainable.common.errors import UserError, as_user_error
from trainable.config.fields import merged
from trainable.config.initialisations import PRETRAINED
from trainable.config.names import NO_LAYERS
from trainable.config.trial_config import TrialConfig

MOST_CONFIGURATIONS = 10_000  # in a grid
DRAWS_EACH = 20  # for a sample, of a space that draws the same again


def plan_trials(request: ResolvedRequest) -> list[TrialConfig]:
    """The configurations of a space, shuffled by the request's seed, each on all seeds in a row; of
    a searched space the first, since all others are suggested.

    ASHA never stops the first to arrive at a rung, so the order must not favour any of them; and it
    decides on all seeds of one together, so that they are best trained at the same time. Raising
    samples, seeds or added values keeps every trial already planned. Samples are drawn from the
    space's own configurations; an added value then joins those drawn that have another for it.
    Raises UserError where a value is of a setting that the space varies, or spoils a trial.
    """
    if request.searched:
        check_space(request)
        return [starting_points(request)[0][0]]
    drawn = _drawn(request)[: request.samples]
    if request.added:
        drawn = _with_additions(request, drawn)
        random.Random(request.seed).shuffle(drawn)
    configs = [configure(request, point) for point in drawn]
    return [
        replace(config, seed=config.seed + offset)
        for config in configs
        for offset in range(request.seeds)
    ]


def left_out(request: ResolvedRequest) -> str:
    """What a coarse grid lacks: `sharpness=0.5, sharpness=2.0`; empty for no coarse one."""
    if request.searched or not request.inputs.coarse:
        return ""
    fine = replace(request.inputs, coarse=False)
    kinds = [[*islice(list_grids(request, inputs), 2)] for inputs in (None, fine)]
    if max(map(len, kinds)) > 1:  # what it draws differs anyhow
        return ""
    coarse, every = (
        dict.fromkeys(pair for grid in grids for point in grid for pair in point.items())
        for grids in kinds
    )
    return ", ".join(f"{key}={value}" for key, value in every if (key, value) not in coarse)


def possible_trials(request: ResolvedRequest, planned: list[TrialConfig]) -> list[TrialConfig]:
    """What the sweep may come to have: those planned; of a searched space also its starting points,
    and random draws for the searcher's."""
    drawn = [*starting_points(request), *random_draws(request)] if request.searched else []
    return list(dict.fromkeys([*planned, *(config for config, _ in drawn)]))


def _drawn(request: ResolvedRequest) -> list[Point]:
    """The points that train different students, shuffled. Of a space that draws values at random:
    at least as many as `samples`, one grid after the other.
    """
    generator, drawn = random.Random(request.seed), dict[TrialConfig, Point]()
    shapes: list[Point] = [settings_of(shape) for shape in request.shapes] or [{}]
    for grid in list_grids(request):
        for point in grid:
            refuse_shape(request, point)
        points = [{**point, **shape} for point in grid for shape in shapes]
        for key, value in request.overrides:
            if any(key in point for point in points):
                raise UserError(
                    f"--set {key}={value}: the space {request.space} sets {key} itself; --set is "
                    f"for settings that it leaves alone (--add {key}={value} tries one more value)"
                )
        new = [(c, p) for c, p in _each_once(request, points).items() if c not in drawn]
        generator.shuffle(new)
        drawn |= dict(new)
        if request.samples is not None and len(drawn) >= request.samples:
            break
    if not drawn:
        raise UserError(f"--space {request.space}: has no configuration; a list in it is empty")
    refuse_inactive(request, drawn)
    return list(drawn.values())


def list_grids(request: ResolvedRequest, inputs: Inputs | None = None) -> Iterator[list[Point]]:
    """The settings of each configuration of a space that is a Tune search space.

    Where it draws values (`tune.choice`, `tune.loguniform`), they are drawn anew in each of many
    grids, since some may be drawn again. `inputs` replace the request's. UserError for what is no
    such space.
    """
    from ray.tune.search.variant_generator import generate_variants, parse_spec_vars

    space, flag = load_space(request.space)[0], f"--space {request.space}: "
    with as_user_error(f"{flag}its function raised ", named=True):
        returned = call_space(space, inputs or request.inputs)
    wanted = "it must return a dict for tune.Tuner(param_space=...), but "
    if not isinstance(returned, Mapping):
        raise UserError(f"{flag}{wanted}returned {returned!r:.60}")
    with as_user_error(f"{flag}{wanted}", named=True):  # Ray's about its values
        spec = {"config": dict(returned)}
        _, draws, grids = parse_spec_vars(spec)
        if draws and request.samples is None:
            raise UserError(f"{flag}draws values at random; give --samples N, how often")
        samples = (draws and request.samples) or 1
        count = max(samples, math.prod(len(values.categories) for _, values in grids))
        if count > MOST_CONFIGURATIONS:
            raise UserError(
                f"{flag}{count:,} configurations, and a grid has at most {MOST_CONFIGURATIONS:,}; "
                "list fewer values, or draw them with tune.choice and --samples N"
            )
        generator = np.random.RandomState(request.seed)
        for _ in range(DRAWS_EACH * samples if draws else 1):
            variants = generate_variants(spec, random_state=generator)
            yield [merged(resolved["config"]) for _, resolved in variants]


def _each_once(request: ResolvedRequest, points: list[Point]) -> dict[TrialConfig, Point]:
    """Of points that train the same student, the first; keyed by what they do."""
    first: dict[TrialConfig, Point] = {}
    for point in points:
        first.setdefault(configure(request, point).recipe, point)
    return first


def _with_additions(request: ResolvedRequest, points: list[Point]) -> list[Point]:
    """The points, and for each added value those that have another one for that setting."""
    space = request.space
    for key, value in request.added:
        if value == PRETRAINED and any(point.get(key) == value for point in points):
            continue  # a space that says itself how `--student` is trained
        flag = "--student" if value == PRETRAINED else f"--add {key}={value}"
        if key in (LAYERS, FEEDFORWARD) and request.shapes:  # costs are measured once, before
            raise UserError(
                f"{flag}: this run tries {', '.join(map(str, request.depths))} layers, chosen "
                f"once; a new one takes the deepest from --set {LAYERS}=N"
            )
        varied = [point for point in points if point.get(key) not in (None, NO_LAYERS)]
        if not varied and any(key in point for point in points):
            raise UserError(f"{flag}: the space {space} does not vary it; leave it out")
        if not varied:
            fixes = f"--set {key}={value} fixes it in all trials"
            raise UserError(f"{flag}: the space {space} does not vary it; {fixes}")
        try:
            new = [{**point, key: value} for point in varied]
            points = list(_each_once(request, [*points, *new]).values())
        except UserError as error:
            raise UserError(f"{flag}: {error}") from None
    return points
