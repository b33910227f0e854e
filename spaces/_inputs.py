"""What a space may ask about the inputs of the run that it is for."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Inputs:
    """The argument `inputs` of a space; the defaults are for a space that is used without a run."""

    coarse: bool = False  # whether the preset has no time for all values (`Preset.coarse_grid`)
    transfer: bool = False  # whether there are texts without labels (--transfer)
    # Heads of token relations, which divide the widths of teacher and students; None: no relations.
    relation_heads: int | None = None
    teachers_tokens: bool = True  # whether --student has the teacher's tokens
