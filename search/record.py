"""A run's own record: what was planned (`sweep.json`) and what happened (`record.jsonl`).

Both are plain JSON, the second only ever appended to; reading them needs neither Ray nor torch.
Ray keeps its own files beside them in the same folder.
"""

import json
import os
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from trainable.config import TrialConfig
from trainable.errors import UserError

SWEEP, RECORD = "sweep.json", "record.jsonl"
FORMAT = 1

PENDING, RUNNING = "pending", "running"
FINISHED, STOPPED, FAILED = "finished", "stopped", "failed"
ENDED = (FINISHED, STOPPED, FAILED)


@dataclass
class TrialRecord:
    """What is known of one trial; `evaluations` are Evaluation.to_dict(), one for each n."""

    config: TrialConfig
    outcome: str = PENDING
    reason: str = ""  # of a failure
    evaluations: list[dict[str, Any]] = field(default_factory=list)

    @property
    def best5(self) -> float | None:
        """None before the first evaluation."""
        return self.evaluations[-1]["best5_accuracy"] if self.evaluations else None

    @property
    def seconds(self) -> float:
        """Spent in training and evaluation."""
        parts = ("training_seconds", "evaluation_seconds")
        return float(sum(e[part] for e in self.evaluations for part in parts))


@dataclass
class Run:
    """A sweep: what `sweep.json` says and its trials by digest, in the order planned."""

    folder: Path
    sweep: dict[str, Any]
    trials: dict[str, TrialRecord]

    @property
    def interrupted(self) -> bool:
        """Whether some trial has not ended."""
        return any(trial.outcome not in ENDED for trial in self.trials.values())

    def apply(self, event: dict[str, Any]) -> None:
        """Takes in one event; a trial that went back evaluates anew, and that is what counts."""
        trial = self.trials[event["trial"]]
        match event["event"]:
            case "start":
                trial.outcome, trial.reason = RUNNING, ""
            case "evaluation":
                values = event["evaluation"]
                number = values["evaluations"]
                if number <= len(trial.evaluations) + 1:
                    trial.evaluations[number - 1 :] = [values]
            case "end":
                trial.outcome, trial.reason = event["outcome"], event.get("reason", "")


def refuse_existing(folder: Path) -> None:
    """UserError, which says how to resume it, where there is a run of that name."""
    if folder.exists():
        raise UserError(
            f"--name {folder.name}: {folder} exists; choose another name, or go on with it: "
            f"python -m search.run --resume {shlex.quote(str(folder))}"
        )


def create_run(folder: Path, sweep: dict[str, Any], configs: list[TrialConfig]) -> Run:
    """Makes the run's folder with its plan; UserError where there is one of that name."""
    refuse_existing(folder)
    folder.mkdir(parents=True)
    plan = {"format": FORMAT, **sweep, "trials": [config.to_dict() for config in configs]}
    temporary = folder / f".{SWEEP}"
    temporary.write_text(json.dumps(plan, indent=2) + "\n", encoding="utf-8")
    temporary.rename(folder / SWEEP)
    return Run(folder, plan, _pending(configs))


def append_event(folder: Path, event: dict[str, Any]) -> None:
    """Adds a line to the record and has it on disk before it returns."""
    with (folder / RECORD).open("ab+") as file:
        if file.tell() and not _ends_with_newline(file):
            file.write(b"\n")  # a line cut short by a kill stays alone and is passed over
        file.write(json.dumps(event).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def _ends_with_newline(file: BinaryIO) -> bool:
    file.seek(-1, os.SEEK_END)
    return file.read(1) == b"\n"


def find_run(flag: str, name: str, storage: Path) -> Path:
    """The folder of a run given by path or name; UserError that names `flag` if there is none."""
    for folder in (Path(name).expanduser(), storage / name):
        if (folder / SWEEP).is_file():
            return folder.resolve()
    names = sorted(path.parent.name for path in storage.glob(f"*/{SWEEP}"))
    raise UserError(f"{flag} {name}: no such run in {storage}; there: {', '.join(names) or 'none'}")


def read_run(folder: Path) -> Run:
    """The run as its record tells it; a last line that was cut short is left out."""
    sweep = json.loads((folder / SWEEP).read_text(encoding="utf-8"))
    if sweep["format"] > FORMAT:
        raise UserError(f"RUN {folder}: written by a newer version (format {sweep['format']})")
    run = Run(folder, sweep, _pending([TrialConfig.from_dict(c) for c in sweep["trials"]]))
    for event in read_events(folder):
        run.apply(event)
    return run


def read_events(folder: Path) -> list[dict[str, Any]]:
    """All whole lines of the record, in order."""
    path = folder / RECORD
    events = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            events.append(json.loads(line))
        except json.JSONDecodeError:
            continue  # cut short when the process was killed
    return events


def _pending(configs: list[TrialConfig]) -> dict[str, TrialRecord]:
    return {config.digest: TrialRecord(config) for config in configs}
