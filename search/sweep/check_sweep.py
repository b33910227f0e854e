"""What a sweep does before its first trial: plan, load, check, then make what trials share."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from search.plan.grid import left_out, plan_trials, possible_trials
from search.plan.resolve import ResolvedRequest
from search.plan.rungs import FIFO, WITH_RUNGS
from search.plan.sources import sources
from search.plan.time_split import FEWEST_TRIALS, longest_passes, useful_share
from search.policy.progress import describe_time
from search.sweep.step_time import step_seconds
from trainable.common.errors import UserError, count_of
from trainable.common.quiet import quiet_libraries
from trainable.config.metrics import ACCURACY, F1, METRIC_LABELS
from trainable.config.options import AUGMENT
from trainable.config.training_inputs import Execution, TrainingInputs, states_read
from trainable.config.trial_config import TrialConfig
from trainable.data.batches import steps_per_epoch, trial_steps
from trainable.data.sources import Sources, load_sources
from trainable.engine.devices import Runtime, best_device, faster_precision
from trainable.models.loading import load_config
from trainable.teacher.outputs import kept_layers
from trainable.trial.preparation import Preparation, add_outputs, check_trials, prepare_inputs
from trainable.trial.step_check import checked


@dataclass(frozen=True)
class CheckedSweep:
    """A sweep that can be run: its trials in order, and `possible` ones: the same, or such as a
    searcher may suggest."""

    request: ResolvedRequest
    configs: list[TrialConfig]
    possible: list[TrialConfig]
    preparation: Preparation

    def prepare(self, console: Console) -> TrainingInputs:
        """Teacher and cache, made or found; UserError where the executor can't be had here."""
        precision, teacher = self.possible[0].precision, self.preparation.base.config
        runtime = self.preparation.runtime(self.request, precision, console.print)
        states = states_read(self.possible, teacher.num_hidden_layers)
        return prepare_inputs(self.preparation, states, runtime, self.request)


def load_preparation(inputs: Sources) -> Preparation:
    """The models, too; UserError for what can't be had."""
    quiet_libraries()
    return Preparation.load(inputs)


def check_sweep(
    request: ResolvedRequest, inputs: Sources, console: Console, loaded: Preparation | None = None
) -> CheckedSweep:
    """Refuses what can't be run (UserError) before any training, and prints what will be; `loaded`
    are data and models, if they are there already."""
    configs, asked = plan_trials(request), request
    possible = possible_trials(request, configs)
    reads_t = any("temperature" not in config.inactive_settings for config in possible)
    if request.searched and reads_t and not inputs.dataset.label_names:  # which has no use for T
        fixed = {"temperature": TrialConfig.temperature, **dict(request.overrides)}
        request = replace(request, overrides=tuple(fixed.items()))
    request = request.on_examples(len(inputs.dataset.train), len(inputs.dataset.evaluation))
    if request != asked:
        configs = plan_trials(request)
        possible = possible_trials(request, configs)
    evaluations, grace = configs[0].evaluations, request.grace_evaluations
    if request.scheduler in WITH_RUNGS and grace is not None and grace >= evaluations:
        raise UserError(
            f"--grace-evaluations {grace}: must be below the trials' {evaluations} evaluations, or "
            f"none is compared before its end; for that give --scheduler {FIFO}"
        )
    request, preparation = _made_texts_in_time(request, loaded or load_preparation(inputs))
    inputs = preparation.inputs
    preparation.check(possible, console.print)
    if "precision" not in dict(request.overrides):
        precision = faster_precision(best_device())
        configs = [replace(config, precision=precision) for config in configs]
        possible = [replace(config, precision=precision) for config in possible]
    teacher, _ = sources(request)
    console.print(f"{count_trials(request, configs)}. {describe(configs, inputs)}")
    console.print(f"Teacher: {teacher.name}.")
    if lacking := left_out(request):
        console.print(f"Preset {request.preset} leaves out {lacking}; --add KEY=VALUE adds one.")
    return CheckedSweep(request, configs, possible, preparation)


def _made_texts_in_time(
    request: ResolvedRequest, preparation: Preparation
) -> tuple[ResolvedRequest, Preparation]:
    """Without the made texts that finals have no time to train on: to label them takes a teacher on
    a CPU a fifth of the time budget. What --augment share=N or --set transfer_share=N asks for is
    made."""
    device, budget, config = best_device(), request.time_budget, request.default
    fixed = {*dict(request.augmentation), *dict(request.overrides)} & {"share", "transfer_share"}
    given = fixed or request.transfer_sources != (AUGMENT,)
    if given or not request.finals or config is None:
        return request, preparation
    examples = len(preparation.inputs.dataset.train)
    steps = steps_per_epoch(examples, config.batch_size)
    passes = longest_passes(steps, trial_steps(examples, config) / steps)
    if budget is not None and device.type == "cpu":
        preparation.check([config], lambda _: None)
        config = replace(config, precision=faster_precision(device))
        of_step = step_seconds(preparation, config, Execution())
        passes = min(passes, budget / (of_step * steps))
    share = useful_share(passes)
    if share >= request.transfer_share:
        return request, preparation
    fewer = (*request.augmentation, ("share", share)) if share else ()
    request = replace(request, transfer=AUGMENT if share else None, augmentation=fewer)
    return request, preparation.with_inputs(load_sources(request))


def prepare_again(
    request: ResolvedRequest, configs: Sequence[TrialConfig], console: Console
) -> TrainingInputs:
    """What these trials, a run's already, share: made anew or found in the cache; raises as
    `check_sweep`."""
    preparation = load_preparation(load_sources(request))
    preparation.check(configs, console.print)
    return CheckedSweep(request, list(configs), list(configs), preparation).prepare(console)


def complete(
    inputs: TrainingInputs,
    missing: Sequence[Path],
    configs: Sequence[TrialConfig],
    cache: Path,
    console: Console,
) -> TrainingInputs:
    """The inputs with the teacher's outputs that they had and those that these trials use.

    Missing outputs are made of their own teacher and tokens, which must be complete. UserError for
    trials that can't be trained on them.
    """
    quiet_libraries()
    teacher = load_config(inputs.teacher.folder)
    own = inputs.pretrained
    student = (load_config(own.folder), own.teachers_tokens) if own else None
    check_trials(configs, teacher, inputs.examples, student)
    present = {kind: path for kind, path in inputs.outputs.items() if Path(path) not in missing}
    states = states_read(configs, teacher.num_hidden_layers)
    for kind, layers in states.items():  # of deeper students than before
        kept = kept_layers(Path(present[kind])) if kind in present else []
        if kept and not {*layers} <= {*kept}:
            del present[kind]
    wanted = {**dict.fromkeys(inputs.outputs, ()), **states}
    lacking = {kind: layers for kind, layers in wanted.items() if kind not in present}
    runtime = Runtime(cache, best_device(), configs[0].precision, console.print, inputs.execution)
    runtime = checked(runtime, teacher)
    inputs = replace(inputs, execution=runtime.execution)
    if not lacking:
        return inputs
    return add_outputs(replace(inputs, outputs=present), lacking, runtime)


def count_trials(request: ResolvedRequest, configs: list[TrialConfig]) -> str:
    """`18 trials`, or `24 configurations, searched by prior; then the default and up to 2 of the
    best, for longer`."""
    if not request.searched:
        return count_of(len(configs))
    if request.wanted == math.inf:
        hours = describe_time(request.time_to_suggest).removeprefix("about ")
        text = f"Search by {request.searcher} for {hours}"
        needed = f", if {FEWEST_TRIALS} trials fit, else its starts alone"
        text += needed if request.finals else ""
    else:
        text = f"{count_of(int(request.wanted), 'configuration')}, searched by {request.searcher}"
    if request.finals:
        text += f"; then the default and up to {request.finals} of the best, for longer"
    return text if request.seeds == 1 else f"{text}; the best on up to {request.seeds} seeds"


def describe(configs: list[TrialConfig], inputs: Sources) -> str:
    """`Training: 2,048 of 18,113 examples, 128 steps per trial. Validation: 800, 8 evaluations per
    trial. In bf16.`"""

    def of(count: int, available: int) -> str:
        return f"{count:,}" + (f" of {available:,}" if count < available else "")

    dataset, (train, available) = inputs.dataset, inputs.available
    lengths = {trial_steps(len(dataset.train), config) for config in configs}
    steps = f", {lengths.pop():,} steps per trial" if len(lengths) == 1 else ""
    metric = "" if inputs.metric == ACCURACY else f", scored by {METRIC_LABELS[inputs.metric]}"
    metric += f" of {inputs.dataset.label_names[1]!r}" if inputs.metric == F1 else ""
    evaluation = of(len(dataset.evaluation), available)
    if dataset.full is not None:
        full = of(len(dataset.full), available)
        evaluation = f"a subset of {len(dataset.evaluation):,}, and {full} at the end"
    return (
        f"Training: {of(len(dataset.train), train)} examples{steps}. Validation: {evaluation}, "
        f"{configs[0].evaluations} evaluations per trial{metric}. In {configs[0].precision}."
    )
