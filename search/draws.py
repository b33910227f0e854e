"""A searched space's configurations: what is drawn, what is pinned, what comes first."""

from collections.abc import Mapping
from typing import Any

import optuna
from optuna.samplers import RandomSampler
from optuna.trial import FixedTrial

from search.depths import LAYERS, check_depths_kept
from search.request import Request
from spaces import SEARCHED_SPACES
from spaces.recipe import Suggests
from trainable.config import TrialConfig
from trainable.errors import UserError
from trainable.inputs import complete_config

RANDOM_DRAWS = 64  # enough for every value of a setting of few to be among them

optuna.logging.set_verbosity(optuna.logging.WARNING)  # it tells of each study that is made

Draw = dict[str, Any]  # values by setting, as a searcher knows them


class Pinned:
    """A trial whose settings that `--set` gives are not drawn: they are what was given."""

    def __init__(self, trial: Suggests, values: Mapping[str, Any]) -> None:
        self._trial, self._values = trial, values

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> Any:
        """The given value, or a drawn one."""
        if name in self._values:
            return self._values[name]
        return self._trial.suggest_float(name, low, high, log=log)

    def suggest_categorical(self, name: str, choices: tuple[Any, ...]) -> Any:
        """The given value, or a drawn one."""
        if name in self._values:
            return self._values[name]
        return self._trial.suggest_categorical(name, choices)


def draw(request: Request, trial: Suggests) -> TrialConfig:
    """A configuration, drawn with the `suggest` methods of an Optuna trial, on the first seed."""
    point = SEARCHED_SPACES[request.space].draw(Pinned(trial, request.overrides))
    if request.depths:
        point[LAYERS] = trial.suggest_categorical(LAYERS, request.depths)
    return complete_config(request.sized_preset, point, request.overrides, request.seed)


def config_of_draw(request: Request, drawn: Draw) -> TrialConfig:
    """The configuration that drawn values stand for; ValueError where they lack one."""
    return draw(request, FixedTrial(drawn))


def starts(request: Request) -> list[tuple[TrialConfig, Draw]]:
    """What is tried first, each on all its seeds: the space's own, its best at every depth.

    Those that what is pinned leaves no room for are passed over; where that is all of them, a
    random one begins. Raises UserError for what can't be given to a searched space.
    """
    _check(request)
    best, *plain = SEARCHED_SPACES[request.space].starts
    usual, *others = [{LAYERS: depth} for depth in request.depths] or [{}]
    wanted = [{**start, **usual} for start in (best, *plain)] + [{**best, **d} for d in others]
    found: dict[TrialConfig, tuple[TrialConfig, Draw]] = {}
    for start in wanted:
        trial = FixedTrial(start)
        try:
            config = draw(request, trial)
        except (ValueError, UserError):
            continue
        found.setdefault(config.recipe, (config, dict(trial.params)))
    firsts = list(found.values()) or random_draws(request, 1)
    return [
        (seeded, drawn)
        for config, drawn in firsts[: request.samples]
        for seeded in request.on_all_seeds(config)
    ]


def random_draws(request: Request, count: int = RANDOM_DRAWS) -> list[tuple[TrialConfig, Draw]]:
    """So many configurations, always the same; UserError where what is pinned does not fit."""
    study, found = optuna.create_study(sampler=RandomSampler(seed=0)), []
    for _ in range(count):
        trial = study.ask()
        found.append((draw(request, trial), dict(trial.params)))
    return found


def starting_draws(request: Request, configs: list[TrialConfig]) -> dict[str, Draw]:
    """What `starts` stand for, by the digest of these trials, which are the same in their order."""
    drawn = [values for _, values in starts(request)]
    return {config.digest: values for config, values in zip(configs, drawn, strict=True)}


def _check(request: Request) -> None:
    for key, value in request.additions:
        raise UserError(
            f"--add {key}={value}: {request.space} draws its values from ranges; "
            "--samples draws more of them"
        )
    check_depths_kept(request)
    drawn = [config for config, _ in random_draws(request)]
    for key, value in request.overrides.items():
        if all(key in config.idle_settings for config in drawn):
            raise UserError(f"--set {key}={value}: changes nothing in any trial of {request.space}")
