"""Small runs with trained students, made through trials and the record, without Ray."""

import io
import shutil
from dataclasses import asdict
from pathlib import Path

import torch
from rich.console import Console

from search.plan.resolve import ResolvedRequest
from search.record.run import Run, create_run, read_run
from search.sweep.check_sweep import prepare_again
from tests.made_runs import PROVENANCE, evaluated, made_plan, started
from trainable.trial.checkpoint import write_checkpoint
from trainable.trial.training_loop import Trial

MAX_LENGTH = 16  # tokens; a third of the examples are longer
VERSIONS = {"versions": {"python": "3.11", "ray": None, "torch": "2.13"}}


def make_run(folder, teacher, data, configs, **options):
    """A run of these trials, each trained to its end."""
    options |= {"teacher": str(teacher), "dataset": str(data), "cache": str(folder / "cache")}
    options |= {"max_length": MAX_LENGTH, "allow_weak_teacher": True, "searcher": "grid"}
    request = ResolvedRequest(space="schedules", preset="mini", scheduler="asha", **options)
    inputs = prepare_again(request, configs, Console(file=io.StringIO()))
    plan = made_plan(configs, request, inputs=inputs, provenance=PROVENANCE | VERSIONS)
    run = create_run(folder / "runs" / "mine", plan)
    for config in configs:
        train(run, config, inputs)
    return run


def train(run, config, inputs):
    """One trial, recorded as a session would; its checkpoint is that of its end."""
    trial = Trial.start(config, inputs, torch.device("cpu"))
    run.append(started(config))
    for evaluation in trial.run():
        values = {**asdict(evaluation), "saving_seconds": 0.0}
        run.append({**evaluated(config, 1), "evaluation": values})
    checkpoint = run.folder / config.folder_name / "checkpoint_000000"
    checkpoint.mkdir()
    write_checkpoint(trial, checkpoint)


def copied(run: Run, folder: Path) -> Run:
    """The run again in a folder of its own, to be spoilt."""
    return read_run(Path(shutil.copytree(run.folder, folder / run.folder.name)))
