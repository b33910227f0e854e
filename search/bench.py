"""`python -m search.bench`: the training step timed against a loop with a live teacher."""

import json
import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from trainable.arguments import AUTO

from search.bench_arguments import BASELINE, CPU_RUNGS, STEPS, WARMUP, make_parser
from search.exit_codes import FAILURES, INTERRUPTED, USER_ERROR
from trainable.errors import UserError
from trainable.presets import PRESETS, automatic_preset


def main(argv: Sequence[str] | None = None) -> int:
    """Prints a JSON line a rung; returns the exit code (0 well, 1 a rung failed, 2 a mistake)."""
    arguments = make_parser().parse_args(argv)
    command = sys.argv[1:] if argv is None else argv
    try:
        lines = bench_on_trial_threads(arguments, command)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return USER_ERROR
    except KeyboardInterrupt:
        print("interrupted before the last repeat; nothing is reported", file=sys.stderr)
        return INTERRUPTED
    return FAILURES if any("error" in line for line in lines) else 0


def bench_on_trial_threads(arguments: Namespace, command: Sequence[str]) -> list[dict[str, Any]]:
    """`bench` with one thread on a CPU, as a sweep's trials have."""
    import torch

    threads = torch.get_num_threads()
    if not torch.cuda.is_available():
        torch.set_num_threads(1)
    try:
        with TemporaryDirectory() as folder:
            return bench(arguments, command, Path(folder))
    finally:
        torch.set_num_threads(threads)


def bench(arguments: Namespace, command: Sequence[str], folder: Path) -> list[dict[str, Any]]:
    """Sets up, measures, prints and returns the lines; UserError for what can't be timed."""
    from search.bench_inputs import bench_config, load_bench_teacher, make_workload
    from search.bench_results import as_table, circumstances, result
    from search.bench_rungs import RUNGS
    from search.bench_session import Entry, run_session
    from search.length_tables import LENGTH_TABLES
    from search.measure import load_average
    from trainable.environment import best_device
    from trainable.quiet import quiet_libraries

    quiet_libraries()
    device, preset = best_device(), arguments.preset
    if preset == AUTO:
        preset, _ = automatic_preset(device.type == "cuda")
    table = LENGTH_TABLES[preset].cut(arguments.max_length or PRESETS[preset].max_length)
    words, teacher = load_bench_teacher(arguments.teacher, preset, arguments.seed)
    config = bench_config(arguments, teacher.config, device, folder)
    steps = arguments.steps or STEPS[device.type]
    workload = make_workload(teacher, config, table, steps, device=device, folder=folder)
    say(f"{words}; {config.student_layers}-layer student in {config.precision} on {device.type}")
    load = load_average()
    every = tuple(RUNGS) if device.type == "cuda" else CPU_RUNGS
    entries = [Entry(name, RUNGS[name]) for name in arguments.rungs or every]
    warmup = arguments.warmup or WARMUP[device.type]
    run_session(entries, workload, warmup=warmup, repeats=arguments.repeats, say=say)
    baseline = next(entry for entry in entries if entry.name == BASELINE)
    lines = [result(entry, baseline, workload) for entry in entries]
    shared = {"preset": preset, "teacher": words, "lengths": table.source, "warmup": warmup}
    shared |= {**circumstances(workload, command), "load_average_before": load}
    for line in lines:
        print(json.dumps({**line, **shared}), flush=True)
    say(as_table(lines))
    return lines


def say(line: str) -> None:
    """To the user, beside the JSON."""
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
