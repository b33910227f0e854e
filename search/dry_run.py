"""What a sweep would take, told without running it: `python -m search.run ... --dry-run`.

All that a sweep checks before its training is checked. Time and memory come from a few steps of its
own trials. The run's folder and the cache are left as they are.
"""

from argparse import Namespace
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from search.arguments import KEEP
from search.cluster import LOCAL, check_address
from search.draws import starting_draws
from search.dry_run_words import say_command, say_disk, say_memory, say_time, say_trials
from search.launch import Session
from search.mirrored_cache import mirrored
from search.outlook import Outlook, Times, expected_times, representatives
from search.preparation import (
    CheckedSweep,
    can_be_completed,
    check_again,
    check_beside,
    check_sweep,
    lacking_outputs,
)
from search.progress import still_to_be_suggested
from search.record import PARAMETERS, Run, TrialRecord, read_run
from search.remote_runs import cache_here, task_of
from search.request import Request
from search.resume import (
    asked_changes,
    changed_here,
    damaged_folders,
    may_be_suggested,
    refuse_other,
)
from search.sharing import as_measured, settle_again, settle_sharing
from search.sweep import concurrency
from search.teacher_probe import teacher_seconds
from search.trial_probe import Probed, probe_trials
from trainable.config import TeacherSettings, TrialConfig
from trainable.environment import available_cores
from trainable.errors import UserError
from trainable.preparation import hidden_pools
from trainable.probe_processes import ProbeError
from trainable.stand_in import StandIn, stand_in_task, with_likenesses
from trainable.task import Task


@dataclass(frozen=True)
class _Prepared:
    """What the trials of a dry run share, and a folder to write to."""

    found: StandIn
    possible: list[TrialConfig]
    teacher_settings: TeacherSettings
    mirror: Path

    @classmethod
    def of(cls, checked: CheckedSweep, request: Request, session: Session) -> "_Prepared":
        """Into the request's cache, a mirror; UserError where the executor can't be had here."""
        mirror = Path(request.cache)
        environment = checked.preparation.environment(
            mirror, checked.possible[0].precision, request.executor, session.console.print
        )
        pools = hidden_pools(checked.possible)
        found = stand_in_task(checked.preparation, pools, environment)
        return cls(found, checked.possible, checked.preparation.inputs.teacher_settings, mirror)


def tell_new_sweep(
    request: Request,
    folder: Path,
    plan: Mapping[str, Any],
    operation: Mapping[str, Any],
    session: Session,
) -> int:
    """Of a new run in this folder, as `launch.begin` would make it; returns the exit code.

    UserError as from a real sweep.
    """
    with mirrored(Path(request.cache)) as mirror:
        seen = replace(request, cache=str(mirror))
        checked = check_sweep(seen, session.console)
        prepared = _Prepared.of(checked, seen, session)
        sharing = settle_sharing(
            prepared.found.task,
            checked.possible,
            mirror,
            asked=operation["trials_per_gpu"],
            max_concurrent=operation["max_concurrent"],
            console=session.console,
        )
        task = as_measured(prepared.found.task, sharing["gpu_sharing"], session.console)
        keep = operation["keep"]
        sweep = {
            **plan,
            **sharing,
            "max_concurrent": operation["max_concurrent"],
            "address": operation["address"],
            "keep": KEEP if keep is None else keep,
            "task": task.to_dict(),
        }
        if request.searched:
            sweep[PARAMETERS] = starting_draws(request, checked.configs)
        trials = {config.digest: TrialRecord(config) for config in checked.configs}
        return _tell(Run(folder, sweep, trials), prepared, session)


def tell_resumed(folder: Path, arguments: Namespace, session: Session) -> int:
    """Of what is left of a run, with what the command line adds; returns the exit code.

    UserError as from a real sweep.
    """
    run = read_run(folder)
    changes, configs = asked_changes(run, arguments, session.console)
    pending = {config.digest: TrialRecord(config) for config in configs}
    run = replace(run, sweep={**run.sweep, **changes}, trials={**run.trials, **pending})
    missing = {config.digest: TrialRecord(config) for config, _ in run.missing_seeds}
    run.trials |= missing
    run.timeline.take({"event": "session"})  # nothing is under way
    if not run.interrupted:
        session.console.print(f"{folder.name} is complete; nothing left to run.")
        return 0
    check_address(run.sweep.get("address"), run.folder.parent)
    flag = f"--resume {folder.name}"
    if problem := changed_here(task_of(run), flag):
        raise UserError(problem)
    cache = cache_here(run)
    run.sweep["requests"] = [{**request, "cache": str(cache)} for request in run.sweep["requests"]]
    with mirrored(cache) as mirror:
        prepared = _prepared_again(run, mirror, session)
        seen = [{**request, "cache": str(mirror)} for request in run.sweep["requests"]]
        looked_at = replace(run, sweep={**run.sweep, "requests": seen})
        task = prepared.found.task
        sharing = settle_again(looked_at, task, configs, changes, session.console)
        gpu_sharing = sharing.get("gpu_sharing", run.sweep.get("gpu_sharing"))
        run.sweep |= {**sharing, "task": as_measured(task, gpu_sharing, session.console).to_dict()}
        return _tell(run, prepared, session)


def _prepared_again(run: Run, mirror: Path, session: Session) -> _Prepared:
    """As it was, or where something is gone or lacking, as it would be made again.

    UserError as from `resume.task_again`.
    """
    task, request = task_of(run), Request.from_dict(run.sweep["requests"][0])
    possible = [*(trial.config for trial in run.trials.values()), *may_be_suggested(run)]
    settings = request.sized_preset.teacher_settings
    missing = damaged_folders(task)
    if can_be_completed(task, missing):
        check_beside(task, possible)
        lacking = lacking_outputs(task, missing, possible)
        found = with_likenesses(task, lacking, mirror / "likenesses")
        return _Prepared(found, possible, settings, mirror)
    seen = replace(request, cache=str(mirror))
    prepared = _Prepared.of(check_again(seen, possible), seen, session)
    found, flag = prepared.found, f"--resume {run.folder.name}"
    refuse_other("data", task.data_digest, found.task.data_digest, task, flag)
    if not found.teacher_missing:
        refuse_other("teacher", task.teacher.digest, found.task.teacher.digest, task, flag)
    return prepared


def _tell(run: Run, prepared: _Prepared, session: Session) -> int:
    console, sweep = session.console, run.sweep
    places = concurrency(
        available_cores(),
        torch.cuda.device_count(),
        sweep["trials_per_gpu"],
        sweep["max_concurrent"],
    )
    outlook = Outlook(run, places, still_to_be_suggested(run), prepared.possible)
    say_trials(outlook, console)
    if sweep.get("address") not in (None, LOCAL):
        console.print("Times and memory below are of this machine alone, not of the cluster.")
    try:
        probed, times = _measured(outlook, prepared)
    except ProbeError as error:
        raise UserError(
            f"--dry-run: a few steps of a trial failed, as a sweep would: {error}"
        ) from None
    say_time(outlook, times, console)
    say_memory(outlook, probed, console)
    say_disk(outlook, prepared.found, Path(sweep["requests"][0]["cache"]), console)
    say_command(session, console)
    return 0


def _measured(outlook: Outlook, prepared: _Prepared) -> tuple[Probed, Times]:
    kinds = representatives(outlook)
    task = Task.from_dict(outlook.run.sweep["task"])
    scratch = prepared.mirror.parent / "scratch"
    scratch.mkdir()
    probed = probe_trials(kinds, task, outlook.at_a_time, scratch)
    found, precision = replace(prepared.found, task=task), kinds[0].precision
    teacher = teacher_seconds(found, prepared.teacher_settings, precision, scratch)
    costs = dict(zip(kinds, probed.costs, strict=True))
    return probed, expected_times(outlook, costs, probed.start, teacher)
