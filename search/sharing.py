"""How many trials share a GPU in this sweep: as asked for, as kept with the run, or measured."""

from collections.abc import Sequence
from dataclasses import replace
from math import ceil
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from transformers import AutoConfig

from search.record import Run
from search.remote_runs import cache_here
from trainable.config import TrialConfig
from trainable.environment import available_cores, device_name
from trainable.execution import Execution
from trainable.gpu_probe import probe_key, share_gpu
from trainable.gpu_sharing import heaviest
from trainable.mps import mps_running
from trainable.names import EAGER, GRAPH
from trainable.probe_processes import ProbeError
from trainable.task import Task


def settle_sharing(
    task: Task,
    configs: Sequence[TrialConfig],
    cache: Path,
    *,
    asked: int | None,
    max_concurrent: int | None,
    console: Console,
) -> dict[str, Any]:
    """The plan's `trials_per_gpu` and `gpu_sharing`: why so many, and all that was measured.

    Says it in a line. Raises UserError where not even one trial fits the GPU. Without a GPU
    nothing is measured or said, and `gpu_sharing` is None.
    """
    if not torch.cuda.device_count():
        return {"trials_per_gpu": asked or 1, "gpu_sharing": None}
    if asked is None:
        sharing = _measured(task, configs, cache, max_concurrent, kept=None)
    else:
        sharing = _asked_for(asked)
    _say(sharing, console)
    return {"trials_per_gpu": sharing["trials_per_gpu"], "gpu_sharing": sharing}


def settle_again(
    run: Run,
    task: Task,
    more: Sequence[TrialConfig],
    changes: dict[str, Any],
    console: Console,
) -> dict[str, Any]:
    """The same for a run that goes on with these more trials and changes of its plan.

    What the plan has stands, unless it was measured of another GPU, of lighter trials, with or
    without MPS, or for fewer places than there are now.
    """
    plan = {**run.sweep, **changes}
    kept: dict[str, Any] | None = plan.get("gpu_sharing")
    if not torch.cuda.device_count():
        return {}
    if "trials_per_gpu" in changes:
        sharing = _asked_for(plan["trials_per_gpu"])
    elif kept is None:  # planned by an earlier version, or where there was no GPU
        return {}
    elif kept["asked"]:
        sharing = kept
    else:
        configs = [*(trial.config for trial in run.trials.values()), *more]
        sharing = _measured(task, configs, cache_here(run), plan["max_concurrent"], kept)
    _say(sharing, console)
    return {"trials_per_gpu": sharing["trials_per_gpu"], "gpu_sharing": sharing}


def _asked_for(trials: int) -> dict[str, Any]:
    return {
        "trials_per_gpu": trials,
        "why": "asked for with --trials-per-gpu, nothing measured",
        "asked": True,
        "mps": mps_running(),
    }


def _measured(
    task: Task,
    configs: Sequence[TrialConfig],
    cache: Path,
    max_concurrent: int | None,
    kept: dict[str, Any] | None,
) -> dict[str, Any]:
    """The decision by the heaviest trial, as JSON values; `kept` where it is still the answer."""
    teacher = AutoConfig.from_pretrained(task.teacher.folder)
    config, mps = heaviest(configs, teacher.hidden_size), mps_running()
    key, most = probe_key(config, task, mps=mps), most_at_once(len(configs), max_concurrent)
    if kept is not None and (kept["key"], kept["most"]) == (key, most):
        return kept
    found = {
        "asked": False,
        "mps": mps,
        "device": device_name(),
        "key": key,
        "most": most,
        "trial": config.digest,
    }
    try:
        decision, probe = share_gpu(config, task, cache, most=most, mps=mps)
    except ProbeError as error:
        why = f"how many could share it was not found out, {error}"
        return {"trials_per_gpu": 1, "why": why, **found, "key": None}  # tried again on resuming
    chosen = {"trials_per_gpu": decision.trials_per_gpu, "why": decision.why}
    return {**chosen, **found, **probe.to_dict()}


def as_measured(task: Task, sharing: dict[str, Any] | None, console: Console) -> Task:
    """The task as trials are to execute it: as it is where a capture failed, which is said."""
    measurements = (sharing or {}).get("measurements", ())
    failed = task.execution.executor == GRAPH and any(
        m["execution"] == EAGER and not m["error"] for m in measurements
    )
    if not failed:
        return task
    _tell(f"Steps run one by one, capturing them failed: {measurements[0]['reason']}.", console)
    return replace(task, execution=Execution())


def most_at_once(trials: int, max_concurrent: int | None) -> int:
    """Trials that may run at once on each GPU: one a core, no more than there are or asked for."""
    gpus = torch.cuda.device_count()
    of_all = min(trials, max_concurrent or trials)
    return max(1, min(available_cores() // gpus, ceil(of_all / gpus)))


def _say(sharing: dict[str, Any], console: Console) -> None:
    """`2 trials share the GPU: 3,120 sentences/s together, 1,800 alone; ...`"""
    count, gpu = sharing["trials_per_gpu"], "the GPU" if torch.cuda.device_count() == 1 else "a GPU"
    who = f"{count} trials share {gpu}" if count > 1 else f"1 trial at a time on {gpu}"
    with_mps = ", with MPS" if sharing["mps"] and count > 1 else ""
    _tell(f"{who}{with_mps}: {sharing['why']}.", console)


def _tell(line: str, console: Console) -> None:
    console.print(line, soft_wrap=True)
