"""`python -m search.run --space S`: prepare once, run the trials, print the leaderboard."""

import sys
from argparse import Namespace
from collections.abc import Sequence
from contextlib import nullcontext
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from search.arguments import (
    OPERATION,
    default_strata,
    parse_arguments,
    parse_strata,
    place_of_runs,
    storage_folder,
)
from search.cluster import check_address
from search.depths import with_depths
from search.launch import Session, begin, go_on, guarded
from search.mirrored_cache import untouched_cache
from search.objectives import LATENCY
from search.record import PARAMETERS, Run
from search.request import Request
from search.runs import find_run, refuse_existing
from trainable.arguments import choose_preset

if TYPE_CHECKING:  # with torch, which takes seconds to load
    from search.preparation import PreparedSweep


def main(argv: Sequence[str] | None = None) -> int:
    """Runs or resumes a sweep; returns the exit code (0 well, 1 failures, 2 the user's mistake)."""
    return guarded(partial(start, parse_arguments(argv)), "search.run", argv)


def start(arguments: Namespace, session: Session) -> int:
    """A new sweep or one that goes on; a dry run of either leaves the user's cache as it is."""
    command = new_sweep if arguments.resume is None else resume_sweep
    with untouched_cache() if arguments.dry_run else nullcontext():
        return command(arguments, session)


def new_sweep(arguments: Namespace, session: Session) -> int:
    """Checks everything, prepares teacher and cache, then runs the trials."""
    within = arguments.compare_within
    if within is None:
        within = default_strata(arguments.space, arguments.against)
    strata = parse_strata(within)
    storage = storage_folder(arguments.storage)
    check_address(arguments.address, storage)
    import torch

    preset_name, preset, why = choose_preset(arguments, torch.cuda.is_available())
    request = Request.from_arguments(arguments, preset_name)
    session.console.print(f"Preset {preset_name}: {why}.")
    folder = storage / (arguments.name or default_name(arguments.space, preset_name))
    refuse_existing(folder)
    request = with_depths(request)
    operation = {key: getattr(arguments, key) for key in OPERATION}
    plan: dict[str, Any] = {
        "requests": [request.to_dict()],
        "scheduler": arguments.scheduler,
        "compare_within": list(strata),
        "grace_evaluations": preset.grace_evaluations,
    }
    if arguments.dry_run:
        from search.dry_run import tell_new_sweep

        return tell_new_sweep(request, folder, plan, operation, session)

    from search.draws import starting_draws
    from search.preparation import prepare_sweep

    prepared = prepare_sweep(request, session.console)
    if request.searched:
        plan[PARAMETERS] = starting_draws(request, prepared.configs)
    if request.against == LATENCY:
        plan[LATENCY] = _measured_latencies(request, prepared, session)
    return begin(folder, plan, operation, prepared, session)


def _measured_latencies(
    request: Request, prepared: "PreparedSweep", session: Session
) -> dict[str, float]:
    from search.latency import in_words, latencies

    width = prepared.possible[0].student_width
    found = latencies(prepared.task, request.depths, width)
    session.console.print(in_words(found))
    return found


def default_name(space: str, preset: str) -> str:
    """`schedules-mini-20261123-221530`."""
    return f"{space}-{preset}-{datetime.now():%Y%m%d-%H%M%S}"


def resume_sweep(arguments: Namespace, session: Session) -> int:
    """Goes on with a run; one that is complete shows its leaderboard again."""
    folder = find_run("--resume", arguments.resume, place_of_runs(arguments.storage))

    if arguments.dry_run:
        from search.dry_run import tell_resumed

        return tell_resumed(folder, arguments, session)

    def ready(run: Run) -> None:
        from search.resume import reopen

        reopen(run, arguments, session.console)

    return go_on(folder, ready, session)


if __name__ == "__main__":
    sys.exit(main())
