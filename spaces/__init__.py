"""The search spaces, by name.

Those in SPACES list what they try: each takes `coarse` (fewer values, for a small machine) and
returns the configurations, as plain dicts of what differs from the preset's constants. Those in
SEARCHED_SPACES draw one such dict at a time, and say which draws come first.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from spaces.baselines import baselines
from spaces.layers import layers
from spaces.logits import logits
from spaces.recipe import RECIPE_STARTS, Suggests, recipe
from spaces.schedules import schedules
from spaces.study import study

Space = Callable[[bool], list[dict[str, Any]]]


class SearchedSpace(NamedTuple):
    """A space of more configurations than can be listed; `starts` are draws, by setting."""

    draw: Callable[[Suggests], dict[str, Any]]
    starts: list[dict[str, Any]]


SPACES: dict[str, Space] = {
    "baselines": baselines,
    "logits": logits,
    "layers": layers,
    "schedules": schedules,
    "study": study,
}

SEARCHED_SPACES: dict[str, SearchedSpace] = {"recipe": SearchedSpace(recipe, RECIPE_STARTS)}

SPACE_NAMES = (*SPACES, *SEARCHED_SPACES)
