"""A searched space's configurations: which are drawn, and which come first.

A draw has the values that a searcher chose, by name; a point all settings that the space makes of
them; a configuration is complete.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any
from warnings import catch_warnings, simplefilter

import optuna
from optuna.samplers import RandomSampler
from optuna.trial import FixedTrial, create_trial

from search.plan.objectives import FEEDFORWARD, LAYERS, settings_of
from search.plan.prior_sampler import check_prior
from search.plan.resolve import WIDTH, ResolvedRequest
from spaces import call_space, load_space
from trainable.common.errors import UserError, as_user_error, unknown_name
from trainable.config.fields import field_types, merged, plain
from trainable.config.options import RATE_FACTOR
from trainable.config.trial_config import TrialConfig

OF_THE_RUN = {  # settings that all trials of a run share, or that it counts on from
    "precision": "--set precision=VALUE fixes it",
    "seed": "--seeds N trains each recipe on N seeds, from --seed",
}
RANDOM_DRAWS = 64  # enough for every value of a setting of few to be among them

optuna.logging.set_verbosity(optuna.logging.WARNING)  # it logs each study that is made

Draw = dict[str, Any]
Point = dict[str, Any]


class SpaceTrial:
    """The `trial` that a searched space is given: these three methods of Optuna's, no others.

    A setting of `--set` is not drawn, but has the value given; choices have those of `--student`
    added. `point` collects all values, as Ray's Optuna searcher does.
    """

    def __init__(self, optuna_trial: Any, request: ResolvedRequest) -> None:
        self._optuna_trial, self._request = optuna_trial, request
        self.point: Point = {}

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """One of these."""
        added = (value for key, value in self._request.added if key == name)
        choices = [*map(plain, choices), *added]
        return self._value(self._optuna_trial.suggest_categorical, name, choices)

    def suggest_float(self, name: str, low: float, high: float, **options: Any) -> Any:
        """A number of this range; `step` and `log` as Optuna has them."""
        return self._value(self._optuna_trial.suggest_float, name, low, high, **options)

    def suggest_int(self, name: str, low: int, high: int, **options: Any) -> Any:
        """A whole number of this range; `step` and `log` as Optuna has them."""
        return self._value(self._optuna_trial.suggest_int, name, low, high, **options)

    def _value(self, suggest: Callable[..., Any], name: str, *values: Any, **options: Any) -> Any:
        given = dict(self._request.overrides).get(name)
        self.point[name] = suggest(name, *values, **options) if given is None else given
        return self.point[name]


def draw_config(request: ResolvedRequest, optuna_trial: Any) -> TrialConfig:
    """A configuration on the first seed, drawn from an Optuna trial.

    UserError for what can't be trained, and for whatever a user's own function raises.
    """
    point = _draw_point(request, optuna_trial)
    if "learning_rate" in dict(request.overrides):
        point.pop(RATE_FACTOR, None)  # of the initialisation's rate, which is not used
    refuse_shape(request, point)
    if request.shapes:
        point |= _draw_shape(request, optuna_trial)
    return configure(request, point)


def _draw_shape(request: ResolvedRequest, optuna_trial: Any) -> Point:
    """The share of feed-forward neurons is drawn only at depths that are tried with several."""
    layers = optuna_trial.suggest_categorical(LAYERS, request.depths)
    shares = [share for depth, share in request.shapes if depth == layers]
    share = shares[0]
    if len(shares) > 1:
        share = optuna_trial.suggest_categorical(FEEDFORWARD, shares)
    return settings_of((layers, share))


def _draw_point(request: ResolvedRequest, optuna_trial: Any, which: str = "") -> Point:
    """What the space makes of a trial; UserError for a value that it can't draw."""
    trial = SpaceTrial(optuna_trial, request)
    with as_user_error(f"--space {request.space}: {which}", named=True), catch_warnings():
        simplefilter("ignore")  # a value out of range, which `create_trial` refuses
        constants = call_space(load_space(request.space)[0], request.inputs, trial) or {}
        params, distributions = optuna_trial.params, optuna_trial.distributions
        create_trial(value=0.0, params=params, distributions=distributions)
        return merged({**trial.point, **constants})


def configure(request: ResolvedRequest, point: Mapping[str, Any]) -> TrialConfig:
    """The configuration that a space's point stands for, on the first seed.

    UserError, which names --set or --space, for one that can't be trained.
    """
    overrides = dict(request.overrides)
    for key, instead in OF_THE_RUN.items():
        if key in point:
            raise UserError(f"--space {request.space}: sets {key} itself; leave it out; {instead}")
    try:
        return request.configured(point)
    except UserError as error:
        setting, _, reason = str(error).partition(": ")
        if setting in overrides:
            raise UserError(f"--set {setting}={overrides[setting]}: {reason}") from None
        raise UserError(f"--space {request.space}: {error}") from None


def config_of_draw(request: ResolvedRequest, draw: Draw) -> TrialConfig:
    """The configuration that drawn values stand for; UserError where they lack one."""
    return draw_config(request, FixedTrial(draw))


def check_space(request: ResolvedRequest) -> None:
    """UserError for what can't be given to a searched space, or what its file has wrong."""
    for key, value in request.additions:
        raise UserError(
            f"--add {key}={value}: {request.space} draws its values from ranges; "
            "--samples draws more of them"
        )
    refuse_inactive(request, [config for config, _ in random_draws(request)])
    _refuse_impossible(request)


def starting_points(request: ResolvedRequest) -> list[tuple[TrialConfig, Draw]]:
    """What is tried first, on the first seed: the space's own, its best in every shape, and where
    a value joins the space's, its first two plain ones with that.

    What one of the space's own lacks is drawn. Those that `--set` makes impossible are passed over;
    where none is left, a random one begins.
    """
    given, study = load_space(request.space)[1], optuna.create_study(sampler=RandomSampler(seed=0))
    best, *plain = given or [{}]
    usual, *others = [settings_of(shape) for shape in request.shapes] or [{}]
    wanted = [{**start, **usual} for start in (best, *plain)] + [{**best, **d} for d in others]
    wanted += [{**s, **usual, key: value} for key, value in request.added for s in plain[:2]]
    starts: dict[TrialConfig, tuple[TrialConfig, Draw]] = {}
    for start in wanted:
        trial: Any = FixedTrial(start)
        if given:
            study.enqueue_trial(start)
            trial = study.ask()
        try:
            config = draw_config(request, trial)
        except (UserError, ValueError):  # also where it lacks a depth
            continue
        starts.setdefault(config.recipe, (config, dict(trial.params)))
    return list(starts.values()) or random_draws(request, 1)


def _refuse_impossible(request: ResolvedRequest) -> None:
    """UserError for a start or a prior with an unknown setting, or a value that the space never
    draws, with --student or without.

    A start that only --set or --against makes impossible is no mistake.
    """
    study, flag = optuna.create_study(sampler=RandomSampler(seed=0)), f"--space {request.space}: "
    free = replace(request, overrides=(), student=request.student or "")
    _, points, priors = load_space(request.space)
    known = {*field_types(TrialConfig), RATE_FACTOR}
    for what, given in [*(("POINTS_TO_EVALUATE", start) for start in points), ("PRIORS", priors)]:
        for name in given.keys() - known:
            raise unknown_name(f"{flag}{what}", name, sorted(known))
    for start in points:
        study.enqueue_trial(start)  # what it lacks is drawn
    for number in range(len(points) + RANDOM_DRAWS):
        _draw_point(free, trial := study.ask(), "POINTS_TO_EVALUATE: " * (number < len(points)))
        for name in priors.keys() & trial.distributions.keys():
            check_prior(f"{flag}PRIORS: {name}: ", priors[name], trial.distributions[name])


def random_draws(
    request: ResolvedRequest, count: int = RANDOM_DRAWS
) -> list[tuple[TrialConfig, Draw]]:
    """So many configurations, always the same; UserError where `--set` does not fit them."""
    study = optuna.create_study(sampler=RandomSampler(seed=0))
    trials = [study.ask() for _ in range(count)]
    return [(draw_config(request, trial), dict(trial.params)) for trial in trials]


def refuse_shape(request: ResolvedRequest, point: Point) -> None:
    """UserError where students' cost is limited and a space sets their shape itself."""
    if request.limited and (own := {LAYERS, WIDTH, FEEDFORWARD} & {*point}):
        raise UserError(
            f"--max-latency, --max-parameters: the space {request.space} sets "
            f"{' and '.join(sorted(own))} itself; leave that out"
        )


def refuse_inactive(request: ResolvedRequest, configs: Collection[TrialConfig]) -> None:
    """UserError where --set fixes what changes nothing in any of these trials."""
    for key, value in request.overrides:
        if all(key in config.inactive_settings for config in configs):
            raise UserError(f"--set {key}={value}: has no effect in any trial of {request.space}")
