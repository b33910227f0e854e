"""`python -m search.run --space S`: prepare once, run the trials, print the leaderboard."""

import sys
from argparse import Namespace
from collections.abc import Sequence
from datetime import datetime

from rich.console import Console

from search.arguments import (
    KEEP,
    RETRIES,
    parse_arguments,
    parse_strata,
    place_of_runs,
    storage_folder,
)
from search.exit_codes import FAILURES, INTERRUPTED, USER_ERROR
from search.interruption import Interruption
from search.record import create_run, read_run
from search.request import Request
from search.runs import alone_with, find_run, refuse_existing
from search.tracking import Tracking
from search.tracking_modes import OFF
from trainable.arguments import choose_preset
from trainable.errors import TrainingDivergedError, UserError

PLAIN_WIDTH = 120  # columns


def main(argv: Sequence[str] | None = None) -> int:
    """Runs or resumes a sweep; returns the exit code (0 well, 1 failures, 2 the user's mistake)."""
    arguments = parse_arguments(argv)
    command = sys.argv[1:] if argv is None else argv
    console = make_console()
    start = new_sweep if arguments.resume is None else resume_sweep
    try:
        with Interruption(console) as interruption:
            return start(arguments, command, console, interruption)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return USER_ERROR
    except (TrainingDivergedError, OSError) as error:  # of the teacher; of a full disk and the like
        print(f"error: {error}", file=sys.stderr)
        return FAILURES
    except KeyboardInterrupt:
        print("interrupted before the first trial; the same command goes on", file=sys.stderr)
        return INTERRUPTED


def make_console() -> Console:
    """As wide as the terminal; where output goes elsewhere, wide enough for a trial's line."""
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console.width = PLAIN_WIDTH
    return console


def new_sweep(
    arguments: Namespace, command: Sequence[str], console: Console, interruption: Interruption
) -> int:
    """Checks everything, prepares teacher and cache, then runs the trials."""
    strata = parse_strata(arguments.compare_within)
    storage = storage_folder(arguments.storage)
    import torch

    preset_name, preset, why = choose_preset(arguments, torch.cuda.is_available())
    request = Request.from_arguments(arguments, preset_name)
    console.print(f"Preset {preset_name}: {why}.")
    folder = storage / (arguments.name or default_name(arguments.space, preset_name))
    refuse_existing(folder)

    from search.preparation import prepare_sweep
    from search.provenance import provenance
    from search.session import run_trials
    from search.sharing import as_measured, settle_sharing
    from search.summary import finish

    prepared = prepare_sweep(request, console)
    sharing = settle_sharing(
        prepared.task,
        prepared.configs,
        arguments.cache,
        asked=arguments.trials_per_gpu,
        max_concurrent=arguments.max_concurrent,
        console=console,
    )
    made = provenance(command)
    sweep = {
        **made,
        "requests": [request.to_dict()],
        "scheduler": arguments.scheduler,
        "compare_within": list(strata),
        "grace_evaluations": preset.grace_evaluations,
        **sharing,
        "max_concurrent": arguments.max_concurrent,
        "keep": KEEP if arguments.keep is None else arguments.keep,
        "retries": RETRIES if arguments.retries is None else arguments.retries,
        "swanlab": arguments.swanlab or OFF,
        "evaluation_sentences": prepared.evaluation_sentences,
        "task": as_measured(prepared.task, sharing["gpu_sharing"], console).to_dict(),
    }
    with alone_with(folder):
        refuse_existing(folder)  # one of that name may have come up while the teacher was made
        interruption.attach(folder)
        run = create_run(folder, sweep, prepared.configs)
        run_trials(run, made, console, interruption)
        return finish(read_run(folder), console, interruption.problem)


def default_name(space: str, preset: str) -> str:
    """`schedules-mini-20261123-221530`."""
    return f"{space}-{preset}-{datetime.now():%Y%m%d-%H%M%S}"


def resume_sweep(
    arguments: Namespace, command: Sequence[str], console: Console, interruption: Interruption
) -> int:
    """Goes on with a run; one that is complete shows its leaderboard again."""
    folder = find_run("--resume", arguments.resume, place_of_runs(arguments.storage))
    with alone_with(folder):
        interruption.attach(folder)

        from search.provenance import provenance
        from search.resume import reopen
        from search.summary import finish

        run = read_run(folder)
        reopen(run, arguments, console)
        if run.interrupted:
            from search.session import run_trials  # with Ray, which takes seconds to load

            run_trials(run, provenance(command), console, interruption)
        else:
            console.print(f"{run.folder.name} is complete; nothing left to run.")
            with Tracking(folder, run.sweep.get("swanlab", OFF), console):
                pass  # trials that no session has written yet
        return finish(read_run(folder), console, interruption.problem)


if __name__ == "__main__":
    sys.exit(main())
