"""`python -m search.run --space S`: prepare once, run the trials, print the leaderboard."""

import argparse
import re
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import fields
from datetime import datetime
from functools import partial
from pathlib import Path

from search.exit_codes import leave
from search.plan.plan import Plan
from search.plan.request import EXTENSION, OPERATION, TRIALS, Request, names_of_kind
from search.plan.resolve import ResolvedRequest, resolve
from search.record.run import Run, read_run
from search.record.run_folders import (
    find_run,
    name_problem,
    place_of_runs,
    refuse_existing,
    storage_folder,
)
from search.students.on_test_split import score_on_test
from search.sweep.processes.cluster import check_address
from search.sweep.run_command import Invocation, resume_run, run_command, start_run
from spaces import SPACE_NAMES
from trainable.config.fields import OneLineParser, add_flags, flag_of, given
from trainable.config.options import InputOptions

EXAMPLES = """\
examples:
  python -m search.run --space schedules
  python -m search.run --space study --dataset my_folder --set epochs=1
  python -m search.run --space recipe --time-budget 2h
  python -m search.run --space my_space.py:grid --scheduler fifo
  python -m search.run --resume NAME
  python -m search.run --resume NAME --seeds 3
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs or resumes a sweep; returns the exit code (0 well, 1 failures, 2 the user's mistake)."""
    arguments = parse_arguments(argv)
    command = new_sweep if arguments.resume is None else resume_sweep
    return run_command(partial(command, arguments), "search.run", argv)


def make_parser() -> argparse.ArgumentParser:
    """Every flag with its unit and default: those of a Request, and which run it is."""
    parser = OneLineParser(
        prog="python -m search.run",
        description="Searches for the best recipe to distil an encoder text classifier.",
        epilog=EXAMPLES,
    )
    parser.add_argument(
        "--resume",
        metavar="RUN",
        help="continue a run (name, path or URI) with its own settings; to a grid --space, --set, "
        "--add, --seeds and --samples add trials, to a search --seeds, --samples, --finals and "
        "--time-budget (of the whole run); existing ones are not rerun",
    )
    parser.add_argument("--name", help="name of the run (default: space, preset and time)")
    parser.add_argument(
        "--storage",
        default="runs",
        metavar="DIR",
        help="folder of all runs, or a URI such as s3://bucket/runs that every node of a cluster "
        "reaches (default: %(default)s)",
    )
    parser.add_argument(
        "--dry-run",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="check the inputs, list the trials, and estimate time (from one measured step of each "
        "student shape) and disk; run nothing",
    )
    trials = parser.add_argument_group("trials")
    add_flags(trials, Request, names_of_kind(EXTENSION, TRIALS))
    add_flags(parser.add_argument_group("how they are run"), Request, names_of_kind(OPERATION))
    inputs = [about.name for about in fields(InputOptions)]
    add_flags(parser.add_argument_group("inputs"), Request, inputs)
    return parser


def parse_arguments(argv: Sequence[str] | None) -> Namespace:
    """The checked command line; exits with code 2 after one line where it is wrong."""
    parser = make_parser()
    arguments = parser.parse_args(argv)
    asked = given(arguments, Request)
    if arguments.resume is None and "space" not in asked:
        parser.error(
            f"--space: missing (or --resume RUN); choose from {', '.join(SPACE_NAMES)} or "
            "FILE.py:NAME"
        )
    for name, flag in (("overrides", "--set"), ("augmentation", "--augment")):
        for key, value in (pairs := asked.get(name, ())):
            if (last := dict(pairs)[key]) != value:
                parser.error(f"{flag} {key}={value} {flag} {key}={last}: give one of them")
    if arguments.resume is not None:
        kept = [f for f in fields(Request) if f.name not in names_of_kind(EXTENSION, OPERATION)]
        values = {flag_of(about): asked[about.name] for about in kept if about.name in asked}
        flags = [f"{f} {'='.join(v[0]) if type(v) is tuple else v}" for f, v in values.items()]
        flags += [f"--name {arguments.name}"] if arguments.name is not None else []
        if flags:
            parser.error(f"{flags[0]}: cannot be combined with --resume: a run keeps its settings")
    elif arguments.name is not None and (problem := name_problem(arguments.name)):
        parser.error(f"--name {problem}")
    return arguments


def new_sweep(arguments: Namespace, invocation: Invocation) -> int:
    """Checks everything, prepares teacher and cache, then runs the trials."""
    storage, console = storage_folder(arguments.storage), invocation.console
    asked = Request(**given(arguments, Request))
    check_address(asked.address, storage)
    request = resolve(asked, console.print)
    folder = storage / (arguments.name or default_name(request))
    refuse_existing(folder)

    from search.plan.grid import plan_trials
    from trainable.data.sources import load_sources

    plan_trials(request)  # whose mistakes are told before data are loaded
    sources = load_sources(request)  # and theirs before torch is

    from search.sweep.check_sweep import check_sweep, load_preparation

    loaded, times = None, dict[str, float]()
    if request.limited:
        from search.run.costs import within_limits

        loaded = load_preparation(sources)
        request, times = within_limits(request, loaded, console)
    checked = check_sweep(request, sources, console, loaded)
    if arguments.dry_run:
        from search.run.dry_run import describe_new_sweep

        return describe_new_sweep(checked, folder, invocation)

    from search.plan.draws import starting_points
    from search.run.costs import student_costs
    from trainable.data.batches import trial_steps

    request, inputs = checked.request, checked.prepare(console)
    console.print(f"Teacher {inputs.metric_label}: {inputs.describe_teacher()}.")
    costs = {}
    if request.against is not None:
        costs = student_costs(request, checked.preparation, times, console)
    first, steps = checked.configs[0], trial_steps(inputs.examples["train"], checked.configs[0])
    plan = Plan(
        requests=(request,),
        provenance=invocation.provenance(),
        inputs=inputs,
        trials=tuple(checked.configs),
        grace_evaluations=request.first_rung(first.evaluations, steps),
        parameters={first.digest: starting_points(request)[0][1]} if request.searched else {},
        costs=costs,
    )
    return start_run(folder, plan, invocation)


def default_name(request: ResolvedRequest) -> str:
    """`schedules-mini-20261123-221530`."""
    space = re.sub(r"[^A-Za-z0-9_]+", "-", Path(request.space).name.rpartition(":")[2])
    return f"{space}-{request.preset}-{datetime.now():%Y%m%d-%H%M%S}"


def resume_sweep(arguments: Namespace, invocation: Invocation) -> int:
    """Goes on with a run; one that is complete shows its leaderboard again."""
    folder = find_run("--resume", arguments.resume, place_of_runs(arguments.storage))
    if arguments.dry_run:
        from search.run.dry_run import describe_resumed

        return describe_resumed(folder, arguments, invocation)

    def reopen(run: Run) -> None:
        from search.sweep.extend import asked_changes, extend

        extend(run, *asked_changes(run, arguments, invocation.console), invocation.console)

    code = resume_run(folder, reopen, invocation)
    confirms = read_run(folder).plan.confirms is not None
    return score_on_test(folder, code, invocation.console) if confirms else code


if __name__ == "__main__":
    leave(main())
