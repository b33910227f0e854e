"""What the user asked a sweep to try, as plain values that a run keeps."""

from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from trainable.arguments import AUTO, SIZES, parse_setting
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
    samples: int | None = None  # configurations drawn from the space; None for all

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
            **{size: getattr(arguments, size) for size in SIZES},
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**asdict(self), "additions": [list(pair) for pair in self.additions]}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Request":
        """The request that `to_dict` wrote, through JSON or not."""
        additions = tuple((key, value) for key, value in values["additions"])
        return cls(**{**values, "additions": additions})

    @property
    def sized_preset(self) -> Preset:
        """The preset with the user's sizes put in."""
        given = {size: getattr(self, size) for size in SIZES if getattr(self, size) is not None}
        return replace(PRESETS[self.preset], **given)


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
