"""A run opened again: what is damaged is said and mended, what was asked for more is added."""

from argparse import Namespace
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from search.arguments import OPERATION
from search.cluster import check_address
from search.disk import kept_students, prune
from search.plan import plan_trials, possible_trials
from search.record import CONFIRMS, ENDED, Run, mend
from search.remote_runs import cache_here, task_of, uri_of
from search.request import Request, parse_additions, parse_overrides
from search.sharing import as_measured, settle_again
from search.trial_words import wording
from spaces import SEARCHED_SPACES
from trainable.config import TrialConfig
from trainable.errors import UserError
from trainable.folders import sealed_values
from trainable.task import Task


def reopen(run: Run, arguments: Namespace, console: Console) -> None:
    """Makes the run ready to go on, with what the command line asks for beyond its plan.

    Raises UserError where it can't go on here; nothing of it is lost then.
    """
    tell_mended(run, console)
    changes, configs = asked_changes(run, arguments, console)
    extend(run, changes, configs, console)


def asked_changes(
    run: Run, arguments: Namespace, console: Console
) -> tuple[dict[str, Any], list[TrialConfig]]:
    """How the command line changes a run's plan, and the trials that it adds; says how many.

    UserError for what can't be added to it.
    """
    changes = given_operation(arguments)
    configs: list[TrialConfig] = []
    more = _more_trials(run, arguments)
    if more is not None and run.searched:
        changes["requests"] = [request.to_dict() for request in more[0]]
    elif more is not None:
        requests, configs = more
        _say(console, f"{len(configs)} more trial(s); those already in the run are not run again.")
        if configs:
            changes["requests"] = [request.to_dict() for request in requests]
    return changes, configs


def given_operation(arguments: Namespace) -> dict[str, Any]:
    """What the command line says of how many trials run at once and the like."""
    return {key: value for key in OPERATION if (value := getattr(arguments, key)) is not None}


def tell_mended(run: Run, console: Console) -> None:
    """Mends the run's files, and says in a line each what was wrong."""
    for said in mend(run):
        _say(console, f"{said}.")


def extend(run: Run, changes: dict[str, Any], configs: list[TrialConfig], console: Console) -> None:
    """Takes these changes of the plan and more trials into the run, and makes it ready to go on.

    Raises UserError as `reopen` does.
    """
    if configs or run.interrupted or "requests" in changes:
        check_address(changes.get("address", run.sweep.get("address")), run.folder.parent)
        task = task_again(run, configs, console, f"--resume {run.folder.name}")
        more = [*configs, *may_be_suggested(run)]
        changes |= settle_again(run, task, more, changes, console)
        sharing = changes.get("gpu_sharing", run.sweep.get("gpu_sharing"))
        changes["task"] = as_measured(task, sharing, console).to_dict()
    if any(run.sweep.get(key) != value for key, value in changes.items()):
        run.replan(changes, configs)
    prune(run)
    _tell_damaged_checkpoints(run, console)


def _more_trials(run: Run, arguments: Namespace) -> tuple[list[Request], list[TrialConfig]] | None:
    """The run's requests as they are to be, and the trials that they have beyond its own."""
    asked = (arguments.space, arguments.overrides, arguments.additions, arguments.samples)
    if not any((*asked, arguments.time_budget)) and arguments.seeds is None:
        return None
    if CONFIRMS in run.sweep:
        raise UserError(
            f"--resume {run.folder.name}: a confirmation of {run.sweep[CONFIRMS]['run']}, to which "
            "only seeds can be added, with python -m search.confirm"
        )
    requests = [Request.from_dict(values) for values in run.sweep["requests"]]
    if run.searched:
        return [_searched_further(run, arguments)], []
    if arguments.space in SEARCHED_SPACES or arguments.time_budget is not None:
        raise UserError(
            f"--resume {run.folder.name}: its trials are listed, so that nothing can be suggested "
            f"in it; start a new run with --space {next(iter(SEARCHED_SPACES))}"
        )
    if any(asked):
        last = requests[-1]
        other_space = arguments.space not in (None, last.space)
        asked_for = replace(
            last,
            space=arguments.space or last.space,
            overrides={**last.overrides, **parse_overrides(arguments.overrides)},
            additions=(
                *(() if other_space else last.additions),
                *parse_additions(arguments.additions),
            ),
            samples=arguments.samples or (None if other_space else last.samples),
        )
        requests.append(asked_for)
    if arguments.seeds is not None:
        requests = [replace(request, seeds=arguments.seeds) for request in requests]
    return requests, _new_configs(run, requests)


def _searched_further(run: Run, arguments: Namespace) -> Request:
    """The request of a searched run with more to suggest, in numbers or in time, or more seeds."""
    for flag in ("space", "overrides", "additions"):
        if getattr(arguments, flag):
            typed = {"overrides": "--set", "additions": "--add"}.get(flag, f"--{flag}")
            raise UserError(
                f"{typed}: {run.folder.name} is searched, and its space stays as it is; what can "
                "be added: --samples, --time-budget (both in all), --seeds"
            )
    asked = run.request
    if arguments.samples is not None or arguments.time_budget is not None:  # the one replaces both
        asked = replace(asked, samples=arguments.samples, time_budget=arguments.time_budget)
    return asked if arguments.seeds is None else replace(asked, seeds=arguments.seeds)


def _new_configs(run: Run, requests: list[Request]) -> list[TrialConfig]:
    of_run = next(iter(run.trials.values())).config
    new: dict[str, TrialConfig] = {}
    for request in requests:
        for planned in plan_trials(request):
            if request.overrides.get("precision", of_run.precision) != of_run.precision:
                raise UserError(
                    f"--set precision={planned.precision}: the trials of {run.folder.name} have "
                    f"{of_run.precision}, and only those alike are compared; start a new run"
                )
            config = replace(planned, precision=of_run.precision)
            if config.evaluations != of_run.evaluations:
                raise UserError(
                    f"evaluations: {config.evaluations}, but the trials of {run.folder.name} have "
                    f"{of_run.evaluations} each and are compared at equal numbers; start a new run"
                )
            if config.digest not in run.trials:
                new.setdefault(config.digest, config)
    return list(new.values())


def may_be_suggested(run: Run) -> list[TrialConfig]:
    """Such as a searcher may still add, in the precision of the run's."""
    drawn = possible_trials(run.request) if run.searched else []
    precision = next(iter(run.trials.values())).config.precision
    return [replace(config, precision=precision) for config in drawn]


def task_again(run: Run, more: Sequence[TrialConfig], console: Console, flag: str) -> Task:
    """What the run's trials share, as it was, or made again where it is gone or lacks something
    that these more trials need.

    Raises UserError, which names `flag`, where that can't be had here.
    """
    from search.preparation import can_be_completed, complete, prepare_again

    task, cache = task_of(run), cache_here(run)
    if problem := changed_here(task, flag):
        raise UserError(problem)
    missing = damaged_folders(task)
    for folder in missing:
        _say(console, f"{folder} is missing or damaged: made again.")
    configs = [*(trial.config for trial in run.trials.values()), *more, *may_be_suggested(run)]
    if can_be_completed(task, missing):
        return complete(task, missing, configs, cache, console)
    request = replace(Request.from_dict(run.sweep["requests"][0]), cache=str(cache))
    again = prepare_again(request, configs, console)
    refuse_other("data", task.data_digest, again.data_digest, task, flag)
    refuse_other("teacher", task.teacher.digest, again.teacher.digest, task, flag)
    return again


def damaged_folders(task: Task) -> list[Path]:
    """Those of a task that are missing or changed."""
    return [folder for folder in task.folders() if sealed_values(folder) is None]


def refuse_other(name: str, was: str, now: str, task: Task, flag: str) -> None:
    """UserError where what a run's trials share has another digest than it had."""
    if was != now:
        raise UserError(
            f"{flag}: its {name} (digest {was[:8]}) can't be made again, "
            f"what is here now gives {now[:8]}; put {task.teacher.folder} and the data back, "
            "or start a new run"
        )


def changed_here(task: Task, flag: str) -> str:
    """Why the device that a run's trials train on can't be had here; nothing where it can."""
    from trainable.environment import best_device

    if task.device == best_device().type:
        return ""
    if task.device == "cuda":
        return f"{flag}: its trials train on {task.device}, which is not here"
    return (
        f"{flag}: its trials train on the CPU; "
        "hide the GPU with CUDA_VISIBLE_DEVICES= to go on with it"
    )


def _tell_damaged_checkpoints(run: Run, console: Console) -> None:
    """Says which trials start again, and which students can't be used; their results stand."""
    from trainable.checkpoint import STATE, check_identity
    from trainable.training_state import CheckpointError, read_header

    task, words = Task.from_dict(run.sweep["task"]), wording(run)
    remote = uri_of(run.folder.parent) is not None  # then the nodes look for them there
    for trial in run.trials.values():
        state = run.trial_folder(trial) / STATE
        if trial.outcome in ENDED or not (trial.evaluations or state.exists()) or remote:
            continue
        try:
            check_identity(read_header(state), trial.config, task)
        except CheckpointError as error:
            _say(console, f"Checkpoint {error}, starts again: {words(trial)}.")
    for student in kept_students(run):
        try:
            read_header(student)
        except CheckpointError as error:
            _say(console, f"Student {error}, its result stands: {student}.")


def _say(console: Console, line: str) -> None:
    console.print(line, soft_wrap=True)  # a path stays whole, to be copied
