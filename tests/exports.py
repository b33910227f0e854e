"""Small runs with trained students, made through trials and the record, without Ray."""

import io
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console

from search.disk import prune
from search.preparation import prepare_again
from search.record import Run, create_run, read_run
from search.request import Request
from tests.conftest import tiny_classifier
from trainable.checkpoint import save_checkpoint
from trainable.config import TrialConfig
from trainable.task import Task
from trainable.trial import Trial

MAX_LENGTH = 16  # tokens; a third of the sentences are longer
PLAN = {
    "scheduler": "asha",
    "compare_within": ["initialisation"],
    "keep": 5,
    "started": "2026-11-24T10:00:00+00:00",
    "device": "a processor",
    "commit": "0123456789",
    "uncommitted_changes": False,
    "versions": {"python": "3.11", "ray": None, "torch": "2.13"},
}


@dataclass
class SmallRun:
    """A run, and its trials' weights at their best evaluations by digest."""

    run: Run
    task: Task
    best_weights: dict[str, dict[str, torch.Tensor]]


def make_teacher(architecture, tokenizer, folder, **changes):
    """A fitted teacher on disk."""
    tiny_classifier(architecture, **changes).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def make_request(folder, teacher, data, **changes):
    values = {
        "space": "schedules",
        "preset": "mini",
        "cache": str(folder / "cache"),
        "teacher": str(teacher),
        "dataset": str(data),
        "max_length": MAX_LENGTH,
    }
    return Request(**{**values, **changes})


def make_run(folder, request, configs, **plan):
    """A run of these trials, each trained to its end and saved at each evaluation."""
    task = prepare_again(request, configs, Console(file=io.StringIO()))
    sweep = {
        **PLAN,
        "requests": [request.to_dict()],
        "evaluation_sentences": task.sentences["evaluation"],
        "task": task.to_dict(),
        **plan,
    }
    small = SmallRun(create_run(folder / "runs" / "mine", sweep, configs), task, {})
    for config in configs:
        train(small, config)
    prune(small.run)
    return small


def train(small: SmallRun, config: TrialConfig) -> None:
    """One trial, recorded as a session would."""
    run, trial = small.run, Trial.start(config, small.task, torch.device("cpu"))
    run.append({"event": "start", "trial": config.digest})
    best = -1.0
    for evaluation in trial.run():
        if evaluation.accuracy > best:
            best = evaluation.accuracy
            weights = trial.student.named_parameters()
            small.best_weights[config.digest] = {n: w.detach().clone() for n, w in weights}
        save_checkpoint(trial, run.folder / config.folder_name)
        values = {**evaluation.to_dict(), "saving_seconds": 0.0}
        event = {"event": "evaluation", "decision": "continue", "evaluation": values}
        run.append({**event, "trial": config.digest})


def copied(run: Run, folder: Path) -> Run:
    """The run again in a folder of its own, to be spoilt."""
    return read_run(Path(shutil.copytree(run.folder, folder / run.folder.name)))
