"""`python -m search.bench`: the training step timed against a loop with a live teacher.

Needs neither Ray nor datasets nor the hub; torch is loaded once the arguments are understood.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any

from search.exit_codes import FAILURES, exit_code
from trainable.errors import UserError, first_line, not_among
from trainable.fields import OneLineParser, one_of, whole_number
from trainable.names import PRECISIONS
from trainable.options import AUTO
from trainable.presets import PRESETS

if TYPE_CHECKING:
    from search.bench_variants import Workload

Line = dict[str, Any]  # JSON values
BASELINE = "live"
VARIANTS = {
    BASELINE: "the reference: the teacher run at every step, random batches padded, eager",
    "cached": "teacher's outputs computed once before, fused AdamW",
    "lengths": "and batches of similar length, embedding cut to the tokens in use",
    "graph": "and the whole step captured as a CUDA graph for each width",
    "flash": "and DeBERTa's attention in one kernel (disentangled-flash)",
}
ABOUT = """\
Times the training step against a plain loop that runs the teacher at every step.

Prints a JSON line a variant as soon as it is measured: the median of the repeats, set-up (teacher's
outputs, compilation, capture, warm-up) apart. Weights and examples are random; the lengths are
those of the preset's training split (imdb: a log-normal approximation). On two CPU cores it takes
about two minutes."""


def make_parser() -> argparse.ArgumentParser:
    """Every flag with its unit and default."""
    parser = OneLineParser(
        prog="python -m search.bench",
        description=ABOUT,
        epilog="variants:\n" + "\n".join(f"  {name:8} {what}" for name, what in VARIANTS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    auto = f"{', '.join(PRESETS)}, or auto: sst2 where a CUDA GPU is visible, mini elsewhere"
    for flag, kind, default, what in (
        ("--preset", one_of((AUTO, *PRESETS)), AUTO, f"whose shapes and lengths: {auto}"),
        ("--student-layers", whole_number(1), None, "depth (half of the teacher's)"),
        ("--batch-size", whole_number(1), 32, "examples a step (32)"),
        ("--max-length", whole_number(1), None, "tokens an example is cut to (the preset's)"),
        ("--precision", one_of((AUTO, *PRECISIONS)), AUTO, "fp32, bf16, or auto, as in a sweep"),
        ("--variants", variant_names, None, f"comma list, {BASELINE} is always run (all that can)"),
        ("--steps", whole_number(1), None, "batches in a repeat (200 on a GPU, 20 on a CPU)"),
        ("--repeats", whole_number(1), 3, "timed repeats of each variant (3)"),
        ("--seed", whole_number(0), 0, "decides weights, examples and their order (0)"),
        ("--concurrent", whole_number(1), 1, "instead, N processes of the fastest at once"),
    ):
        parser.add_argument(flag, type=kind, default=default, metavar=flag[2].upper(), help=what)
    return parser


def variant_names(text: str) -> tuple[str, ...]:
    """An argument type: the baseline and the variants of a comma list, each once, in order."""
    names = dict.fromkeys([BASELINE, *text.split(",")])
    for name in names:
        if name not in VARIANTS:
            raise argparse.ArgumentTypeError(not_among(name, VARIANTS))
    return tuple(names)


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the lines; returns the exit code (0 well, 1 a variant failed, 2 a mistake)."""
    arguments = make_parser().parse_args(argv)
    return exit_code(partial(print_lines, arguments, sys.argv[1:] if argv is None else argv))


def print_lines(arguments: argparse.Namespace, command: Sequence[str]) -> int:
    """Each line as soon as it is measured."""
    failed = False
    for line in bench(arguments, command):
        print(json.dumps(line), flush=True)
        failed |= "error" in line
    return FAILURES if failed else 0


def bench(arguments: argparse.Namespace, command: Sequence[str]) -> Iterator[Line]:
    """The lines, each as soon as it is measured; UserError for what can't be timed."""
    from search.bench_variants import fastest, make_workload
    from search.provenance import provenance

    if arguments.concurrent > 1 and arguments.variants:
        raise UserError("--variants: --concurrent takes the fastest; leave one of them out")
    workload = make_workload(arguments)
    config = workload.config
    shared = {"student_layers": config.student_layers, "precision": config.precision}
    shared |= {"preset": workload.preset, **provenance(command, "search.bench")}
    if arguments.concurrent > 1:
        lines = iter([{"variant": fastest(workload), **concurrently(arguments)}])
    else:
        names = runnable(arguments.variants, workload)
        lines = each_variant(names, workload, arguments.repeats)
    yield from ({**line, **shared} for line in lines)


def runnable(asked: Sequence[str] | None, workload: "Workload") -> list[str]:
    """The variants to time; UserError where one that is asked for can't be run here."""
    from search.bench_variants import obstacle

    if asked is None:
        return [name for name in VARIANTS if not obstacle(name, workload)]
    for name in asked:
        if reason := obstacle(name, workload):
            raise UserError(f"--variants: {name}: {reason}")
    return list(asked)


def each_variant(names: Sequence[str], workload: "Workload", repeats: int) -> Iterator[Line]:
    """A line of each variant in turn; one that fails does not end the others."""
    from search.bench_variants import MAKERS, measure

    baseline = None
    for name in names:
        say(f"{name}: {VARIANTS[name]}")
        try:
            line = measure(MAKERS[name], workload, repeats)
        except Exception as error:  # one variant's failure, of whatever kind, is its own
            yield {"variant": name, "error": f"{type(error).__name__}: {first_line(error)}"}
            continue
        rate = line["examples_per_second"]
        baseline = rate if name == BASELINE else baseline
        yield {"variant": name, "ratio_to_live": baseline and round(rate / baseline, 3), **line}


def concurrently(arguments: argparse.Namespace) -> Line:
    """What so many processes that train at once do, together and each, as a sweep's trials."""
    from torch.multiprocessing.spawn import start_processes

    from search.bench_variants import train_beside

    count, context = arguments.concurrent, get_context("spawn")
    barrier, queue = context.Barrier(count), context.SimpleQueue()
    say(f"{count} processes, each setting up the fastest variant")
    try:  # one that fails ends the others
        start_processes(train_beside, (arguments, barrier, queue), nprocs=count)  # type: ignore[no-untyped-call]
    except Exception as error:
        return {"concurrent": count, "error": str(error).strip().splitlines()[-1]}
    return together([queue.get() for _ in range(count)])


def together(lines: Sequence[Line]) -> Line:
    """The line of processes that began at once, timed until the last one is done."""
    examples = [line["examples"] * len(line["seconds"]) for line in lines]
    seconds = [sum(line["seconds"]) for line in lines]
    rates = [round(count / own, 2) for count, own in zip(examples, seconds, strict=True)]
    return {
        "concurrent": len(lines),
        "examples_per_second": round(sum(examples) / max(seconds), 2),
        "examples_per_second_each": rates,
        "setup_seconds": max(line["setup_seconds"] for line in lines),
        "reserved_gib_each": [line["reserved_gib"] for line in lines],
    }


def say(line: str) -> None:
    """To the user, beside the JSON."""
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
