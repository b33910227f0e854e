"""Small runs with trained students, made through trials and the record, without Ray."""

import io
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from rich.console import Console

from search.plan.resolve import ResolvedRequest
from search.record.run import Run, create_run, read_run
from search.sweep.check_sweep import prepare_again
from tests.conftest import tiny_classifier
from tests.made_runs import PROVENANCE, made_plan
from trainable.config.training_inputs import TrainingInputs
from trainable.config.trial_config import TrialConfig
from trainable.trial.checkpoint import write_checkpoint
from trainable.trial.training_loop import Trial

MAX_LENGTH = 16  # tokens; a third of the examples are longer
VERSIONS = {"python": "3.11", "ray": None, "torch": "2.13"}


@dataclass
class SmallRun:
    """A run, and its trials' weights, or averages, at their end by digest."""

    run: Run
    inputs: TrainingInputs
    weights: dict[str, dict[str, torch.Tensor]]


def make_teacher(architecture, tokenizer, folder, **changes):
    """A fitted teacher on disk."""
    tiny_classifier(architecture, **changes).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def make_run(folder, teacher, data, configs, **options):
    """A run of these trials, each trained to its end."""
    where = {"teacher": str(teacher), "dataset": str(data), "cache": str(folder / "cache")}
    options |= {"max_length": MAX_LENGTH, "allow_weak_teacher": True, **where}
    options |= {"searcher": "grid", "scheduler": "asha"}
    request = ResolvedRequest(space="schedules", preset="mini", **options)
    inputs = prepare_again(request, configs, Console(file=io.StringIO()))
    made = PROVENANCE | {"versions": VERSIONS}
    plan = made_plan(configs, request, inputs=inputs, provenance=made)
    small = SmallRun(create_run(folder / "runs" / "mine", plan), inputs, {})
    for config in configs:
        train(small, config)
    return small


def train(small: SmallRun, config: TrialConfig) -> None:
    """One trial, recorded as a session would; its checkpoint is that of its end."""
    run, trial = small.run, Trial.start(config, small.inputs, torch.device("cpu"))
    run.append({"event": "start", "trial": config.digest})
    for evaluation in trial.run():
        values = {**asdict(evaluation), "saving_seconds": 0.0}
        event = {"event": "evaluation", "decision": "continue", "evaluation": values}
        run.append({**event, "trial": config.digest})
    named, averages = trial.student.named_parameters(), trial.setup.step.averages
    scored = averages.averages if averages else trial.student.parameters()
    end = {name: tensor.clone() for (name, _), tensor in zip(named, scored, strict=True)}
    small.weights[config.digest] = end
    checkpoint = run.folder / config.folder_name / "checkpoint_000000"
    checkpoint.mkdir()
    write_checkpoint(trial, checkpoint)


def copied(run: Run, folder: Path) -> Run:
    """The run again in a folder of its own, to be spoilt."""
    return read_run(Path(shutil.copytree(run.folder, folder / run.folder.name)))
