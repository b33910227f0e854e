"""What a sweep's teacher and data set are called, to a reader elsewhere."""

from pathlib import Path
from typing import NamedTuple

from search.plan.request import Request
from trainable.data.wheels import ENCODER_WHEEL, TWEETS_WHEEL

WHEEL_TEACHER = f"sentence-transformers/all-MiniLM-L6-v2 (the wheel {ENCODER_WHEEL})"
WHEEL_DATA = f"tweets labelled by people (the wheel {TWEETS_WHEEL})"


class Source(NamedTuple):
    """A teacher or data set."""

    name: str
    hub_id: str | None


def sources(request: Request) -> tuple[Source, Source]:
    """Where the sweep had its teacher and its examples from."""
    preset = request.effective_preset
    return source_of(preset.teacher, WHEEL_TEACHER), source_of(preset.dataset, WHEEL_DATA)


def source_of(given: str | None, of_wheel: str) -> Source:
    """A local path gives its name only: the rest means nothing elsewhere."""
    if not given:
        return Source(of_wheel, None)
    if Path(given).is_absolute():
        return Source(f"{Path(given).name} (local files)", None)
    return Source(given, given.partition(":")[0])
