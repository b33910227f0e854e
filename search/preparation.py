"""What a new sweep does before its first trial: plan, load, check, then make what trials share."""

from argparse import Namespace
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from rich.console import Console

from search.plan import plan_trials
from trainable.config import TrialConfig
from trainable.environment import Environment, best_device
from trainable.inputs import Inputs, load_inputs
from trainable.prepare import Preparation, hidden_pools, prepare_task
from trainable.presets import Preset
from trainable.quiet import quiet_libraries
from trainable.task import Task


@dataclass(frozen=True)
class PreparedSweep:
    """The trials in their order, and what they share."""

    configs: list[TrialConfig]
    task: Task
    evaluation_sentences: int


def prepare_sweep(
    arguments: Namespace, preset: Preset, overrides: Mapping[str, Any], console: Console
) -> PreparedSweep:
    """Refuses what can't be run (UserError) before any training; then teacher and cache."""
    quiet_libraries()
    device = best_device()
    configs = plan_trials(arguments.space, preset, overrides, arguments.seed)
    inputs = load_inputs(
        preset, teacher=arguments.teacher, dataset=arguments.dataset, cache=arguments.cache
    )
    preparation = Preparation.load(inputs)
    preparation.check(configs)
    if "precision" not in overrides:
        precision = preparation.precision(configs[0], device, arguments.cache)
        configs = [replace(config, precision=precision) for config in configs]
    console.print(describe(configs, inputs))
    environment = Environment(arguments.cache, device, configs[0].precision, console.print)
    task = prepare_task(preparation, hidden_pools(configs), environment)
    console.print(f"Teacher's accuracy: {task.teacher.accuracy:.4f}.")
    return PreparedSweep(configs, task, len(inputs.dataset.evaluation))


def describe(configs: list[TrialConfig], inputs: Inputs) -> str:
    """`18 trials on 2,560 of 18,124 sentences, each evaluated 8 times on 1,000, in bf16.`"""
    splits = (inputs.dataset.train, inputs.dataset.evaluation)
    train, evaluation = (
        f"{len(split):,}" + (f" of {available:,}" if len(split) < available else "")
        for split, available in zip(splits, inputs.available, strict=True)
    )
    return (
        f"{len(configs)} trials on {train} sentences, each evaluated {configs[0].evaluations} "
        f"times on {evaluation}, in {configs[0].precision}."
    )
