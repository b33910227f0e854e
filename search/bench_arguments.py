"""The command line of `python -m search.bench`. Loads neither torch nor Ray."""

import argparse

from trainable.arguments import AUTO, OneLineParser, at_least_zero, one_of, positive

from trainable.errors import not_among
from trainable.names import HIDDEN_POOLS, PRECISIONS
from trainable.presets import PRESETS

BASELINE = "live"
RUNG_WORDS = {
    BASELINE: "the reference: the teacher run at every step, random batches padded, eager",
    "cached": "teacher's outputs prepared once, fused AdamW",
    "lengths": "and batches of similar length, embedding cut to the tokens in use",
    "graph": "and the whole step captured as a CUDA graph for each width",
    "flash": "and DeBERTa's attention in one kernel (disentangled-flash)",
    "compiled": "graph, with the student compiled by torch.compile; its time counts as set-up",
    "batch64": "the fastest of graph and flash, at 64 sentences a step",
    "batch128": "the same at 128",
}
CPU_RUNGS = (BASELINE, "cached", "lengths")  # those that need no CUDA GPU
STEPS = {"cuda": 200, "cpu": 20}
WARMUP = {"cuda": 10, "cpu": 2}

ABOUT = """\
Times the training step against a plain loop that runs the teacher at every step.

Prints a JSON line a rung, medians over interleaved repeats, and a table on stderr. Sentences are
made up; their lengths follow the preset's. On two CPU cores it takes about two minutes."""


def make_parser() -> argparse.ArgumentParser:
    """Every flag with its unit and default."""
    parser = OneLineParser(
        prog="python -m search.bench",
        description=ABOUT,
        epilog="rungs:\n" + "\n".join(f"  {name:8} {what}" for name, what in RUNG_WORDS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_model_arguments(parser)
    _add_timing_arguments(parser)
    return parser


def _add_model_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what is trained")
    group.add_argument(
        "--preset",
        type=one_of((AUTO, *PRESETS)),
        default=AUTO,
        metavar="P",
        help=f"whose model shapes and sentence lengths: {', '.join(PRESETS)}, or auto: sst2 where "
        "a CUDA GPU is visible, mini elsewhere",
    )
    group.add_argument(
        "--teacher",
        metavar="T",
        help="hub id or local folder instead of the preset's shapes with random weights",
    )
    group.add_argument(
        "--batch-size",
        type=positive,
        default=32,
        metavar="N",
        help="sentences a step (%(default)s)",
    )
    group.add_argument(
        "--max-length",
        type=positive,
        metavar="N",
        help="tokens a sentence is cut to (the preset's)",
    )
    group.add_argument(
        "--student-layers", type=positive, metavar="N", help="depth (half of the teacher's)"
    )
    group.add_argument(
        "--aligned-layers",
        default="all",
        metavar="L",
        help="student layers pulled to the teacher's, as in python -m trainable (%(default)s)",
    )
    group.add_argument(
        "--hidden-pool",
        type=one_of(HIDDEN_POOLS),
        metavar="P",
        help=f"hidden states compared: {', '.join(HIDDEN_POOLS)} (cls)",
    )
    group.add_argument(
        "--precision",
        type=one_of((AUTO, *PRECISIONS)),
        default=AUTO,
        metavar="P",
        help=f"{', '.join(PRECISIONS)}, or auto: what a sweep would take here (%(default)s)",
    )


def _add_timing_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("timing")
    group.add_argument(
        "--rungs",
        type=rung_names,
        metavar="R",
        help=f"comma list, {BASELINE} is always run (on a GPU all: {','.join(RUNG_WORDS)}; on a "
        f"CPU {','.join(CPU_RUNGS)})",
    )
    for name, counts, what in (
        ("--steps", STEPS, "training steps in a timed region"),
        ("--warmup", WARMUP, "training steps before, the longest batch among them"),
    ):
        default = f"{counts['cuda']} on a GPU, {counts['cpu']} on a CPU"
        group.add_argument(name, type=positive, metavar="N", help=f"{what} ({default})")
    group.add_argument(
        "--repeats",
        type=positive,
        default=3,
        metavar="N",
        help="timed regions of each rung, by turns (%(default)s)",
    )
    group.add_argument(
        "--seed",
        type=at_least_zero,
        default=0,
        metavar="N",
        help="decides weights, sentences and their order (%(default)s)",
    )


def rung_names(text: str) -> tuple[str, ...]:
    """An argument type: the baseline and the rungs of a comma list, each once, in order."""
    names = dict.fromkeys([BASELINE, *text.split(",")])
    for name in names:
        if name not in RUNG_WORDS:
            raise argparse.ArgumentTypeError(not_among(name, RUNG_WORDS))
    return tuple(names)
