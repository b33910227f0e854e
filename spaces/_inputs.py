"""What a space may ask about the inputs of the run that it is for."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Inputs:
    """The argument `inputs` of a space; the defaults are for a space that is used without a run."""

    coarse: bool = False  # whether the preset has no time for all values (`Preset.coarse_grid`)
