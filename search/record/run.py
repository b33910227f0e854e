"""A run's own record: what was planned (`sweep.json`) and what happened (`record.jsonl`).

Both are plain JSON, the second only ever appended to; reading them needs neither Ray nor torch.
Whatever one file of a run loses, another has: the record holds the plan too, and each trial's
folder a copy of the trial's events, without the correct/wrong bits of its evaluations. Events are
numbered, so the copies merge into one order.
"""

import json
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from search.plan.asha_rules import rungs
from search.plan.plan import FORMAT, Plan
from search.plan.request import Request
from search.record.trial_record import ENDED, TrialRecord
from trainable.common.errors import UserError
from trainable.common.files import atomic_file, write_json
from trainable.config.trial_config import TrialConfig
from trainable.engine.metrics import without_bits

SWEEP, RECORD = "sweep.json", "record.jsonl"
SUGGESTION = "suggestion"  # an event that adds a trial
EXHAUSTED = "exhausted"  # an event: the searcher finds nothing that the run does not have

TIMINGS = ("training_seconds", "evaluation_seconds", "saving_seconds")  # of an evaluation


@dataclass
class Run:
    """A sweep: its plan, its trials by digest in the order planned, and its record to write to.

    A searched sweep's plan has the trials that come first; the others are in the record only.
    """

    folder: Path
    plan: Plan
    trials: dict[str, TrialRecord]
    next_number: int = 0  # of the event to come
    seconds: float = 0.0  # that its sessions took so far, from their first event to their last
    last_time: float | None = None  # of the last event
    exhausted: bool = False  # whether its searcher has found nothing new

    @property
    def unfinished(self) -> bool:
        """Whether some trial has not ended, or one is still to be added by a searcher."""
        return self.growing or any(t.outcome not in ENDED for t in self.trials.values())

    @property
    def growing(self) -> bool:
        """Whether a searcher is still to add trials."""
        return self.to_suggest > 0 or bool(self.missing_seeds)

    @property
    def request(self) -> Request:
        """What was asked for last."""
        return self.plan.request

    @property
    def any_config(self) -> TrialConfig:
        """Of a trial, for what all share: `evaluations` and `precision`."""
        return next(iter(self.trials.values())).config

    @property
    def rungs(self) -> tuple[int, ...]:
        """The numbers of evaluations at which ASHA decides; none under another scheduler."""
        if self.request.scheduler != "asha" or not self.trials:
            return ()
        return tuple(rungs(self.any_config.evaluations, self.plan.grace_evaluations))

    @property
    def to_suggest(self) -> float:
        """Configurations that a searcher is still to suggest; infinite where only time limits it.

        0 once the time budget is spent or the space exhausted.
        """
        if not self.request.searched or self.exhausted:
            return 0
        request, have = self.request, {trial.config.recipe for trial in self.trials.values()}
        spent = request.time_budget is not None and self.seconds >= request.time_budget
        return 0 if spent else max(0, request.wanted - len(have))

    @property
    def missing_seeds(self) -> list[tuple[TrialConfig, dict[str, Any]]]:
        """Trials, each with its draw, that suggested configurations lack of the seeds asked for."""
        if not self.request.searched:
            return []
        first = {trial.config.recipe: trial for trial in reversed(self.trials.values())}
        return [
            (config, trial.parameters or {})
            for trial in reversed(first.values())
            for config in self.request.on_all_seeds(trial.config)
            if config.digest not in self.trials
        ]

    def add_missing_seeds(self) -> None:
        """Records them: where more are asked for, or a kill cut a suggestion short."""
        for config, drawn in self.missing_seeds:
            self.add_suggestion(config, drawn)

    def trial_folder(self, trial: TrialRecord) -> Path:
        """Where everything of a trial lies."""
        return self.folder / trial.config.folder_name

    def append(self, event: dict[str, Any]) -> None:
        """Numbers an event, has it on disk, and takes it in; OSError where it can't be written."""
        stamped = {"number": self.next_number, "time": round(time.time(), 3), **event}
        line = json.dumps(stamped).encode()
        _append_line(self.folder / RECORD, line)
        self.next_number += 1
        if "trial" in event:
            added = event["event"] == SUGGESTION
            trial = _suggested(event) if added else self.trials[event["trial"]]
            self.trial_folder(trial).mkdir(exist_ok=True)
            _append_line(
                self.trial_folder(trial) / RECORD, json.dumps(_without_bits(stamped)).encode()
            )
        self.apply(stamped)

    def apply(self, event: dict[str, Any]) -> None:
        """Brings clock and trials up to an event of the record."""
        now = float(event.get("time", self.last_time or 0.0))
        if event["event"] not in ("plan", "session") and self.last_time is not None:
            self.seconds += max(0.0, now - self.last_time)
        self.last_time = now
        if event["event"] == SUGGESTION and event["trial"] not in self.trials:
            self.trials[event["trial"]] = _suggested(event)
        if event["event"] == "session":
            for known in self.trials.values():
                known.lost_nodes = 0
        trial = self.trials.get(event.get("trial", ""))
        if trial is not None:
            trial.apply(event)
        self.exhausted = self.exhausted or event["event"] == EXHAUSTED

    def add_suggestion(self, config: TrialConfig, parameters: dict[str, Any]) -> TrialRecord:
        """Records a trial beyond the plan, as a searcher drew it."""
        event = {"event": SUGGESTION, "trial": config.digest, "config": asdict(config)}
        self.append({**event, "parameters": parameters})
        return self.trials[config.digest]

    def replan(self, changes: dict[str, Any], configs: list[TrialConfig]) -> None:
        """Puts a plan with these changes and these more trials in the place of the present one."""
        plan = replace(
            self.plan,
            **changes,
            trials=(*self.plan.trials, *configs),
            revision=self.plan.revision + 1,
        )
        self.append({"event": "plan", "plan": asdict(plan)})
        _write_plan(self.folder, plan)
        self.plan = plan
        self.trials |= _pending(configs, plan)


def create_run(folder: Path, plan: Plan) -> Run:
    """Makes the plan's files in the run's folder."""
    folder.mkdir(parents=True, exist_ok=True)
    _write_plan(folder, plan)
    run = Run(folder, plan, _pending(plan.trials, plan))
    run.append({"event": "plan", "plan": asdict(plan)})
    return run


def read_run(folder: Path) -> Run:
    """The run as recorded, from whichever files are intact.

    Raises UserError for a run of another format and for one whose plan is lost.
    """
    events = read_events(folder)
    plan = Plan.from_dict(_read_plan(folder, events))
    run = Run(folder, plan, _pending(plan.trials, plan))
    for event in events:
        run.apply(event)
    run.next_number = events[-1]["number"] + 1 if events else 0
    return run


def read_events(folder: Path) -> list[dict[str, Any]]:
    """All events of a run, in order, each once, from the record and the trials' copies."""
    found: dict[int, dict[str, Any]] = {}
    for path in _copies(folder):  # the record first
        for event in _read_lines(path):
            found.setdefault(event["number"], event)
    return [found[number] for number in sorted(found)]


def written_plan(folder: Path) -> dict[str, Any] | None:
    """What the `sweep.json` of a run holds; None where there is no whole one."""
    try:
        values = json.loads((folder / SWEEP).read_bytes())
    except (OSError, ValueError):
        return None
    return values if isinstance(values, dict) and "format" in values else None


def repair(run: Run) -> list[str]:
    """Completes each of a run's files from the others; returns a line for each repair.

    A last line that a kill cut short is no damage: nothing had been done upon it yet.
    """
    events, repairs = read_events(run.folder), []
    kept = {event["number"] for event in _read_lines(run.folder / RECORD)}
    missing = [event for event in events if event["number"] not in kept]
    if missing:
        lost = sum(event["event"] == "evaluation" for event in missing)
        repairs.append(
            f"{RECORD} was damaged: {len(missing)} event(s) put back from the trials' copies"
            + (f", {lost} evaluation(s) without their correct/wrong bits" if lost else "")
        )
    _rewrite(run.folder / RECORD, events)
    for digest, trial in run.trials.items():
        of_trial = [_without_bits(event) for event in events if event.get("trial") == digest]
        if of_trial:
            run.trial_folder(trial).mkdir(exist_ok=True)
            _rewrite(run.trial_folder(trial) / RECORD, of_trial)
    plan = json.loads(json.dumps(asdict(run.plan)))
    if written_plan(run.folder) != plan:
        repairs.append(f"{SWEEP} was damaged: put back from {RECORD}")
        _write_plan(run.folder, run.plan)
    if plan not in [event["plan"] for event in events if event["event"] == "plan"]:
        repairs.append(f"{RECORD} had lost the plan: put back from {SWEEP}")
        run.append({"event": "plan", "plan": plan})
    return repairs


def _rewrite(path: Path, events: list[dict[str, Any]]) -> None:
    """Makes a record hold these events, all of them in whole lines, where it does not."""
    wanted = b"".join(json.dumps(event).encode() + b"\n" for event in events)
    if not path.is_file() or path.read_bytes() != wanted:
        with atomic_file(path) as temporary:
            temporary.write_bytes(wanted)


def _copies(folder: Path) -> Iterator[Path]:
    yield folder / RECORD
    yield from folder.glob(f"*/{RECORD}")


def _read_plan(folder: Path, events: list[dict[str, Any]]) -> dict[str, Any]:
    plans = [event.get("plan", {}) for event in events if event["event"] == "plan"]
    plans += [plan] if (plan := written_plan(folder)) else []
    if not plans:
        raise UserError(
            f"RUN {folder}: {SWEEP} is cut short and {RECORD} has lost its first line; "
            "put one of them back from a copy"
        )
    newest = max(plans, key=lambda plan: int(plan.get("revision", 0)))
    written = newest.get("format", 0)
    if written != FORMAT:
        age = "a newer" if written > FORMAT else "an older"
        raise UserError(
            f"RUN {folder}: written by {age} version (this version reads format {FORMAT} only); "
            "use that version, nothing was changed"
        )
    return dict(newest)


def _write_plan(folder: Path, plan: Plan) -> None:
    with atomic_file(folder / SWEEP) as path:
        write_json(path, asdict(plan))


def _read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The whole lines of a record; those cut short by a kill are passed over."""
    for line in path.read_bytes().split(b"\n") if path.is_file() else ():
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict) and isinstance(event.get("number"), int) and "event" in event:
            yield event


def _append_line(path: Path, line: bytes) -> None:
    """Adds a line and has it on disk before it returns."""
    with path.open("ab+") as file:
        if file.tell() and not _ends_with_newline(file):
            file.write(b"\n")  # a line cut short by a kill stays alone and is passed over
        file.write(line + b"\n")
        file.flush()
        os.fsync(file.fileno())


def _ends_with_newline(file: BinaryIO) -> bool:
    file.seek(-1, os.SEEK_END)
    return file.read(1) == b"\n"


def _suggested(event: dict[str, Any]) -> TrialRecord:
    return TrialRecord(TrialConfig.from_dict(event["config"]), parameters=event["parameters"])


def _pending(configs: Iterable[TrialConfig], plan: Plan) -> dict[str, TrialRecord]:
    return {c.digest: TrialRecord(c, parameters=plan.parameters.get(c.digest)) for c in configs}


def _without_bits(event: dict[str, Any]) -> dict[str, Any]:
    """An event without the bits of its evaluation, which are kept once."""
    if event["event"] != "evaluation":
        return event
    return {**event, "evaluation": without_bits(event["evaluation"])}
