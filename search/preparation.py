"""What a sweep does before its first trial: plan, load, check, then make what trials share."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console
from transformers import AutoConfig

from search.plan import plan_trials, possible_trials
from search.progress import in_time
from search.request import Request
from trainable.config import TrialConfig
from trainable.data import check_sample
from trainable.environment import Environment, best_device
from trainable.inputs import Inputs, load_inputs
from trainable.preparation import (
    Preparation,
    add_outputs,
    check_trials,
    hidden_pools,
    prepare_task,
)
from trainable.quiet import quiet_libraries
from trainable.task import Task


@dataclass(frozen=True)
class PreparedSweep:
    """The trials in their order, and what they share.

    `possible` are configurations such as the sweep may come to have: the same, or a searcher's.
    """

    configs: list[TrialConfig]
    possible: list[TrialConfig]
    task: Task
    evaluation_sentences: int


@dataclass(frozen=True)
class CheckedSweep:
    """A sweep that can be run; `configs` and `possible` are as in PreparedSweep."""

    configs: list[TrialConfig]
    possible: list[TrialConfig]
    preparation: Preparation


def check_sweep(request: Request, console: Console) -> CheckedSweep:
    """Refuses what can't be run (UserError), and says in a line what will be."""
    quiet_libraries()
    configs, possible = plan_trials(request), possible_trials(request)
    inputs = _load(request)
    preparation = Preparation.load(inputs)
    preparation.check(possible)
    if "precision" not in request.overrides:
        precision = preparation.precision(configs[0], best_device(), Path(request.cache))
        configs = [replace(config, precision=precision) for config in configs]
        possible = [replace(config, precision=precision) for config in possible]
    console.print(f"{how_many(request, configs)} {describe(configs, inputs)}")
    return CheckedSweep(configs, possible, preparation)


def prepare_sweep(request: Request, console: Console) -> PreparedSweep:
    """Refuses what can't be run (UserError) before any training; then teacher and cache."""
    checked = check_sweep(request, console)
    task = _prepare(request, checked.preparation, checked.possible, console)
    console.print(f"Teacher's accuracy: {task.teacher_in_words()}.")
    evaluation_sentences = len(checked.preparation.inputs.dataset.evaluation)
    return PreparedSweep(checked.configs, checked.possible, task, evaluation_sentences)


def check_again(request: Request, configs: Sequence[TrialConfig]) -> CheckedSweep:
    """The same check of trials that are a run's already."""
    quiet_libraries()
    preparation = Preparation.load(_load(request))
    preparation.check(configs)
    return CheckedSweep(list(configs), list(configs), preparation)


def prepare_again(request: Request, configs: Sequence[TrialConfig], console: Console) -> Task:
    """What these trials share, made anew or found in the cache; UserError as above."""
    checked = check_again(request, configs)
    return _prepare(request, checked.preparation, configs, console)


def check_beside(task: Task, configs: Sequence[TrialConfig]) -> None:
    """UserError for trials that can't be trained on what others share already."""
    quiet_libraries()
    teacher = AutoConfig.from_pretrained(task.teacher.folder)
    check_trials(configs, teacher, task.sentences["train"])


def complete(
    task: Task,
    missing: Sequence[Path],
    configs: Sequence[TrialConfig],
    cache: Path,
    console: Console,
) -> Task:
    """The task with all outputs of its teacher that it had, and those that these trials look at.

    What is lacking or among the missing folders is made of the task's own teacher and tokens, which
    must be whole. UserError for trials that can't be trained on it.
    """
    check_beside(task, configs)
    lacking = lacking_outputs(task, missing, configs)
    if not lacking:
        return task
    whole = {kind: place for kind, place in task.outputs.items() if kind not in lacking}
    environment = Environment(
        cache, best_device(), configs[0].precision, console.print, task.execution
    )
    return add_outputs(replace(task, outputs=whole), lacking, environment)


def can_be_completed(task: Task, missing: Sequence[Path]) -> bool:
    """Whether tokens and teacher, of which all else is made, are not among the missing folders."""
    return {Path(task.tokens), Path(task.teacher.folder)}.isdisjoint(missing)


def lacking_outputs(
    task: Task, missing: Sequence[Path], configs: Sequence[TrialConfig]
) -> list[str]:
    """The kinds of outputs that the task had or these trials look at, and that are not there."""
    whole = {kind for kind, place in task.outputs.items() if Path(place) not in missing}
    return sorted({*task.outputs, *hidden_pools(configs)} - whole)


def _load(request: Request) -> Inputs:
    inputs = load_inputs(
        request.sized_preset,
        teacher=request.teacher,
        dataset=request.dataset,
        cache=Path(request.cache),
    )
    check_sample(inputs.dataset, request.search_sentences)
    return inputs


def _prepare(
    request: Request, preparation: Preparation, configs: Sequence[TrialConfig], console: Console
) -> Task:
    precision = configs[0].precision
    environment = preparation.environment(
        Path(request.cache), precision, request.executor, console.print
    )
    return prepare_task(preparation, hidden_pools(configs), environment)


def how_many(request: Request, configs: list[TrialConfig]) -> str:
    """`18 trials`, or `24 configurations (optuna suggests 20 of them)`."""
    if not request.searched:
        return f"{len(configs)} trials"
    first = len(configs) // request.seeds
    if request.wanted == math.inf:
        said = f"{first} configurations and what {request.searcher} suggests for "
        said += in_time(request.time_budget or 0.0)
    else:
        suggested = f"{request.searcher} suggests {request.wanted - first} of them"
        said = f"{request.wanted} configurations ({suggested})"
    return said if request.seeds == 1 else f"{said}, each on {request.seeds} seeds"


def describe(configs: list[TrialConfig], inputs: Inputs) -> str:
    """`on 2,560 of 18,124 sentences, each evaluated 8 times on 1,000, in bf16.`"""
    dataset, (train, evaluation) = inputs.dataset, inputs.available
    looked_at = _of(len(dataset.evaluation), evaluation)
    if dataset.whole is not None:
        whole = len(dataset.whole)
        looked_at = f"{_of(len(dataset.evaluation), whole)} and once, at its end, on "
        looked_at += _of(whole, evaluation)
    return (
        f"on {_of(len(dataset.train), train)} sentences, each evaluated "
        f"{configs[0].evaluations} times on {looked_at}, in {configs[0].precision}."
    )


def _of(count: int, available: int) -> str:
    return f"{count:,}" + (f" of {available:,}" if count < available else "")
