"""What the bench can time, and what its command line asks for. Loads no torch."""

from dataclasses import dataclass

from trainable.common.errors import UserError, not_among
from trainable.config.fields import described
from trainable.config.names import PRECISIONS
from trainable.config.options import AUTO
from trainable.config.presets import PRESETS

BASELINE = "live"
VARIANTS = {
    BASELINE: "the baseline: the teacher runs at every step, random padded batches, eager",
    "cached": "teacher's outputs computed once before; fused AdamW",
    "lengths": "plus batches of similar length and an embedding of the tokens in use",
    "graph": "plus the step captured as a CUDA graph for each width",
    "flash": "plus DeBERTa's attention in one kernel (disentangled-flash)",
    "cast": "what is fastest of these, with all weights cast to bf16 at once",
    "compiled": "the same with each layer's dropout, norm and activation compiled (torch.compile)",
}
NO_SWEEPS = ("cast", "compiled")  # run on request only


@dataclass(frozen=True)
class BenchOptions:
    """What is to be timed, as the command line gives it."""

    preset: str = described(
        f"whose shapes and lengths: {', '.join(PRESETS)}, or auto: sst2 where a CUDA GPU is "
        "visible, mini elsewhere",
        AUTO,
        choices=(AUTO, *PRESETS),
    )
    student_layers: int | None = described("depth (default: half of the teacher's)", None, low=1)
    batch_size: int = described("examples per step", 32, low=1)
    max_length: int | None = described(
        "tokens that an example is truncated to (default: the preset's)", None, low=1
    )
    precision: str = described("auto: as in a sweep", AUTO, choices=(AUTO, *PRECISIONS))
    variants: str | None = described(
        f"comma list; {BASELINE} is always run (default: a sweep's that run here)", None
    )
    steps: int | None = described(
        "batches per repeat (default: 200 on a GPU, 20 on a CPU)", None, low=1
    )
    repeats: int = described("timed repeats of each variant", 3, low=1)
    seed: int = described("decides weights, examples and their order", 0, low=0, high=2**31)


def variant_names(text: str) -> list[str]:
    """The baseline and the variants of a comma list, each once, in order; UserError for others."""
    names = list(dict.fromkeys([BASELINE, *text.split(",")]))
    for name in names:
        if name not in VARIANTS:
            raise UserError(f"--variants: {not_among(name, VARIANTS)}")
    return names
