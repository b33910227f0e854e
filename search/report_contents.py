"""All that a report tells of a run, gathered once, before anything is drawn or written."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import permutations
from typing import Any

import pandas as pd

from search.board import SEEDS, board_table, trials_behind
from search.importance import importance_by_stratum, marginals, varying_settings
from search.leaderboard import ORDER
from search.pareto import Candidate, candidates, cost_name
from search.record import ENDED, FAILED, FINISHED, RUNNING, STOPPED, Run
from search.report_cost import Cost, cost
from search.report_data import (
    AlphaCurve,
    CurvePanel,
    EarlyStop,
    PointPanel,
    RungCount,
    alpha_curves,
    early_stops,
    learning_curves,
    point_panels,
    rung_counts,
)
from search.report_study import StudyRow, same_task, study_rows
from search.report_summary import Summary, counted, leading, summarise, tied_digests
from search.table import trials_table

RUNNING_ORDER = ORDER[STOPPED] + 0.5  # before those that have not begun
FEWEST_FOR_IMPORTANCE = 8  # trials; fewer than that tell nothing of several settings


@dataclass(frozen=True)
class Report:
    """One run; each field is what one part of the page shows."""

    name: str
    status: str
    inputs: str
    evaluations: int  # of a whole trial
    sentences: int
    teacher: float
    whole_sentences: int | None  # where evaluations are on a sample of them
    teacher_whole: float | None
    summary: Summary
    table: pd.DataFrame  # trials_table
    strata: Mapping[str, pd.DataFrame]  # of `board_table`, in the leaderboard's order
    with_seeds: bool  # whether a row of those is a recipe's
    leaders: Mapping[str, str]
    tied: frozenset[str]
    leading_trials: Mapping[str, str]  # the best seed of each leader
    tied_trials: frozenset[str]
    study: Sequence[StudyRow]
    study_task: bool
    curves: Sequence[CurvePanel]
    alphas: Mapping[str, Sequence[AlphaCurve]]
    panels: Sequence[PointPanel]
    importance: pd.DataFrame
    together: Sequence[str]  # settings that change only with one another
    marginals: Mapping[str, pd.DataFrame]
    stops: Sequence[EarlyStop]
    rungs: Sequence[RungCount]
    cost: Cost
    candidates: Sequence[Candidate]  # where accuracy is weighed against a cost
    cost_name: str  # of that, with its unit
    provenance: Sequence[tuple[str, str]]
    sessions: Sequence[tuple[str, str]]


def gather(run: Run, events: Sequence[dict[str, Any]]) -> Report:
    """Everything, from a run and its events in order."""
    sweep, table = run.sweep, trials_table(run)
    task, evaluated = sweep["task"], bool(table["best5"].notna().any())
    teacher, sentences = task["teacher"], sweep["evaluation_sentences"]
    scored, board = table[table["common_best5"].notna()], board_table(run, table)
    leaders, tied = leading(board), tied_digests(board)
    return Report(
        name=run.folder.name,
        status=status(run, events),
        inputs=_inputs(sweep),
        evaluations=int(table["planned_evaluations"].max()),
        sentences=sentences,
        teacher=teacher["accuracy"],
        whole_sentences=task.get("sentences", {}).get("whole"),
        teacher_whole=teacher.get("whole_accuracy"),
        summary=summarise(board, teacher["accuracy"], sentences, unmoved(run)),
        table=table,
        strata=leaderboard_rows(board),
        with_seeds=SEEDS in board,
        leaders=leaders,
        tied=tied,
        leading_trials={name: trials_behind(table, [d])[0] for name, d in leaders.items()},
        tied_trials=frozenset(trials_behind(table, tied)),
        study=[] if run.searched else study_rows(run),
        study_task=same_task(run),
        curves=learning_curves(run),
        alphas=alpha_curves(trial.config for trial in run.trials.values()),
        panels=point_panels(table) if evaluated else [],
        importance=_importance(table),
        together=moving_together(scored),
        marginals={name: marginals(table, name) for name in told_apart(scored)},
        stops=early_stops(run),
        rungs=rung_counts(run),
        cost=cost(run, events),
        candidates=candidates(run),
        cost_name=cost_name(run),
        provenance=_provenance(sweep),
        sessions=_sessions(events),
    )


def _importance(table: pd.DataFrame) -> pd.DataFrame:
    """Importance over all trials and within strata, where enough of them have a score."""
    shares = importance_by_stratum(table)
    return shares[shares["trials"] >= FEWEST_FOR_IMPORTANCE]


def leaderboard_rows(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The table by stratum, each sorted as the leaderboard: outcome, then falling best5."""
    place = table["outcome"].map({**ORDER, RUNNING: RUNNING_ORDER})
    ordered = table.assign(place=place, score=-table["best5"].fillna(0.0))
    ordered = ordered.sort_values(["place", "score"], kind="stable")
    groups = {str(name): group for name, group in ordered.groupby("stratum", sort=False)}
    by_best = sorted(groups, key=lambda name: groups[name]["score"].min())
    return {name: groups[name].drop(columns=["place", "score"]) for name in by_best}


def status(run: Run, events: Sequence[dict[str, Any]]) -> str:
    """How far the run is; one that goes on can't be told from one that was interrupted."""
    outcomes = [trial.outcome for trial in run.trials.values()]
    counts = [
        f"{outcomes.count(FINISHED)} finished",
        f"{outcomes.count(STOPPED)} stopped early",
    ]
    counts += [f"{outcomes.count(FAILED)} failed"] if FAILED in outcomes else []
    missing = sum(outcome not in ENDED for outcome in outcomes)
    text = f"{counted(len(outcomes))}: {', '.join(counts)}"
    if not missing:
        return f"Complete. {text}."
    last = f"; last event {moment(events[-1]['time'])}" if events else ""
    return f"Running or interrupted{last}. {text}, {missing} not ended."


def unmoved(run: Run) -> int:
    """Trials whose answers are the same at all of their evaluations, of at least two."""
    answers = [[e["correct"] for e in trial.evaluations] for trial in run.trials.values()]
    return sum(len(given) > 1 and len(set(given)) == 1 for given in answers)


def moment(seconds: float) -> str:
    """A time in UTC, to the minute."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"


def told_apart(table: pd.DataFrame) -> list[str]:
    """The varying settings that have at least two values where they apply."""
    return [name for name in varying_settings(table) if table[name].nunique() > 1]


def moving_together(table: pd.DataFrame) -> list[str]:
    """Varying settings that follow from another's value, as sentences.

    The effects of such two can't be told apart by this run. Of two that follow from each other the
    later is said to. Left out is what is no finding: settings that do not always apply, and what
    follows from one that hardly ever has the same value twice.
    """
    names = [name for name in told_apart(table) if table[name].notna().all()]
    repeated = {name: 2 * table[name].nunique() <= len(table) for name in names}
    return [
        f"{second} follows from {first}"
        for first, second in permutations(names, 2)
        if repeated[first]
        and _follows(table, first, second)
        and (names.index(first) < names.index(second) or not _follows(table, second, first))
    ]


def _follows(table: pd.DataFrame, first: str, second: str) -> bool:
    """Whether each value of the first goes with one of the second."""
    return len(table[[first, second]].drop_duplicates()) == int(table[first].nunique())


def _inputs(sweep: Mapping[str, Any]) -> str:
    first = sweep["requests"][0]
    spaces = list(dict.fromkeys(request["space"] for request in sweep["requests"]))
    counts = sweep["task"].get("sentences", {})
    parts = [f"space {' + '.join(spaces)}", f"preset {first.get('preset', 'unknown')}"]
    parts += [f"{key} {first[key]}" for key in ("teacher", "dataset") if first.get(key)]
    parts += [f"{counts['train']:,} training sentences"] if "train" in counts else []
    parts += [f"{sweep['evaluation_sentences']:,} evaluation sentences"]
    return ", ".join(parts)


def _provenance(sweep: Mapping[str, Any]) -> list[tuple[str, str]]:
    versions = sweep.get("versions", {})
    changed = {True: " with uncommitted changes", False: "", None: ""}
    task = sweep["task"]
    execution = task.get("execution", {})
    entries = [
        ("command", sweep.get("command")),
        ("started", sweep.get("started")),
        ("commit", f"{sweep.get('commit')}{changed[sweep.get('uncommitted_changes')]}"),
        ("versions", ", ".join(f"{name} {number}" for name, number in versions.items() if number)),
        ("device", f"{sweep.get('device')} ({task.get('device')})"),
        ("execution", ", ".join(f"{key} {value}" for key, value in execution.items())),
        ("scheduler", sweep.get("scheduler")),
        ("compared within", ", ".join(sweep["compare_within"]) or "all trials"),
        ("trials on a GPU", str(sweep.get("trials_per_gpu")) if sweep.get("gpu_sharing") else None),
        ("teacher digest", task["teacher"].get("digest")),
        ("data digest", task.get("data_digest")),
        ("labels", ", ".join(task.get("label_names", []))),
    ]
    return [(name, str(value)) for name, value in entries if value]


def _sessions(events: Sequence[dict[str, Any]]) -> list[tuple[str, str]]:
    """When each began, and its command, commit and device."""
    found = []
    for event in events:
        if event["event"] == "session":
            made = event.get("provenance", {})
            said = [made.get("command"), f"commit {str(made.get('commit'))[:9]}"]
            said += [f"on {made['device']}"] if made.get("device") else []
            found.append((moment(event["time"]), ", ".join(str(part) for part in said if part)))
    return found
