"""A searched space's configurations: what is drawn, what is pinned, what comes first."""

import inspect
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any
from warnings import catch_warnings, simplefilter

import optuna
from optuna.samplers import RandomSampler
from optuna.trial import FixedTrial, create_trial

from search.plan.model_shapes import LAYERS
from search.plan.request import Request
from spaces import Space, load_space
from trainable.common.errors import UserError, as_user_error, unknown_name
from trainable.config.fields import field_types, merged
from trainable.config.options import complete_config
from trainable.config.trial_config import TrialConfig

RANDOM_DRAWS = 64  # enough for every value of a setting of few to be among them

optuna.logging.set_verbosity(optuna.logging.WARNING)  # it logs each study that is made

Draw = dict[str, Any]  # values by setting, as a searcher knows them


class Pinned:
    """A trial whose settings that `--set` gives are not drawn: they are what was given.

    Settings of few values have those `added`, too. `drawn` has all that was suggested, as Ray's
    Optuna searcher takes it beside what the space returns.
    """

    def __init__(
        self, trial: Any, values: Mapping[str, Any], added: Collection[tuple[str, Any]] = ()
    ) -> None:
        self._trial, self._values, self._added = trial, values, added
        self.drawn: dict[str, Any] = {}

    def __getattr__(self, method: str) -> Any:
        """`suggest_float` and its like: the given value, or a drawn one."""
        suggest = getattr(self._trial, method)
        if not method.startswith("suggest_"):
            return suggest

        def pinned(name: str, *arguments: Any, **options: Any) -> Any:
            given, more = self._values.get(name), [v for key, v in self._added if key == name]
            if method == "suggest_categorical" and more:
                arguments = ([*(options.pop("choices", None) or arguments[0]), *more],)
            self.drawn[name] = suggest(name, *arguments, **options) if given is None else given
            return self.drawn[name]

        return pinned


def draw(request: Request, trial: Any) -> TrialConfig:
    """A configuration, drawn with the `suggest` methods of an Optuna trial, on the first seed.

    UserError for what can't be trained, and for whatever a user's own function raises.
    """
    point = _point_of(request, trial)
    if request.depths:
        point[LAYERS] = trial.suggest_categorical(LAYERS, request.depths)
    return configure(request, point)


def _point_of(request: Request, trial: Any, which: str = "") -> Draw:
    """What the space makes of a trial; UserError for a given value that it can't draw."""
    space, _ = load_space(request.space)
    watched = Pinned(trial, request.pinned, request.added)
    with as_user_error(f"--space {request.space}: {which}", named=True), catch_warnings():
        simplefilter("ignore")  # a value out of range, which `create_trial` refuses
        constants = space(watched, **facts_for(space, request)) or {}
        create_trial(value=0.0, params=trial.params, distributions=trial.distributions)
        return merged({**watched.drawn, **constants})


def facts_for(space: Space, request: Request) -> dict[str, Any]:
    """What a space asks to be told of the inputs, of these by their names."""
    facts = {
        "coarse": request.effective_preset.coarse_grid,
        "transfer": request.transfer is not None,
        "relation_heads": request.relation_heads,
        "teachers_tokens": request.teachers_tokens,
    }
    asked = inspect.signature(space).parameters
    return {name: value for name, value in facts.items() if name in asked}


def configure(request: Request, point: Mapping[str, Any]) -> TrialConfig:
    """The configuration that a space's point stands for, on the first seed.

    UserError, which names --set or --space, for one that can't be trained.
    """
    preset = request.effective_preset
    constants = {**request.constants, "seed": request.seed}
    try:
        values = {**point, **request.pinned}
        return complete_config(constants, preset.learning_rates, values, dict(request.pretrained))
    except UserError as error:
        setting, _, reason = str(error).partition(": ")
        if setting in request.pinned:
            reason = f"--set {setting}={request.pinned[setting]}: {reason}"
            raise UserError(reason) from None
        raise UserError(f"--space {request.space}: {error}") from None


def config_of_draw(request: Request, drawn: Draw) -> TrialConfig:
    """The configuration that drawn values stand for; UserError where they lack one."""
    return draw(request, FixedTrial(drawn))


def initial_points(request: Request) -> list[tuple[TrialConfig, Draw]]:
    """What is tried first, each on all its seeds: the space's own, its best at every depth, and
    where a value joins the space's, its first two plain ones with that.

    Those that what is pinned leaves no room for are passed over; where that is all of them, a
    random one begins. Raises UserError for what can't be given to a searched space.
    """
    for key, value in request.additions:
        raise UserError(
            f"--add {key}={value}: {request.space} draws its values from ranges; "
            "--samples draws more of them"
        )
    refuse_inactive(request, [config for config, _ in random_draws(request)])
    _refuse_impossible(request)
    best, *plain = load_space(request.space)[1] or [{}]
    usual, *others = [{LAYERS: depth} for depth in request.depths] or [{}]
    wanted = [{**start, **usual} for start in (best, *plain)] + [{**best, **d} for d in others]
    wanted += [{**start, key: value} for key, value in request.added for start in plain[:2]]
    found: dict[TrialConfig, tuple[TrialConfig, Draw]] = {}
    for start in wanted:
        trial = FixedTrial(start)
        try:
            config = draw(request, trial)
        except (UserError, ValueError):  # also where it lacks a depth
            continue
        found.setdefault(config.recipe, (config, dict(trial.params)))
    firsts = list(found.values()) or random_draws(request, 1)
    return [
        (seeded, drawn)
        for config, drawn in firsts[: request.samples]
        for seeded in request.on_all_seeds(config)
    ]


def _refuse_impossible(request: Request) -> None:
    """UserError for a start with an unknown setting, or a value that the space never draws.

    One that only --set or --against makes impossible is no mistake.
    """
    study, known = optuna.create_study(sampler=RandomSampler(seed=0)), field_types(TrialConfig)
    for start in load_space(request.space)[1]:
        for key in start.keys() - known.keys():
            raise unknown_name(f"--space {request.space}: POINTS_TO_EVALUATE", key, sorted(known))
        study.enqueue_trial(start)  # what it lacks is drawn
        _point_of(replace(request, overrides=()), study.ask(), "POINTS_TO_EVALUATE: ")


def random_draws(request: Request, count: int = RANDOM_DRAWS) -> list[tuple[TrialConfig, Draw]]:
    """So many configurations, always the same; UserError where what is pinned does not fit."""
    study, found = optuna.create_study(sampler=RandomSampler(seed=0)), []
    for _ in range(count):
        trial = study.ask()
        found.append((draw(request, trial), dict(trial.params)))
    return found


def initial_draws(request: Request, configs: list[TrialConfig]) -> dict[str, Draw]:
    """The draw of each of `initial_points`, by the digest of these trials, in the same order."""
    drawn = [values for _, values in initial_points(request)]
    return {config.digest: values for config, values in zip(configs, drawn, strict=True)}


def refuse_inactive(request: Request, configs: Collection[TrialConfig]) -> None:
    """UserError where --set fixes what changes nothing in any of these trials."""
    for key, value in request.overrides:
        if all(key in config.inactive_settings for config in configs):
            raise UserError(f"--set {key}={value}: has no effect in any trial of {request.space}")
