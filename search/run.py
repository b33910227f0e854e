"""`python -m search.run --space S`: prepare once, run the trials, print the leaderboard."""

import sys
from argparse import Namespace
from collections.abc import Sequence
from datetime import datetime
from functools import partial

from search.arguments import (
    OPERATION,
    default_strata,
    parse_arguments,
    parse_strata,
    place_of_runs,
    storage_folder,
)
from search.cluster import check_address
from search.launch import Session, begin, go_on, guarded
from search.record import Run
from search.request import Request
from search.runs import find_run, refuse_existing
from trainable.arguments import choose_preset


def main(argv: Sequence[str] | None = None) -> int:
    """Runs or resumes a sweep; returns the exit code (0 well, 1 failures, 2 the user's mistake)."""
    arguments = parse_arguments(argv)
    start = new_sweep if arguments.resume is None else resume_sweep
    return guarded(partial(start, arguments), "search.run", argv)


def new_sweep(arguments: Namespace, session: Session) -> int:
    """Checks everything, prepares teacher and cache, then runs the trials."""
    within = arguments.compare_within or default_strata(arguments.space, arguments.against)
    strata = parse_strata(within)
    storage = storage_folder(arguments.storage)
    check_address(arguments.address)
    import torch

    preset_name, preset, why = choose_preset(arguments, torch.cuda.is_available())
    request = Request.from_arguments(arguments, preset_name)
    session.console.print(f"Preset {preset_name}: {why}.")
    folder = storage / (arguments.name or default_name(arguments.space, preset_name))
    refuse_existing(folder)

    from search.preparation import prepare_sweep

    prepared = prepare_sweep(request, session.console)
    plan = {
        "requests": [request.to_dict()],
        "scheduler": arguments.scheduler,
        "compare_within": list(strata),
        "grace_evaluations": preset.grace_evaluations,
    }
    operation = {key: getattr(arguments, key) for key in OPERATION}
    return begin(folder, plan, operation, prepared, session)


def default_name(space: str, preset: str) -> str:
    """`schedules-mini-20261123-221530`."""
    return f"{space}-{preset}-{datetime.now():%Y%m%d-%H%M%S}"


def resume_sweep(arguments: Namespace, session: Session) -> int:
    """Goes on with a run; one that is complete shows its leaderboard again."""
    folder = find_run("--resume", arguments.resume, place_of_runs(arguments.storage))

    def ready(run: Run) -> None:
        from search.resume import reopen

        reopen(run, arguments, session.console)

    return go_on(folder, ready, session)


if __name__ == "__main__":
    sys.exit(main())
