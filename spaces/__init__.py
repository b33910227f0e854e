"""The search spaces, by name. Each takes `coarse` (fewer values, for a small machine) and returns
the configurations to try, as plain dicts of what differs from the preset's constants."""

from collections.abc import Callable
from typing import Any

from spaces.baselines import baselines
from spaces.layers import layers
from spaces.logits import logits
from spaces.schedules import schedules
from spaces.study import study

Space = Callable[[bool], list[dict[str, Any]]]

SPACES: dict[str, Space] = {
    "baselines": baselines,
    "logits": logits,
    "layers": layers,
    "schedules": schedules,
    "study": study,
}
