"""`python -m search.bench`: the training step timed against a loop with a live teacher.

Needs neither Ray nor datasets nor the hub; torch is loaded once the arguments are understood.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from functools import partial

from search.bench.options import VARIANTS, BenchOptions, variant_names
from search.exit_codes import FAILURES, exit_code
from trainable.config.fields import OneLineParser, add_flags, given

ABOUT = """\
Times the training step against a plain loop that runs the teacher at every step.

Prints a JSON line per variant as soon as it is measured: the median of the repeats; set-up
(teacher's outputs, compilation, capture, warm-up) is timed separately. Weights and examples are
random; the lengths are those of the preset's training split (imdb: a log-normal approximation).
On two CPU cores it takes about two minutes."""


def make_parser() -> argparse.ArgumentParser:
    """Every flag with its unit and default."""
    parser = OneLineParser(
        prog="python -m search.bench",
        description=ABOUT,
        epilog="variants:\n" + "\n".join(f"  {name:8} {what}" for name, what in VARIANTS.items()),
    )
    add_flags(parser, BenchOptions)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the lines; returns the exit code (0 well, 1 a variant failed, 2 a mistake)."""
    asked = BenchOptions(**given(make_parser().parse_args(argv), BenchOptions))
    return exit_code(partial(bench, asked, sys.argv[1:] if argv is None else argv))


def bench(asked: BenchOptions, command: Sequence[str]) -> int:
    """Prints each line as soon as it is measured; UserError for what can't be timed."""
    from search.bench.variants import each_variant, runnable
    from search.bench.workload import make_workload
    from search.record.provenance import provenance

    names = variant_names(asked.variants) if asked.variants else None
    workload = make_workload(asked)
    config = workload.config
    shared = {"student_layers": config.student_layers, "precision": config.precision}
    shared |= {"preset": workload.preset, **provenance(command, "search.bench")}
    failed = False
    for line in each_variant(runnable(names, workload), workload, asked.repeats):
        print(json.dumps({**line, **shared}), flush=True)
        failed |= "error" in line
    return FAILURES if failed else 0


if __name__ == "__main__":
    sys.exit(main())
