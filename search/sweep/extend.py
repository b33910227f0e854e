"""A run opened again: damage is detected and repaired, what was asked for more is added."""

import os
from argparse import Namespace
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from search.plan.draws import config_of_draw
from search.plan.grid import plan_trials, possible_trials
from search.plan.request import EXTENSION, OPERATION, Request, names_of_kind
from search.plan.resolve import ResolvedRequest
from search.policy.still_to_come import is_complete, may_grow, to_suggest
from search.record.checkpoints import drop_damaged_checkpoints
from search.record.run import Run, repair
from search.record.storage import DIGESTS, is_uri, location
from search.results.best_trials import lost_students, prune
from search.sweep.processes.cluster import check_address
from search.sweep.processes.shared_inputs import inputs_of
from spaces import file_digest, is_searched, load_space
from trainable.common.errors import UserError, count_of
from trainable.common.files import verified_values
from trainable.config.fields import given
from trainable.config.options import users_cache
from trainable.config.training_inputs import TrainingInputs
from trainable.config.trial_config import TrialConfig


def asked_changes(
    run: Run, arguments: Namespace, console: Console
) -> tuple[dict[str, Any], list[TrialConfig]]:
    """How the command line changes a run's plan, and the trials that it adds (UserError if it
    can't be added); prints how many."""
    asked = given(arguments, Request)
    operation = {key: value for key, value in asked.items() if key in names_of_kind(OPERATION)}
    more = {key: value for key, value in asked.items() if key in names_of_kind(EXTENSION)}
    requests, configs = list(run.plan.requests), []
    if more and run.plan.confirms is not None:
        raise UserError(
            f"--resume {run.folder.name}: a confirmation of {run.plan.confirms['run']}, to which "
            "only seeds can be added, with python -m search.confirm"
        )
    _check_spaces(run, console, grows=bool(more) or may_grow(run))
    if more and run.request.searched:
        requests = [_searched_further(run, more)]
        if run.request.time_budget is not None and requests[-1].time_budget is None:
            _print(console, "--samples takes the place of the time budget; give both to keep it.")
    elif more:
        requests = _listed_further(run, more)
        configs = _new_configs(run, requests)
        _print(console, f"{count_of(len(configs), 'new trial')}; existing ones are not rerun.")
        requests = requests if configs else list(run.plan.requests)
    requests[-1] = replace(requests[-1], **operation)
    changed = tuple(requests) != run.plan.requests
    return ({"requests": tuple(requests)} if changed else {}), configs


def _check_spaces(run: Run, console: Console, *, grows: bool) -> None:
    """Prints which files of its spaces changed; UserError if more is to come of one that no longer
    gives the trials that it gave."""
    files = {r.space: r.space_digest for r in run.plan.requests if r.space_digest}
    changed = ", ".join(space for space, digest in files.items() if file_digest(space) != digest)
    if changed and grows and not _still_given(run):
        raise UserError(
            f"--resume {run.folder.name}: {changed} has changed and no longer gives the trials "
            "that the run has; put it back as it was, or start a new run"
        )
    if changed:
        _print(console, f"{changed} has changed or is gone; the trials planned stay as they are.")


def _still_given(run: Run) -> bool:
    """Whether the run's spaces list its trials, or make the same of what was drawn."""
    trials, precision = list(run.trials.values()), run.any_config.precision
    with suppress(UserError):  # such as for a value that is out of range now
        if run.request.searched:
            trials = [trial for trial in trials if not trial.final]
            again = [config_of_draw(run.request, trial.parameters or {}) for trial in trials]
        else:
            again = [config for request in run.plan.requests for config in plan_trials(request)]
        recipes = {replace(config, precision=precision).recipe for config in again}
        return all(trial.config.recipe in recipes for trial in trials)
    return False


def extend(run: Run, changes: dict[str, Any], configs: list[TrialConfig], console: Console) -> None:
    """Repairs the run, changes its plan, adds these trials, and makes it ready to go on.

    Raises UserError where it can't go on here; nothing of it is lost then.
    """
    for line in repair(run):
        _print(console, f"{line}.")
    if configs or not is_complete(run) or changes:
        request = changes.get("requests", run.plan.requests)[-1]
        check_address(request.address, run.folder.parent)
        asked = replace(run, plan=replace(run.plan, **changes))
        changes["inputs"] = inputs_again(asked, configs, console, f"--resume {run.folder.name}")
    if any(getattr(run.plan, key) != value for key, value in changes.items()) or configs:
        run.replan(changes, configs)
    prune(run)
    for line in drop_damaged_checkpoints(run) + lost_students(run):
        _print(console, f"{line}.")


def _listed_further(run: Run, more: dict[str, Any]) -> list[ResolvedRequest]:
    """The requests of a run whose trials are listed, with what is added."""
    requests, last = list(run.plan.requests), run.request
    searched = is_searched(load_space(more.get("space", last.space))[0])
    if searched or {"time_budget", "finals"} & more.keys():
        raise UserError(
            f"--resume {run.folder.name}: a grid run cannot be extended with --time-budget, "
            "--finals or a searched space; start a new run with --space recipe"
        )
    seeds = more.pop("seeds", None)
    if more:
        other_space = more.get("space", last.space) != last.space
        before = () if other_space else last.additions
        fixed = dict((*last.overrides, *more.pop("overrides", ())))
        added = {
            "overrides": tuple(fixed.items()),
            "additions": (*before, *more.pop("additions", ())),
            "samples": None if other_space else last.samples,
            "space_digest": file_digest(more.get("space", last.space)),
        }
        requests.append(replace(last, **{**added, **more}))
    return requests if seeds is None else [replace(r, seeds=seeds) for r in requests]


def _searched_further(run: Run, more: dict[str, Any]) -> ResolvedRequest:
    """The request of a searched run with more to suggest, in numbers or in time, or more seeds."""
    for name in ("space", "overrides", "additions"):
        if name in more:
            flag = {"overrides": "--set", "additions": "--add"}.get(name, f"--{name}")
            raise UserError(
                f"{flag}: {run.folder.name} is searched, and its space stays as it is; what can be "
                "added: --samples, --time-budget (both in all), --seeds"
            )
    last = run.request
    if more.get("finals") and last.against:
        raise UserError(f"--finals {more['finals']}: does not go with --against {last.against}")
    if {"samples", "time_budget"} & more.keys():  # the one replaces both
        more = {"samples": None, "time_budget": None, **more}
    elif run.last_trial.final and more.get("finals", 0) > last.finals:
        raise UserError(
            f"--finals {more['finals']}: {run.folder.name} has had its finals; give more --samples "
            "or --time-budget, too"
        )
    if bool(more.get("finals", last.finals)) != bool(last.finals):  # short trials stay as they are
        overrides = dict(last.overrides)
        overrides.setdefault("transfer_share", last.constants.get("transfer_share", 0.0))
        plans = (event["plan"] for event in run.events if event["event"] == "plan")
        asked: dict[str, Any] = next((plan["requests"][0] for plan in plans), {})
        left_open = asked.get("finals") and "transfer_share" not in dict(asked["overrides"])
        if left_open and not last.finals:  # they were given up: those that come have texts again
            del overrides["transfer_share"]
        more["overrides"] = tuple(overrides.items())
    return replace(last, **more)


def _new_configs(run: Run, requests: list[ResolvedRequest]) -> list[TrialConfig]:
    of_run = run.any_config
    new: dict[str, TrialConfig] = {}
    for request in requests:
        for planned in plan_trials(request):
            if dict(request.overrides).get("precision", of_run.precision) != of_run.precision:
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


def inputs_again(
    run: Run, more: Sequence[TrialConfig], console: Console, flag: str
) -> TrainingInputs:
    """What the run's trials share, as it was, or made again if it is gone or lacks something that
    these additional trials need. UserError, which names `flag`, if that can't be had here."""
    from search.sweep.check_sweep import complete, prepare_again

    inputs, cache = inputs_of(run), cache_here(run)
    _refuse_other_device(inputs, flag)
    missing = [folder for folder in inputs.folders() if verified_values(folder) is None]
    for folder in missing:
        _print(console, f"{folder} is missing or damaged: made again.")
    planned = [*(trial.config for trial in run.trials.values()), *more]
    configs = possible_trials(run.request, planned) if to_suggest(run) else planned
    if set(inputs.sources).isdisjoint(missing):
        return complete(inputs, missing, configs, Path(cache), console)
    again = prepare_again(replace(run.plan.requests[0], cache=cache), configs, console)
    for (name, was), now in zip(_digests(inputs).items(), _digests(again).values(), strict=True):
        if was != now:
            raise UserError(
                f"{flag}: its {name} (digest {was[:8]}) can't be made again, what is here now "
                f"gives {now[:8]}; put {inputs.teacher.folder} and the data back, or start a new "
                "run"
            )
    kept = {name: getattr(inputs, name) for name in ("test_digest", "outputs_seconds")}
    return replace(again, **kept)


def _digests(inputs: TrainingInputs) -> dict[str, str]:
    student = inputs.pretrained.digest if inputs.pretrained else ""
    return {"data": inputs.data_digest, "teacher": inputs.teacher.digest, "--student": student}


def cache_here(run: Run) -> str:
    """The cache for what must be made for a run: its own, or this user's on another machine, which
    can't write to it. Only a run that has its inputs in a storage can go on there."""
    cache = run.plan.requests[0].cache
    goes_on_elsewhere = is_uri(location(run.folder)) or (run.folder / DIGESTS).is_file()
    return users_cache() if goes_on_elsewhere and not os.access(cache, os.W_OK) else cache


def _refuse_other_device(inputs: TrainingInputs, flag: str) -> None:
    """UserError where the device that a run's trials train on can't be had here."""
    from trainable.engine.devices import best_device

    if inputs.device == best_device().type:
        return
    if inputs.device == "cuda":
        raise UserError(f"{flag}: its trials train on {inputs.device}, which is not here")
    raise UserError(
        f"{flag}: its trials train on the CPU; hide the GPU with CUDA_VISIBLE_DEVICES= to resume it"
    )


def _print(console: Console, line: str) -> None:
    console.print(line, soft_wrap=True)  # a path stays whole, to be copied
