"""How many trials share this GPU, measured once before a sweep and kept."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import torch

from trainable.batches import epoch_batches
from trainable.config import TrialConfig
from trainable.digest import digest_values
from trainable.engine import Training
from trainable.environment import device_name, gpu_bytes
from trainable.errors import UserError
from trainable.files import read_json, whole_file, write_json
from trainable.gpu_sharing import Decision, Limits, Probe, decide
from trainable.probe_processes import ProbeError, ProbeSubject, Start, measure
from trainable.task import Task
from trainable.trial import Trial

PROBE_ALPHA = 0.5  # all parts of the loss count


@dataclass
class TrialSteps:
    """The steps of a trial, over one epoch again and again, at learning rate 0."""

    trial: Trial
    _batches: Iterator[np.ndarray] = field(init=False)

    def __post_init__(self) -> None:
        lengths, config = self._training.sentences.lengths, self.trial.config
        epoch = epoch_batches(lengths, config.batch_size, config.seed, epoch=0)
        self._batches = cycle(epoch)
        self._longest = np.argsort(lengths, kind="stable")[-config.batch_size :]
        self.trial.distillation.alpha.fill_(PROBE_ALPHA)
        self._capture(epoch)

    @property
    def execution(self) -> str:
        """EAGER also where capturing was tried and failed."""
        return self._training.executor.name

    @property
    def reason(self) -> str:
        """Why capturing failed, or nothing."""
        return self._training.executor.problem

    def step(self) -> int:
        """Takes a step on the next batch; returns its sentences."""
        return self._take(next(self._batches))

    def longest_step(self) -> int:
        """The same on the longest sentences of the split."""
        return self._take(self._longest)

    def _capture(self, epoch: list[np.ndarray]) -> None:
        """Has all that a trial captures captured: steps of each width, and evaluations."""
        training = self._training
        widths = {training.executor.width(training.sentences.longest(rows)): rows for rows in epoch}
        for rows in (*widths.values(), *widths.values()):
            self._take(rows)
        for _ in range(2):
            self.trial.apparatus.evaluators["evaluation"].correct()

    def _take(self, rows: np.ndarray) -> int:
        self._training.step(rows, 0.0)
        return len(rows)

    @property
    def _training(self) -> Training:
        return self.trial.apparatus.training


def start_trial(config: dict[str, Any], task: dict[str, Any]) -> ProbeSubject:
    """The trial of a sweep, ready to step."""
    described = Task.from_dict(task)
    device = torch.device(described.device)
    return TrialSteps(Trial.start(TrialConfig.from_dict(config), described, device))


def probe_key(config: TrialConfig, task: Task, *, mps: bool) -> str:
    """Sixteen hexadecimal digits of all that decides a probe's numbers.

    The digests of data and teacher stand for the lengths of sentences and the student's shape.
    """
    of_step = {
        "student_layers": config.student_layers,
        "student_width": config.student_width,
        "batch_size": config.batch_size,
        "precision": config.precision,
        "aligned_layers": config.aligned_layers,
        "hidden_pool": config.hidden_pool,
        "uses_teacher_outputs": config.uses_teacher_outputs,
        "data": task.data_digest,
        "teacher": task.teacher.digest,
        **asdict(task.execution),
    }
    machine = {
        "device": device_name(),
        "bytes": gpu_bytes(),
        "torch": torch.__version__,
        "mps": mps,
    }
    return digest_values(of_step | machine)[:16]


def share_gpu(
    config: TrialConfig,
    task: Task,
    cache: Path,
    *,
    most: int,
    mps: bool,
    start: Start = start_trial,
) -> tuple[Decision, Probe]:
    """How many trials like this one share the first GPU, at most `most`, and what was measured.

    Measurements are kept in the cache and found again; only those that are lacking are made.
    Raises UserError where not even one trial fits the GPU's memory, and ProbeError where nothing
    could be measured for another reason.
    """
    kept = cache / "gpu_sharing" / f"{probe_key(config, task, mps=mps)}.json"
    probe = _kept_probe(kept)
    if probe is None:
        probe = _probe_alone(config, task, start)
        _keep(kept, probe)
    while True:
        decision = decide(probe.measurements, Limits(probe.free_bytes, most, mps))
        if decision.untried is None:
            return decision, probe
        more = measure(
            decision.untried,
            start,
            config.to_dict(),
            task.to_dict(),
            steps=probe.measurements[0].steps,
        )
        measured = (*probe.measurements, *more.measurements)
        probe = Probe(probe.free_bytes, probe.total_bytes, measured)
        if not more.measurements[0].error or more.measurements[0].out_of_memory:
            _keep(kept, probe)


def _probe_alone(config: TrialConfig, task: Task, start: Start) -> Probe:
    probe = measure(1, start, config.to_dict(), task.to_dict())
    (alone,) = probe.measurements
    if alone.out_of_memory:
        raise UserError(
            f"batch_size: {config.batch_size} sentences a step do not fit the GPU's memory "
            f"({probe.free_bytes / 1e9:.1f} GB free of {probe.total_bytes / 1e9:.1f}), even in one "
            "trial alone; give a smaller --set batch_size= or --max-length, or use a bigger GPU"
        )
    if alone.error:
        raise ProbeError(alone.error)
    return probe


def _kept_probe(path: Path) -> Probe | None:
    """What an earlier probe kept; None where there is nothing of use."""
    try:
        probe = Probe.from_dict(read_json(path))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return probe if probe.measurements and probe.measurements[0].trials == 1 else None


def _keep(path: Path, probe: Probe) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as temporary:
        write_json(temporary, probe.to_dict())
