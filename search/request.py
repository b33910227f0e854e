"""What the user asked a sweep to try, as plain values that a run keeps."""

import math
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from search.objectives import student_depths
from search.searchers import GRID, SEARCHERS, SUGGESTIONS
from spaces import SEARCHED_SPACES
from trainable.arguments import AUTO, SIZES, parse_setting
from trainable.config import TrialConfig
from trainable.errors import UserError
from trainable.presets import PRESETS, Preset


@dataclass(frozen=True)
class Request:
    """A space on some inputs. Local paths are absolute; `None` leaves a value to the preset."""

    space: str
    preset: str
    cache: str
    teacher: str | None = None
    dataset: str | None = None
    train_sentences: int | None = None
    evaluation_sentences: int | None = None
    search_sentences: int | None = None
    max_length: int | None = None
    executor: str = AUTO
    overrides: Mapping[str, Any] = field(default_factory=dict)  # settings fixed in every trial
    additions: tuple[tuple[str, Any], ...] = ()  # values that the space takes beside its own
    seed: int = 0  # the first of the trials', and of their order
    seeds: int = 1  # of each configuration
    samples: int | None = None  # configurations drawn from the space; None for all that are listed
    searcher: str = GRID  # or what suggests a searched space's configurations
    time_budget: float | None = None  # seconds after which nothing more is suggested
    against: str | None = None  # what accuracy is weighed against, of OBJECTIVES
    depths: tuple[int, ...] = ()  # of the students that are weighed, deepest first

    def __post_init__(self) -> None:
        """Until the teacher is looked at (`with_depths`), it is taken for the preset's."""
        if self.against is not None and not self.depths:
            usual = PRESETS[self.preset].trial["student_layers"]
            object.__setattr__(self, "depths", student_depths(2 * usual, usual))

    @classmethod
    def from_arguments(cls, arguments: Namespace, preset: str) -> "Request":
        """Of a new run's command line; UserError for a setting that is unknown or no number."""
        return cls(
            space=arguments.space,
            preset=preset,
            teacher=_absolute(arguments.teacher),
            dataset=_absolute(arguments.dataset),
            cache=str(arguments.cache),
            executor=arguments.executor,
            overrides=parse_overrides(arguments.overrides),
            additions=parse_additions(arguments.additions),
            seed=arguments.seed,
            seeds=arguments.seeds or 1,
            samples=arguments.samples,
            searcher=choose_searcher(arguments.space, arguments.searcher),
            time_budget=check_time_budget(arguments.space, arguments.time_budget),
            against=arguments.against,
            **{size: getattr(arguments, size) for size in SIZES},
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        lists = {"additions": [list(pair) for pair in self.additions], "depths": list(self.depths)}
        return {**asdict(self), **lists}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Request":
        """The request that `to_dict` wrote, through JSON or not."""
        additions = tuple((key, value) for key, value in values["additions"])
        tuples = {"additions": additions, "depths": tuple(values.get("depths", ()))}
        return cls(**{**values, **tuples})

    @property
    def searched(self) -> bool:
        """Whether a searcher suggests the configurations, rather than the space listing them."""
        return self.space in SEARCHED_SPACES

    @property
    def wanted(self) -> float:
        """Configurations that a searcher is to suggest, its starts included; infinite where only
        time limits it."""
        if self.samples is not None:
            return self.samples
        return SUGGESTIONS if self.time_budget is None else math.inf

    def on_all_seeds(self, config: TrialConfig) -> list[TrialConfig]:
        """The configuration on each seed that is asked for, the first one first."""
        return [replace(config, seed=config.seed + more) for more in range(self.seeds)]

    @property
    def sized_preset(self) -> Preset:
        """The preset with the user's sizes put in."""
        given = {size: getattr(self, size) for size in SIZES if getattr(self, size) is not None}
        return replace(PRESETS[self.preset], **given)


def check_time_budget(space: str, seconds: float | None) -> float | None:
    """The time budget of a space; UserError where there is nothing that it could end."""
    if seconds is not None and space not in SEARCHED_SPACES:
        raise UserError(
            f"--time-budget {seconds:g}s: the space {space} lists its configurations, and all are "
            f"tried (--samples draws some); one that is searched: {', '.join(SEARCHED_SPACES)}"
        )
    return seconds


def choose_searcher(space: str, asked: str | None) -> str:
    """The searcher of a space; UserError where the one that is asked for can't search it."""
    if space not in SEARCHED_SPACES:
        if asked not in (None, GRID):
            raise UserError(
                f"--searcher {asked}: the space {space} lists its configurations, and all are "
                f"tried; searched are {', '.join(SEARCHED_SPACES)}"
            )
        return GRID
    if asked == GRID:
        valid = ", ".join(SEARCHERS)
        raise UserError(f"--searcher {GRID}: {space} can't be listed; valid for it: {valid}")
    return asked or next(iter(SEARCHERS))


def parse_overrides(pairs: Sequence[str]) -> dict[str, Any]:
    """`--set` in its types; UserError for another form, an unknown key or no number."""
    return dict(_parse_pair("--set", pair, "epochs=1") for pair in pairs)


def parse_additions(pairs: Sequence[str]) -> tuple[tuple[str, Any], ...]:
    """`--add` in its types; raises as `parse_overrides` does."""
    return tuple(_parse_pair("--add", pair, "sharpness=5") for pair in pairs)


def _parse_pair(flag: str, pair: str, example: str) -> tuple[str, Any]:
    key, equals, text = pair.partition("=")
    if not equals:
        raise UserError(f"{flag} {pair}: give KEY=VALUE, for example {example}")
    name = key.replace("-", "_")
    return name, parse_setting(name, text)


def _absolute(source: str | None) -> str | None:
    """A local path written out, so that another working folder finds it; a hub id as it is."""
    if source is None or not Path(source).expanduser().exists():
        return source
    return str(Path(source).expanduser().resolve())
