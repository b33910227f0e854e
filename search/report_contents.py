"""What a report shows of a run, gathered once, before anything is drawn or written."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pandas as pd

from search.leaderboard import count_of
from search.record import ENDED, FAILED, FINISHED, STOPPED, Run
from search.report_data import evaluations_table
from search.report_summary import Summary, summarise
from search.table import recipes_table, trials_table


@dataclass(frozen=True)
class Report:
    """A run and its events in order, with the tables that several parts of the page show."""

    run: Run
    events: Sequence[dict[str, Any]]
    trials: pd.DataFrame
    recipes: pd.DataFrame
    evaluations: pd.DataFrame
    summary: Summary


def gather(run: Run, events: Sequence[dict[str, Any]]) -> Report:
    """Everything, from a run and its events in order."""
    trials = trials_table(run)
    recipes = recipes_table(run, trials)
    evaluations = evaluations_table(run, trials, recipes)
    inputs = run.plan.inputs
    summary = summarise(
        recipes,
        inputs.teacher.accuracy,
        inputs.examples["evaluation"],
        unchanging=unchanging(run),
    )
    return Report(run, events, trials, recipes, evaluations, summary)


def status(report: Report) -> str:
    """How far the run is; one that goes on looks like one that was interrupted."""
    outcomes = list(report.trials["outcome"])
    parts = [f"{outcomes.count(FINISHED)} finished", f"{outcomes.count(STOPPED)} stopped early"]
    parts += [f"{outcomes.count(FAILED)} failed"] if FAILED in outcomes else []
    missing = sum(outcome not in ENDED for outcome in outcomes)
    parts += [f"{missing} not finished yet"] if missing else []
    text = f"{count_of(len(outcomes))}: {', '.join(parts)}."
    if not missing:
        return f"Complete. {text}"
    last = f"; last event {moment(report.events[-1]['time'])}" if report.events else ""
    return f"Running or interrupted{last}. {text}"


def unchanging(run: Run) -> int:
    """Trials whose answers are the same at all of their evaluations, of at least two."""
    answers = [[e["correct"] for e in t.evaluations] for t in run.trials.values() if t.has_bits]
    return sum(len(given) > 1 and len(set(given)) == 1 for given in answers)


def moment(seconds: float) -> str:
    """A time in UTC, to the minute."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"


def describe_inputs(run: Run) -> str:
    """Space, preset, what was given in the preset's place, sizes and the teacher's accuracy."""
    first, inputs = run.plan.requests[0], run.plan.inputs
    spaces = dict.fromkeys(request.space for request in run.plan.requests)
    parts = [f"Space {' + '.join(spaces)}", f"preset {first.preset}"]
    parts += [f"{key} {value}" for key in ("teacher", "dataset") if (value := getattr(first, key))]
    parts.append(f"{inputs.examples['train']:,} training examples")
    kind = "in the validation subset" if inputs.examples.get("whole") else "validation examples"
    parts.append(f"{inputs.examples['evaluation']:,} {kind}")
    return f"{', '.join(parts)}. Teacher accuracy: {inputs.describe_teacher()}."


def provenance(report: Report) -> list[tuple[str, str]]:
    """What the run was made with, and its sessions."""
    made, inputs = report.run.plan.provenance, report.run.plan.inputs
    changed = " with uncommitted changes" if made.get("uncommitted_changes") else ""
    versions = made.get("versions", {}).items()
    execution = "flash attention" if inputs.execution.flash_attention else "plain attention"
    entries = {
        "command": made.get("command"),
        "started": made.get("started"),
        "commit": f"{made.get('commit')}{changed}",
        "versions": ", ".join(f"{name} {number}" for name, number in versions if number),
        "device": f"{made.get('device')} ({inputs.device})",
        "execution": f"{inputs.execution.executor}, {execution}",
        "scheduler": report.run.request.scheduler,
        "teacher digest": inputs.teacher.digest,
        "data digest": inputs.data_digest,
        "labels": ", ".join(inputs.label_names),
    }
    sessions = [event for event in report.events if event["event"] == "session"]
    for number, event in enumerate(sessions, 1):
        entries[f"session {number}"] = _describe_session(event)
    return [(name, str(value)) for name, value in entries.items() if value]


def _describe_session(event: dict[str, Any]) -> str:
    """When it began, and its command, commit and device."""
    made = event.get("provenance", {})
    commit = f"commit {str(made.get('commit'))[:9]}"
    parts = (moment(event["time"]), made.get("command"), commit, made.get("device"))
    return ", ".join(str(part) for part in parts if part)
