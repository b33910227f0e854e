"""One session of a run: runs the open trials until all have ended or it is interrupted."""

import math
import shutil
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial

import ray
import torch
from rich.console import Console

from search.plan.grid import possible_trials
from search.plan.request import LOCAL
from search.plan.resolve import ResolvedRequest
from search.plan.rungs import FACTOR, PROMOTION, WITH_RUNGS
from search.plan.time_split import MOST_SEEDS_OF_FINALS, foreseen
from search.policy.policy import Policy
from search.policy.progress import describe_bytes
from search.policy.still_to_come import is_complete, to_suggest
from search.record.run import Run
from search.record.storage import DIGESTS, RecordCopy, is_uri, location
from search.sweep.hooks.callback import RunCallback
from search.sweep.hooks.live_run import LiveRun
from search.sweep.hooks.live_table import make_display
from search.sweep.processes.cluster import cluster_size, recounted, watched
from search.sweep.processes.shared_inputs import share_inputs
from search.sweep.processes.signals import Interruption
from search.sweep.ray_setup import concurrency, make_tuner, resources_per_trial, start_ray
from trainable.common.errors import count_of
from trainable.config.trial_config import TrialConfig
from trainable.engine.devices import available_cores
from trainable.trial.checkpoint import checkpoint_bytes
from trainable.trial.tune_function import Sweep

WAITING_SHARE = 0.25  # of the memory that Ray has for trials


def run_trials(run: Run, copy: RecordCopy, console: Console, interruption: Interruption) -> None:
    """Starts Ray and runs the trials that have not ended yet.

    OSError if the disk fails, as for Ray's own files; if it fails a trial or the record,
    `interruption.problem` says how. The run can be resumed all the same.
    """
    console.print("Starting Ray ...")
    cores, gpus = available_cores(), torch.cuda.device_count()
    size = interruption.shielded(lambda: start_ray(cores, gpus, run.request.address))
    with watched(interruption):
        _run_tuners(run, copy, console, interruption, size)
    ray.shutdown()  # what it prints as it ends comes before the summary


def _run_tuners(
    run: Run, copy: RecordCopy, console: Console, interruption: Interruption, size: tuple[int, int]
) -> None:
    """Runs Tuners until the run is complete: mostly one; `size` is CPUs and GPUs.

    Another one follows if trials are left that must have a GPU for themselves, or that the first
    has given up.
    """
    request, (cores, gpus) = run.request, size
    if request.address != LOCAL and not gpus and cluster_size(with_gpus=True)[1]:
        console.print("The cluster's GPUs stay idle: this node, where the sweep runs, has none.")
    sweep = share_with_trials(run, console)
    copy.copy(DIGESTS)  # which that may have written
    progress = -1
    while not is_complete(run) and not interruption.requested and run.next_number > progress:
        progress = run.next_number
        exclusive = Policy(run).exclusive
        share = 1 if exclusive else request.trials_per_gpu
        slots = _slots(request.address, share, request.max_concurrent, cores, gpus)
        _announce(run, slots(), console)
        room = waiting_bytes(request.address, slots())
        display = make_display(console)
        live = LiveRun(run, display, interruption, copy, slots=slots, exclusive=exclusive)
        callback = RunCallback(live)
        resources, own = resources_per_trial(gpus, share), replace(sweep, waiting_bytes=room)
        tuner = make_tuner(run, own, resources, live, callback)
        try:
            tuner.fit()
        finally:
            callback.on_experiment_end()  # which Ray leaves out after an error


def _announce(run: Run, slots: int, console: Console) -> None:
    """Prints where the run lies, how many trials run at a time, and what checkpoints take."""
    configs = [trial.config for trial in run.trials.values()]
    configs = possible_trials(run.request, configs) if to_suggest(run) else configs
    sizes = partial(checkpoint_bytes, inputs=run.plan.inputs)
    trials = len(run.trials) + foreseen(to_suggest(run))
    most, end = expected_bytes(run.request, configs, sizes, trials, slots)
    where = location(run.folder)
    where += f", its record also in {run.folder}" if is_uri(where) else ""
    console.print(
        f"Run {where}: {count_of(slots)} at a time; checkpoints take up to about "
        f"{describe_bytes(most)}, {describe_bytes(end)} at the end{_shortage(run, most)}.",
        soft_wrap=True,
    )


def share_with_trials(run: Run, console: Console) -> Sweep:
    """What trials must know of the run; uploads what all share where other nodes may train."""
    shared = is_uri(location(run.folder)) or run.request.address != LOCAL
    return Sweep(
        run=location(run.folder),
        save_at=run.rungs,
        localise=share_inputs(run, console) if shared else None,
    )


def waiting_bytes(address: str, slots: int) -> int:
    """Of memory that trials which wait may take: none where several processes take turns, since
    each would have to train again what waits in another."""
    if address != LOCAL or slots > 1:
        return 0
    return int(WAITING_SHARE * ray.cluster_resources().get("memory", 0))


def _slots(address: str, share: int, limit: int | None, cores: int, gpus: int) -> Callable[[], int]:
    """How many trials run at a time, with so many cores and GPUs or in a cluster that changes."""
    if address == LOCAL:
        return lambda: concurrency(cores, gpus, share, limit)
    return recounted(lambda: concurrency(*cluster_size(with_gpus=gpus > 0), share, limit))


def _shortage(run: Run, needed: int) -> str:
    """What to add where less than that is free."""
    if is_uri(location(run.folder)) or (free := shutil.disk_usage(run.folder).free) >= needed:
        return ""
    return f", but only {describe_bytes(free)} are free there"


def expected_bytes(
    request: ResolvedRequest,
    configs: Iterable[TrialConfig],
    sizes: Callable[[TrialConfig], tuple[int, int]],
    trials: int,
    slots: int,
) -> tuple[int, int]:
    """About what the checkpoints of so many `trials` like these take on disk: the most, while
    `slots` of them run, and at the end. `sizes` are a trial's with training state and without.

    While a checkpoint is replaced, old and new stand side by side. If trials are compared, all
    seeds of a recipe but one may wait for it; if they are promoted, all that may still go on, and
    a stopped one is kept with its state.
    """
    shapes = {(c.shape, c.ema_decay > 0): c for c in configs}
    whole, student = max(map(sizes, shapes.values()))
    seeds_each = max(MOST_SEEDS_OF_FINALS, request.seeds)
    finals = (request.finals + 2) * seeds_each if request.finals else 0
    trials, seeds = trials + finals, request.seeds
    kept = min(request.keep + len(request.shapes) + finals, trials)
    held = 2 * slots
    if request.scheduler in WITH_RUNGS and not request.searched:
        held += slots * (seeds - 1)
    if request.scheduler == PROMOTION:
        held, student = held + math.ceil(trials / FACTOR), whole
    return min(held * whole + kept * student, (trials + slots) * whole), kept * student
