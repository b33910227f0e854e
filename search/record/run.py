"""A run's own record: what was planned (`sweep.json`) and what happened (`record.jsonl`).

Both are plain JSON with checksums; reading them needs neither Ray nor torch. Whatever one file of a
run loses, another has: the record holds the plan, too (`search.record.events`).
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

from search.plan.plan import Plan
from search.plan.resolve import ResolvedRequest
from search.plan.rungs import FACTOR, WITH_RUNGS, rungs
from search.record.events import (
    DECIDED,
    EXHAUSTED,
    FALLBACK,
    LOST,
    RECORD,
    SLOTS,
    SUGGESTION,
    Event,
    append_event,
    bare,
    clock,
    fill_gaps,
    read_log,
    repair_events,
)
from search.record.plan_file import SWEEP, newest_plan, revision, write_plan, written_plan
from search.record.trial_record import FINISHED, PENDING, RUNNING, TrialRecord
from trainable.common.errors import UserError, as_user_error, count_of
from trainable.config.fields import from_plain
from trainable.config.names import EAGER, GRAPH, PLAIN
from trainable.config.training_inputs import Execution
from trainable.config.trial_config import TrialConfig


@dataclass
class Run:
    """A sweep: its plan, its trials by digest in the order planned, and its record to write to.

    The plan of a searched sweep or a confirmation has the trials that come first; the others are in
    the record only.
    """

    folder: Path
    plan: Plan
    trials: dict[str, TrialRecord]
    next_number: int = 0  # of the event to come
    seconds: float = 0.0  # that the teacher's outputs took, and its sessions so far
    final_seconds: float = 0.0  # of these, since finals were planned
    starting_seconds: float = 0.0  # of these, in which Ray started
    slot_seconds: float = 0.0  # of the others, each times the slots that there were
    last_time: float | None = None  # of the last event
    events: list[Event] = field(default_factory=list, compare=False, repr=False)  # in order
    exhausted: bool = False  # whether its searcher has found nothing new
    decided: bool = False  # whether finals, race or looks need no more trials, as its plan is
    lengthened: bool = False  # whether more time or finals were asked for since finals were planned
    fallbacks: list[str] = field(default_factory=list)  # what trials do otherwise than was wanted
    lost: int = 0  # events that no copy had
    slots: int = 1  # how many trials may run at a time; one that waits at a rung does not
    first_slots: int = 0  # the same as the first began
    damage: list[str] = field(default_factory=list, compare=False)  # a line for each kind found

    @property
    def trial_seconds(self) -> float:
        """Of `seconds`, those in which trials ran."""
        return self.seconds - self.plan.inputs.outputs_seconds - self.starting_seconds

    @property
    def finished(self) -> list[TrialRecord]:
        """The trials that ran to their end."""
        return [trial for trial in self.trials.values() if trial.outcome == FINISHED]

    @property
    def request(self) -> ResolvedRequest:
        """What was asked for last."""
        return self.plan.request

    @property
    def execution(self) -> Execution:
        """How its trials run their steps: as planned, less what could not be captured."""
        lost = [reason.partition(": ")[0] for reason in self.fallbacks]
        captured = Execution(GRAPH) if PLAIN in lost else self.plan.inputs.execution
        return Execution(EAGER) if EAGER in lost else captured

    @property
    def any_config(self) -> TrialConfig:
        """Of a trial, for what all share: `evaluations` and `precision`."""
        return next(iter(self.trials.values())).config

    @property
    def last_trial(self) -> TrialRecord:
        """The one that was planned or suggested last."""
        return next(reversed(self.trials.values()))

    @property
    def finals_begun(self) -> bool:
        """Whether the finals are there; not once the search was extended, which has others."""
        return self.last_trial.final and not self.lengthened

    @property
    def default_recipe(self) -> TrialConfig | None:
        """What its preset does with nothing searched; None as of `ResolvedRequest.default`."""
        config = self.plan.requests[0].default
        return config and replace(config, precision=self.any_config.precision).recipe

    @property
    def rungs(self) -> tuple[int, ...]:
        """The numbers of evaluations at which trials are compared; none where none is stopped."""
        if self.request.scheduler not in WITH_RUNGS or not self.trials:
            return ()
        return tuple(rungs(self.any_config.evaluations, self.plan.grace_evaluations, FACTOR))

    def trial_folder(self, trial: TrialRecord) -> Path:
        """Where everything of a trial lies."""
        return self.folder / trial.config.folder_name

    def append(self, event: Event, apply: Callable[[Event], None] | None = None) -> Event:
        """Numbers an event, applies it (by default with `self.apply`), and writes it to disk.

        Returns it as recorded: `apply` may complete it. OSError if it can't be written.
        """
        event = {"number": self.next_number, "time": round(clock(), 3), **event}
        (apply or self.apply)(event)
        append_event(self.folder, event)
        self.next_number += 1
        if "trial" in event:
            folder = self.trial_folder(self.trials[event["trial"]])
            folder.mkdir(exist_ok=True)
            append_event(folder, bare(event))
        return event

    def apply(self, event: dict[str, Any]) -> None:
        """Brings clock and trials up to an event of the record."""
        self._keep_time(event, self.events[-1]["event"] if self.events else "")
        self.events.append(event)
        if event["event"] == SUGGESTION and event["trial"] not in self.trials:
            self.trials[event["trial"]] = TrialRecord.suggested(event)
            self.lengthened = self.lengthened and not self.last_trial.final
        if event["event"] == "session":  # whatever the last one was amid is to be started again
            for other in self.trials.values():
                other.outcome = PENDING if other.outcome == RUNNING else other.outcome
        if (trial := self.trials.get(event.get("trial", ""))) is not None:
            trial.apply(event)
        if event["event"] in ("start", SLOTS):
            running = sum(other.outcome == RUNNING for other in self.trials.values())
            self.slots = event.get("slots", max(self.slots, running))
            self.first_slots = self.first_slots or self.slots
        self.exhausted = self.exhausted or event["event"] == EXHAUSTED
        self.decided = self.decided or event["event"] == DECIDED
        if event["event"] == "plan":  # where more is asked for, not all is decided
            plans = [e["plan"] for e in self.events if e["event"] == "plan"][-2:]
            before, asked = _asked_for(plans[0]), _asked_for(plans[-1])
            same = before == asked and (len(plans) > 1 or not self.lost)
            self.decided, self.exhausted = self.decided and same, self.exhausted and same
            self.lengthened = self.lengthened or _lengthened(before, asked)
        self.lost += event["event"] == LOST
        if event["event"] == FALLBACK:
            self.fallbacks.append(event["reason"])

    def _keep_time(self, event: dict[str, Any], before: str) -> None:
        """Adds the seconds since the event `before` this one."""
        gap = LOST in (event["event"], before)
        now = float(event.get("time", self.last_time or 0.0))
        counts = event["event"] not in ("plan", "session") and not gap  # a night may lie in it
        if counts and self.last_time is not None:
            passed = max(0.0, now - self.last_time)
            self.seconds += passed
            self.final_seconds += passed * self.last_trial.final
            starting = before in ("session", SLOTS)
            self.starting_seconds += passed * starting
            self.slot_seconds += passed * self.slots * (not starting)
        self.last_time = now

    def replan(
        self, changes: dict[str, Any], configs: list[TrialConfig], *, write: bool = True
    ) -> None:
        """Puts a plan with these changes and these more trials in the place of the present one; on
        disk, too, if `write`."""
        changes = {**changes, "trials": (*self.plan.trials, *configs)}
        plan = replace(self.plan, **changes, revision=self.plan.revision + 1)
        event = {"event": "plan", "plan": asdict(plan)}
        if write:
            self.append(event)
            write_plan(self.folder, plan)
        else:
            self.apply(event)
        self.plan = plan
        self.trials |= _pending(configs, plan)


def create_run(folder: Path, plan: Plan) -> Run:
    """Makes the plan's files in the run's folder."""
    folder.mkdir(parents=True, exist_ok=True)
    plan = replace(plan, identity=uuid4().hex)
    write_plan(folder, plan)
    run = _played(folder, plan, [])
    run.append({"event": "plan", "plan": asdict(plan)})
    return run


def read_run(folder: Path) -> Run:
    """The run as recorded, from whichever files are intact; `damage` describes the others.

    Raises UserError for a run of another format, for one whose plan is lost, and for events that no
    run of this version has.
    """
    if not (folder / SWEEP).exists() and not (folder / RECORD).exists():
        raise UserError(f"RUN {folder}: no run there; give the folder of one")
    log = read_log(folder)
    planned = [event["plan"] for event in log.events if event["event"] == "plan"]
    written, foreign = written_plan(folder, planned)
    values = newest_plan(folder, planned, written)
    with as_user_error(f"RUN {folder}: its plan or record is not as this version writes it; "):
        plan: Plan = from_plain(Plan, values)
        plan.check()
        run = _played(folder, plan, log.events)
    run.damage += log.damage
    if written is None:
        what = "is another run's" if foreign else "was damaged"
        run.damage.append(f"{SWEEP} {what}: its plan taken from {RECORD}")
    elif values not in planned:
        run.damage.append(f"{RECORD} had lost the plan: taken from {SWEEP}")
    elif values != written and revision(written) == plan.revision:
        run.damage.append(f"{SWEEP} differs from {RECORD}, both intact: {RECORD} counts")
    evaluations = [e for trial in run.trials.values() for e in trial.evaluations]
    if without := sum(not evaluation["predictions"] for evaluation in evaluations):
        lost = count_of(without, "evaluation")
        run.damage.append(f"{RECORD} lacks the per-example results of {lost}")
    return run


def _played(folder: Path, plan: Plan, events: Iterable[Event]) -> Run:
    """A run of this plan after these events."""
    run = Run(folder, plan, _pending(plan.trials, plan), seconds=plan.inputs.outputs_seconds)
    for event in events:
        run.apply(event)
        run.next_number = event["number"] + 1
    return run


def repair(run: Run) -> list[str]:
    """Completes each of a run's files from the others, and the run by what was put back; returns a
    line for each kind of damage."""
    log, folders = read_log(run.folder), {d: run.trial_folder(t) for d, t in run.trials.items()}
    plan = json.loads(json.dumps(asdict(run.plan)))
    written, _ = written_plan(run.folder, [plan])
    if written is None or revision(written) != run.plan.revision:
        write_plan(run.folder, run.plan)
    recorded = any(event.get("plan") == plan for event in log.events)
    fill_gaps(log, {} if recorded else {"event": "plan", "plan": plan})
    repair_events(run.folder, log, folders)
    damage = run.damage
    vars(run).update(vars(_played(run.folder, run.plan, log.events)))  # no damage is left in it
    return damage


def _asked_for(plan: Event) -> dict[str, Any]:
    """What a searched run's race depends on, or a confirmation's looks."""
    names, last = ("seeds", "samples", "time_budget", "finals"), plan["requests"][-1]
    return {"confirms": plan.get("confirms"), **{name: last.get(name) for name in names}}


def _lengthened(before: dict[str, Any], now: dict[str, Any]) -> bool:
    """Whether finals have more to do than before; more of a search has finals of its own."""
    return any((now[name] or 0) > (before[name] or 0) for name in ("time_budget", "finals"))


def _pending(configs: Iterable[TrialConfig], plan: Plan) -> dict[str, TrialRecord]:
    return {c.digest: TrialRecord(c, parameters=plan.parameters.get(c.digest)) for c in configs}
