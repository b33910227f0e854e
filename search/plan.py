"""Which trials a sweep runs, and in which order."""

import random
from collections.abc import Mapping
from typing import Any

from spaces import SPACES
from trainable.config import TrialConfig
from trainable.errors import UserError
from trainable.inputs import complete_config
from trainable.presets import Preset


def plan_trials(
    space: str, preset: Preset, overrides: Mapping[str, Any], seed: int
) -> list[TrialConfig]:
    """The configurations of a space, each once, shuffled by the sweep's seed.

    ASHA never stops the first to arrive at a rung, so the order must not favour any of them.
    Raises UserError where an override is of a setting that the space varies, or spoils a trial.
    """
    points = SPACES[space](preset.coarse_grid)
    for key, value in overrides.items():
        if any(key in point for point in points):
            raise UserError(
                f"--set {key}={value}: the space {space} sets it itself; "
                "--set is for what a space leaves constant"
            )
    configs = [complete_config(preset, point, overrides, seed) for point in points]
    for key, value in overrides.items():
        if all(key in config.idle_settings for config in configs):
            raise UserError(f"--set {key}={value}: changes nothing in any trial of {space}")
    once = list({config.digest: config for config in configs}.values())
    random.Random(seed).shuffle(once)
    return once
