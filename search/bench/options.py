"""What the bench can time, and what its command line asks for. Loads no torch."""

from dataclasses import dataclass

from trainable.common.errors import UserError, not_among
from trainable.config.fields import described
from trainable.config.names import PRECISIONS
from trainable.config.options import AUTO
from trainable.config.presets import PRESETS

BASELINE = "live"
VARIANTS = {
    BASELINE: "the reference: the teacher run at every step, random batches padded, eager",
    "cached": "teacher's outputs computed once before, fused AdamW",
    "lengths": "and batches of similar length, embedding cut to the tokens in use",
    "graph": "and the whole step captured as a CUDA graph for each width",
    "flash": "and DeBERTa's attention in one kernel (disentangled-flash)",
}


@dataclass(frozen=True)
class BenchOptions:
    """What is to be timed, as the command line gives it."""

    preset: str = described(
        f"whose shapes and lengths: {', '.join(PRESETS)}, or auto: sst2 where a CUDA GPU is "
        "visible, mini elsewhere",
        AUTO,
        choices=(AUTO, *PRESETS),
    )
    student_layers: int | None = described("depth (half of the teacher's)", None, low=1)
    batch_size: int = described("examples a step", 32, low=1)
    max_length: int | None = described("tokens an example is cut to (the preset's)", None, low=1)
    precision: str = described("auto: as in a sweep", AUTO, choices=(AUTO, *PRECISIONS))
    variants: str | None = described(f"comma list, {BASELINE} is always run (all that can)", None)
    steps: int | None = described("batches in a repeat (200 on a GPU, 20 on a CPU)", None, low=1)
    repeats: int = described("timed repeats of each variant", 3, low=1)
    seed: int = described("decides weights, examples and their order", 0, low=0)
    concurrent: int = described("instead, so many processes of the fastest at once", 1, low=1)


def variant_names(text: str) -> list[str]:
    """The baseline and the variants of a comma list, each once, in order; UserError for others."""
    names = list(dict.fromkeys([BASELINE, *text.split(",")]))
    for name in names:
        if name not in VARIANTS:
            raise UserError(f"--variants: {not_among(name, VARIANTS)}")
    return names
