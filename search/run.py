"""`python -m search.run --space S`: prepare once, run the trials, print the leaderboard."""

import os
import shlex
import sys
from argparse import Namespace
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

from rich.console import Console

from search.arguments import parse_arguments, parse_overrides, parse_strata, storage_folder
from search.record import FAILED, Run, create_run, find_run, read_run, refuse_existing
from search.schedulers import SCHEDULERS
from search.strata import SchedulerSettings
from trainable.arguments import choose_preset
from trainable.errors import TrainingDivergedError, UserError

USER_ERROR, FAILURES, INTERRUPTED = 2, 1, 130
PLAIN_WIDTH = 120  # columns


def main(argv: Sequence[str] | None = None) -> int:
    """Runs or resumes a sweep; returns the exit code (0 well, 1 failures, 2 the user's mistake)."""
    arguments = parse_arguments(argv)
    console = make_console()
    try:
        if arguments.resume is not None:
            return resume_sweep(arguments, console)
        return new_sweep(arguments, sys.argv[1:] if argv is None else argv, console)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return USER_ERROR
    except TrainingDivergedError as error:
        print(f"error: {error}", file=sys.stderr)
        return FAILURES
    except KeyboardInterrupt:
        print("interrupted before the first trial; nothing to resume", file=sys.stderr)
        return INTERRUPTED


def make_console() -> Console:
    """As wide as the terminal; where output goes elsewhere, wide enough for a trial's line."""
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console.width = PLAIN_WIDTH
    return console


def new_sweep(arguments: Namespace, command: Sequence[str], console: Console) -> int:
    """Checks everything, prepares teacher and cache, then runs the trials."""
    overrides = parse_overrides(arguments.overrides)
    strata = parse_strata(arguments.compare_within)
    storage = storage_folder(arguments.storage)
    import torch

    preset_name, preset, why = choose_preset(arguments, torch.cuda.is_available())
    console.print(f"Preset {preset_name}: {why}.")
    folder = storage / (arguments.name or default_name(arguments.space, preset_name))
    refuse_existing(folder)

    from search.preparation import prepare_sweep
    from search.provenance import provenance

    prepared = prepare_sweep(arguments, preset, overrides, console)
    sweep = {
        **provenance(command),
        "space": arguments.space,
        "preset": preset_name,
        "scheduler": arguments.scheduler,
        "compare_within": list(strata),
        "grace_evaluations": preset.grace_evaluations,
        "seed": arguments.seed,
        "trials_per_gpu": arguments.trials_per_gpu or preset.trials_per_gpu,
        "max_concurrent": arguments.max_concurrent,
        "gpus": torch.cuda.device_count(),
        "evaluation_sentences": prepared.evaluation_sentences,
        "task": prepared.task.to_dict(),
    }
    return run_trials(create_run(folder, sweep, prepared.configs), console, restore=False)


def default_name(space: str, preset: str) -> str:
    """`schedules-mini-20261123-221530`."""
    return f"{space}-{preset}-{datetime.now():%Y%m%d-%H%M%S}"


def resume_sweep(arguments: Namespace, console: Console) -> int:
    """Goes on with an interrupted run; one that is complete shows its leaderboard again."""
    run = read_run(find_run("--resume", arguments.resume, storage_folder(arguments.storage)))
    if not run.interrupted:
        console.print(f"{run.folder.name} is complete; nothing left to run.")
        return finish(run, console)
    import torch

    from search.sweep import ray_state_exists
    from trainable.folders import sealed_values
    from trainable.task import Task

    gpus = torch.cuda.device_count()
    if gpus < run.sweep["gpus"]:
        raise UserError(
            f"--resume {run.folder.name}: its trials ran on {run.sweep['gpus']} GPU(s), "
            f"{gpus} are visible here"
        )
    for folder in Task.from_dict(run.sweep["task"]).folders():
        if sealed_values(folder) is None:
            raise UserError(
                f"--resume {run.folder.name}: {folder}, which its trials read, is missing or "
                "damaged; put it back, or start a new run, which makes it again"
            )
    return run_trials(run, console, restore=ray_state_exists(run.folder))


def run_trials(run: Run, console: Console, *, restore: bool) -> int:
    """Runs what has not ended yet and prints the leaderboard; returns the exit code."""
    from search.sweep import concurrency, new_tuner, resources_per_trial, restored_tuner, start_ray

    sweep, cores = run.sweep, available_cores()
    gpus, share = sweep["gpus"], sweep["trials_per_gpu"]
    places = concurrency(cores, gpus, share, sweep["max_concurrent"])
    console.print(f"Run {run.folder} ({places} trial(s) at a time).")
    resources = resources_per_trial(gpus, share)
    with suppress(KeyboardInterrupt):  # before the first trial, or a second one: the record stays
        start_ray(cores, gpus)
        if restore:
            restored_tuner(run, resources).fit()
        else:
            new_tuner(run, places, resources, make_scheduler(run)).fit()
    return finish(read_run(run.folder), console)


def make_scheduler(run: Run) -> Any:
    """The run's trial scheduler."""
    settings = SchedulerSettings(
        evaluations=next(iter(run.trials.values())).config.evaluations,
        grace_evaluations=run.sweep["grace_evaluations"],
        compare_within=tuple(run.sweep["compare_within"]),
        run_folder=run.folder,
    )
    return SCHEDULERS[run.sweep["scheduler"]](settings)


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def finish(run: Run, console: Console) -> int:
    """Prints the leaderboard, where things are, and what to do next; returns the exit code."""
    from search.leaderboard import print_leaderboard

    print_leaderboard(run, console)
    console.print(f"\nRun: {run.folder}")
    failed = sum(trial.outcome == FAILED for trial in run.trials.values())
    if failed:
        console.print(f"{failed} trial(s) failed; the reasons are in the leaderboard.")
    if run.interrupted:
        console.print("Interrupted. Go on with:")
        console.print(
            f"python -m search.run --resume {shlex.quote(str(run.folder))}", soft_wrap=True
        )
        return INTERRUPTED
    return FAILURES if failed else 0


if __name__ == "__main__":
    sys.exit(main())
