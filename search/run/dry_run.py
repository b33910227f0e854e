"""What a sweep would take, without running it: `python -m search.run ... --dry-run`.

All that a sweep checks before its training is checked, a GPU's steps included. Times come from one
measured step of each shape of student; nothing is written but what these leave in the cache.
"""

import math
import shlex
import shutil
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Any

import torch

from search.plan.draws import starting_points
from search.plan.request import LOCAL
from search.plan.resolve import ResolvedRequest
from search.plan.time_split import FEWEST_TRIALS, foreseen, least_budget
from search.policy.final_times import seconds_searched
from search.policy.progress import describe_bytes, describe_time
from search.policy.still_to_come import finals_to_come, is_complete, to_suggest
from search.record.labels import config_labels
from search.record.run import read_run
from search.record.storage import is_uri, location
from search.record.trial_record import ENDED
from search.sweep.check_sweep import CheckedSweep
from search.sweep.extend import asked_changes
from search.sweep.processes.cluster import check_address
from search.sweep.ray_setup import concurrency
from search.sweep.run_command import Invocation
from search.sweep.session import expected_bytes
from search.sweep.step_time import step_seconds
from trainable.common.errors import count_of
from trainable.common.files import nearest_existing
from trainable.common.quiet import quiet_libraries
from trainable.config.initialisations import PRETRAINED
from trainable.config.training_inputs import Execution, states_read
from trainable.config.trial_config import TrialConfig
from trainable.data.batches import FORWARD_SHARE, trial_steps
from trainable.data.sources import load_sources
from trainable.data.tokens import trained_on
from trainable.engine.devices import available_cores, best_device
from trainable.teacher.outputs import LOGITS, outputs_bytes
from trainable.trial.checkpoint import bytes_of_shape
from trainable.trial.preparation import Preparation
from trainable.trial.token_cache import prepare_tokens


def describe_new_sweep(checked: CheckedSweep, folder: Path, invocation: Invocation) -> int:
    """What a new run of these trials in this folder would take; returns the exit code."""
    request, precision = checked.request, checked.possible[0].precision
    runtime = checked.preparation.runtime(request, precision, invocation.console.print)
    to_suggest = request.wanted - len(checked.configs) if request.searched else 0
    return _describe(checked, to_suggest, runtime.execution, folder, invocation, spent=0.0)


def describe_resumed(folder: Path, arguments: Namespace, invocation: Invocation) -> int:
    """What is left of a run, with what the command line adds; returns the exit code."""
    quiet_libraries()
    run = read_run(folder)
    for line in run.damage:
        invocation.console.print(f"{line}.", soft_wrap=True)
    changes, configs = asked_changes(run, arguments, invocation.console)
    if changes or configs:
        run.replan(changes, configs, write=False)
    if is_complete(run):
        invocation.console.print(f"{folder.name} is complete; nothing left to run.")
        return 0
    check_address(run.request.address, folder.parent)
    open_ = [trial.config for trial in run.trials.values() if trial.outcome not in ENDED]
    every = [t.config for t in run.trials.values() if not t.final or t.outcome not in ENDED]
    preparation = Preparation.load(load_sources(run.plan.requests[0]))
    checked = CheckedSweep(run.request, open_, every, preparation)
    execution = run.execution if run.plan.inputs.device == best_device().type else Execution()
    spent = seconds_searched(run) if finals_to_come(run) else None
    return _describe(checked, to_suggest(run), execution, folder, invocation, spent=spent)


def _describe(
    checked: CheckedSweep,
    to_suggest: float,
    execution: Execution,
    folder: Path,
    invocation: Invocation,
    *,
    spent: float | None,
) -> int:
    """`spent` are the seconds before the finals that are to come; None where none are."""
    request, console = checked.request, invocation.console
    label_of = config_labels(checked.possible, searched=request.searched)
    for number, config in enumerate(checked.configs, start=1):
        console.print(f"{number:>4}  {label_of(config)}", soft_wrap=True)
    slots = concurrency(
        available_cores(), torch.cuda.device_count(), request.trials_per_gpu, request.max_concurrent
    )
    of_trial = _expected_seconds(checked, execution)
    mean = fmean(of_trial.values())
    if to_suggest:
        to_suggest, line = _suggested(request, to_suggest, mean / slots, begun=spent != 0)
        console.print(f"      {line}", soft_wrap=True)
    each = [of_trial[config] for config in checked.configs]
    seconds = _side_by_side(each, to_suggest, mean, slots, request.time_budget or math.inf)
    if request.finals and spent is not None:
        console.print(
            f"      and, as long as time allows, the default and up to {request.finals} of the best"
        )
        seconds = max(request.whole_budget(spent + seconds) - spent, 0.0)
    if request.address != LOCAL:
        console.print("The time below is of this machine alone, not of the cluster.")
    if math.isfinite(seconds):
        console.print(
            f"{describe_time(seconds).capitalize()} of training, {count_of(slots)} at a time, if "
            "none is stopped early; the teacher's fine-tuning comes on top if it is not cached."
        )
    trials = len(checked.configs) + foreseen(to_suggest)
    configs = checked.possible if to_suggest else checked.configs or checked.possible
    sizes, outputs = _sizes(checked.preparation, checked.possible)
    most, end = map(describe_bytes, expected_bytes(request, configs, sizes, trials, slots))
    free = describe_bytes(shutil.disk_usage(nearest_existing(folder)).free)
    free = "" if is_uri(location(folder)) else f"; {free} are free at {folder.parent}"
    console.print(f"Checkpoints take up to about {most}, {end} at the end{free}.", soft_wrap=True)
    free = describe_bytes(shutil.disk_usage(nearest_existing(Path(request.cache))).free)
    taken = f"take {describe_bytes(outputs)} in {request.cache}, where {free} are free"
    console.print(f"The teacher's outputs {taken}, if they are not there yet.", soft_wrap=True)
    typed = [word for word in invocation.arguments if word != "--dry-run"]
    command = shlex.join(["python", "-m", invocation.module, *typed])
    console.print(f"Nothing was run. Start it with:\n{command}", soft_wrap=True)
    return 0


def _suggested(
    request: ResolvedRequest, to_suggest: float, seconds: float, *, begun: bool
) -> tuple[float, str]:
    """How many configurations will be suggested, and a line that says so, where a trial takes so
    many seconds of all slots' time."""
    needed = least_budget(seconds)
    if request.finals and not begun and needed > (request.time_budget or math.inf):
        fit = min(len(starting_points(request)), max(1, request.time_to_suggest // seconds))
        starts = min(to_suggest, fit - 1)
        more = f"{starts:.0f} more that the space begins with" if starts else "no more"
        return starts, (
            f"and {more}: to search, a third of the time must be enough for {FEWEST_TRIALS} "
            f"trials, so give {describe_time(needed)} or more"
        )
    count = f"{to_suggest:.0f} more" if math.isfinite(to_suggest) else "more, as time allows"
    return to_suggest, f"and {count}, suggested by {request.searcher}"


def _side_by_side(
    each: list[float], to_suggest: float, mean: float, slots: int, budget: float
) -> float:
    """Seconds that trials take in so many slots, with more to suggest that take `mean` each: no
    less than the longest of them, nor more than a time budget, while more are suggested."""
    if not to_suggest:
        return max(sum(each) / slots, *each, 0.0)
    return min(max((sum(each) + to_suggest * mean) / slots, *each, mean), budget)


def _expected_seconds(checked: CheckedSweep, execution: Execution) -> dict[TrialConfig, float]:
    """Of each possible trial; a forward pass takes a third of a training step."""
    preparation, dataset = checked.preparation, checked.preparation.inputs.dataset
    of_shape: dict[tuple[Any, ...], float] = {}
    seconds: dict[TrialConfig, float] = {}
    for config in checked.possible:
        shape = config.shape, config.batch_size, config.precision
        if shape not in of_shape:
            of_shape[shape] = step_seconds(preparation, config, execution)
        evaluated = config.evaluations * len(dataset.evaluation) + len(dataset.full or ())
        steps = FORWARD_SHARE * evaluated / config.batch_size
        seconds[config] = of_shape[shape] * (steps + trial_steps(len(dataset.train), config))
    return seconds


def _sizes(
    preparation: Preparation, configs: list[TrialConfig]
) -> tuple[Callable[[TrialConfig], tuple[int, int]], int]:
    """Of a trial's checkpoint, and of the teacher's outputs; all examples are tokenised, to know
    their lengths and the rows that are in use."""
    models = [model for model in (preparation, preparation.student) if model is not None]
    with TemporaryDirectory() as folder:
        data = [prepare_tokens(m.tokenizer, m.base, m.inputs, Path(folder)) for m in models]
        rows, split = [len(tokens.in_use) for tokens in data], trained_on(data[0].splits)
    teacher = preparation.base.config
    kinds = {LOGITS: (), **states_read(configs, teacher.num_hidden_layers)}

    def of_trial(config: TrialConfig) -> tuple[int, int]:
        own = rows[-1 if config.initialisation == PRETRAINED else 0]
        return bytes_of_shape(config, preparation.shape_of(config), teacher.hidden_size, own)

    return of_trial, outputs_bytes(kinds, teacher, split)
