"""`python -m search.bench`: the training step timed against a loop with a live teacher.

Needs neither Ray nor datasets nor the hub; torch is loaded once the arguments are understood.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from search.bench.options import BASELINE, VARIANTS, BenchOptions, variant_names
from search.exit_codes import FAILURES, exit_code
from trainable.common.errors import UserError, first_line
from trainable.config.fields import OneLineParser, add_flags, given

if TYPE_CHECKING:
    from search.bench.workload import Workload

Line = dict[str, Any]  # JSON values
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
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_flags(parser, BenchOptions)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the lines; returns the exit code (0 well, 1 a variant failed, 2 a mistake)."""
    asked = BenchOptions(**given(make_parser().parse_args(argv), BenchOptions))
    return exit_code(partial(print_lines, asked, sys.argv[1:] if argv is None else argv))


def print_lines(asked: BenchOptions, command: Sequence[str]) -> int:
    """Each line as soon as it is measured."""
    failed = False
    for line in bench(asked, command):
        print(json.dumps(line), flush=True)
        failed |= "error" in line
    return FAILURES if failed else 0


def bench(asked: BenchOptions, command: Sequence[str]) -> Iterator[Line]:
    """The lines, each as soon as it is measured; UserError for what can't be timed."""
    from search.bench.workload import make_workload
    from search.record.provenance import provenance

    names = variant_names(asked.variants) if asked.variants else None
    workload = make_workload(asked)
    config = workload.config
    shared = {"student_layers": config.student_layers, "precision": config.precision}
    shared |= {"preset": workload.preset, **provenance(command, "search.bench")}
    lines = each_variant(runnable(names, workload), workload, asked.repeats)
    yield from ({**line, **shared} for line in lines)


def runnable(names: list[str] | None, workload: "Workload") -> list[str]:
    """The variants to time; UserError where one that is asked for can't be run here."""
    from search.bench.variants import obstacle

    if names is None:
        return [name for name in VARIANTS if not obstacle(name, workload)]
    for name in names:
        if reason := obstacle(name, workload):
            raise UserError(f"--variants: {name}: {reason}")
    return names


def each_variant(names: Sequence[str], workload: "Workload", repeats: int) -> Iterator[Line]:
    """A line of each variant in turn; one that fails does not end the others."""
    from search.bench.variants import MAKERS, measure
    from trainable.engine.cuda_graph import CaptureError

    baseline = None
    for name in names:
        log(f"{name}: {VARIANTS[name]}")
        try:
            line = measure(MAKERS[name], workload, repeats)
        except Exception as error:  # one variant's failure, of whatever kind, is its own
            yield {"variant": name, "error": f"{type(error).__name__}: {first_line(error)}"}
            if isinstance(error, CaptureError):
                return  # this process must not go on with the GPU
            continue
        rate = line["examples_per_second"]
        baseline = rate if name == BASELINE else baseline
        yield {"variant": name, "ratio_to_live": baseline and round(rate / baseline, 3), **line}


def log(line: str) -> None:
    """To the user, beside the JSON."""
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
