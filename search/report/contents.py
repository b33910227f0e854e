"""The tables that a report shows of a run, and its summary in sentences."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from math import sqrt

import pandas as pd

from search.policy.progress import progress_of, unused_levers
from search.policy.still_to_come import is_complete
from search.record.run import Run
from search.record.run_folders import name_here
from search.record.trial_record import ENDED, FAILED, FINISHED, STOPPED
from search.report.figure_data import evaluations_table, rung_counts
from search.results.cells import interval, percent, signed
from search.results.confirmation_result import (
    conclude,
    confirmation_sentences,
    lacks_best,
    newest_confirmation,
)
from search.results.leaderboard import ONE_LABEL
from search.results.pareto import costs_table
from search.results.recommendation import recommendation
from search.results.table import recipes_table, rounded, trials_table
from trainable.common.errors import count_of
from trainable.config.metrics import ACCURACY

NAMED = 4  # tied recipes that a sentence names
NOISE_LEVEL = 1.96  # standard errors to either side that hold 95%


@dataclass(frozen=True)
class Summary:
    """Sentences: the best recipe; what else was found, such as which is recommended and which are
    not significantly different from the best; and limitations."""

    headline: str
    findings: tuple[str, ...]
    limitations: tuple[str, ...]


@dataclass(frozen=True)
class Report:
    """A run, with the tables that several parts of the page show."""

    run: Run
    trials: pd.DataFrame
    recipes: pd.DataFrame
    evaluations: pd.DataFrame
    rungs: pd.DataFrame  # what was stopped at each
    costs: pd.DataFrame  # of the finished recipes' students; empty where nothing is weighed
    summary: Summary


def gather(run: Run) -> Report:
    """Everything, from a run."""
    trials = trials_table(run)
    recipes = recipes_table(run, trials)
    evaluations = evaluations_table(run, trials, recipes)
    rungs, costs = rung_counts(run, evaluations, recipes), costs_table(run, recipes)
    return Report(run, trials, recipes, evaluations, rungs, costs, summarise(run, recipes, trials))


def summarise(run: Run, recipes: pd.DataFrame, trials: pd.DataFrame) -> Summary:
    """Of a run's `recipes_table` and `trials_table`."""
    finished = recipes[recipes["outcome"] == FINISHED]
    made = newest_confirmation(run)
    limitations = tuple(_limitations(run, recipes, trials, made))
    if finished.empty:
        return Summary(_nothing_finished(run, recipes), (), limitations)
    if run.plan.confirms is not None and is_complete(run):
        first, *others = conclude(run).sentences
        return Summary(first, tuple(others), limitations)
    best, teacher = finished.iloc[0], run.plan.inputs.teacher.score
    ends = interval((best["low"], best["high"]))
    share = f", {percent(best['of_teacher'])} of the teacher's {teacher:.4f}"
    headline = (
        f"Best: {rounded(best['label'])}. best5 {best['best5']:.4f} (95% interval {ends})"
        f"{share if teacher > 0 else ''}."
    )
    headline += " It gives every example the same label." if best["one_label"] else ""
    findings = (*recommendation(run, recipes, unused_levers(run)), _tied(recipes))
    if confirmed := confirmation_sentences(run, made):
        first, *others = confirmed
        return Summary(first, (*others, f"This run alone: {headline}", *findings), limitations)
    return Summary(headline, findings, limitations)


def _nothing_finished(run: Run, recipes: pd.DataFrame) -> str:
    if (recipes["outcome"] == FAILED).all():
        return f"No result: {count_of(len(recipes), 'recipe')} failed."
    scored = recipes[recipes["best5"].notna()]
    if scored.empty:
        return "No result yet: no trial has been evaluated."
    best = scored.loc[scored["best5"].idxmax()]
    yet, so_far = ("", "") if is_complete(run) else (" yet", " so far")
    return (
        f"No trial has finished{yet}. Highest best5{so_far}: {best['best5']:.4f} after "
        f"{best['evaluations']} of {best['planned_evaluations']} evaluations, "
        f"{rounded(best['label'])}."
    )


def _tied(recipes: pd.DataFrame) -> str:
    """Which of the others are tied with the best, which is the first; and which are no rivals."""
    if pd.isna(recipes.iloc[0]["tied"]):
        return "Its per-example results are missing, so it is not compared with the others."
    finished = recipes[recipes["outcome"] == FINISHED].iloc[1:]
    others, unlike = finished[finished["tied"].notna()], finished[finished["tied"].isna()]
    rivals = others[~others["one_label"]]
    apart = {
        "with one label only": len(others) - len(rivals),
        "of another length": (unlike["evaluations"] != recipes.iloc[0]["evaluations"]).sum(),
        "stopped early": (recipes["outcome"] == STOPPED).sum(),
    }
    text = ", ".join(f"{count} {reason}" for reason, count in apart.items() if count)
    text = f" Not compared: {text}." if text else ""
    if not (tied := rivals[rivals["tied"]]).empty:
        names = [
            f"{rounded(row.label)} ({signed(row.gap_low)} to {signed(row.gap_high)})"
            for row in tied.head(NAMED).itertuples()
        ]
        names += [f"{len(tied) - NAMED} more"] if len(tied) > NAMED else []
        return (
            f"Not significantly different from the best, with the 95% interval of each difference "
            f"(not adjusted for the choice of the best) in points: {'; '.join(names)} "
            f"({len(tied)} of {count_of(len(rivals), 'other recipe')}).{text}"
        )
    if rivals.empty:
        return f"No other recipe has finished that can be compared with it.{text}"
    which = "the only other recipe" if len(rivals) == 1 else f"all {len(rivals)} other recipes"
    return f"Significantly better than {which}.{text}"


def _limitations(
    run: Run, recipes: pd.DataFrame, trials: pd.DataFrame, made: Run | None
) -> Iterator[str]:
    """What can't be concluded, and why, the weightiest first; `made` is the newest confirmation."""
    yield from (f"{line}." for line in run.damage)
    if run.lost:
        yield f"{count_of(run.lost, 'lost event')} in the record: times may be too short."
    examples, outcomes = run.plan.inputs.examples["evaluation"], recipes["outcome"]
    tied = recipes[recipes["tied"] & ~recipes["one_label"]]
    of_seeds, seeds = trials[trials["recipe"].isin(tied["recipe"])], "Each recipe ran on one seed"
    level = tied["best5"].mean()
    metric = run.plan.inputs.metric_label
    metric = f"{'an' if metric[0] in 'aFM' else 'a'} {metric}"
    noise = (of_seeds["high"] - of_seeds["low"]).mean() / 2  # over examples alone
    if run.plan.inputs.metric == ACCURACY:
        noise = NOISE_LEVEL * sqrt(level * (1 - level) / examples)
    if recipes["planned_seeds"].max() > 1:
        seeds = f"The best recipe ran on {count_of(recipes.iloc[0]['seeds'], 'seed')}"
    missing = int(recipes.loc[outcomes == FINISHED, "low"].isna().sum())
    stopped, of_trials = int((outcomes == STOPPED).sum()), [t.outcome for t in run.trials.values()]
    not_ended, failed = sum(o not in ENDED for o in of_trials), of_trials.count(FAILED)
    one_label = int(recipes["one_label"].sum())
    unconfirmed = made is None or lacks_best(made, run)
    sentences = {
        f"{len(tied)} recipes are not significantly different, the best and the next: on "
        f"{examples:,} validation examples the 95% interval of {metric} of {level:.2f} is "
        f"\u00b1{100 * noise:.1f} points.": len(tied) > 1,
        f"Stopped early: {count_of(stopped, 'recipe')}. How good they would have become is "
        "unknown; they are listed below the finished ones whatever their score.": stopped,
        f"{seeds}, so another seed may change the order. To retrain the best on fresh seeds: "
        f"python -m search.confirm {name_here(run.folder)}{' --name OTHER' if made else ''}.": (
            (outcomes == FINISHED).sum() > 1 and not run.plan.confirms and unconfirmed
        ),
        f"Not finished yet: {count_of(not_ended)}.": not_ended,
        f"Failed: {count_of(failed)}.": failed,
        f"The per-example results of {count_of(missing, 'recipe')} are missing: there is no "
        "interval and no comparison with the best.": missing,
        f"Every example is given the same label (marked {ONE_LABEL}) by "
        f"{count_of(one_label, 'recipe')}: nothing was learned, or not yet when it was stopped.": (
            one_label
        ),
    }
    yield from (sentence for sentence, holds in sentences.items() if holds)


def status(run: Run) -> str:
    """How far the run is; one that goes on looks like one that was interrupted."""
    text = f"Trials: {progress_of(run).describe()}."
    if is_complete(run):
        return f"Complete. {text}"
    last = f"; last event {moment(run.last_time)}" if run.last_time else ""
    return f"Not complete: running or interrupted{last}. {text}"


def moment(seconds: float) -> str:
    """A time in UTC, to the minute."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"


def describe_inputs(run: Run) -> str:
    """Space, preset, what was given in the preset's place, sizes and the teacher's score."""
    first, inputs = run.plan.requests[0], run.plan.inputs
    space = f"Space {' + '.join(dict.fromkeys(r.space for r in run.plan.requests))}"
    if run.plan.confirms is not None:
        space = f"Confirmation of {run.plan.confirms['run']}"
    given = {key: getattr(first, key) for key in ("teacher", "student", "dataset", "transfer")}
    kind = "in the validation subset" if inputs.examples.get("full") else "validation examples"
    parts = [
        space,
        f"preset {first.preset}",
        *(f"{key} {value}" for key, value in given.items() if value),
        f"{inputs.examples['train']:,} training examples",
        f"{inputs.examples['evaluation']:,} {kind}",
    ]
    return f"{', '.join(parts)}. Teacher {inputs.metric_label}: {inputs.describe_teacher()}."


def provenance(run: Run) -> list[tuple[str, str]]:
    """What the run was made with, and its sessions."""
    made, inputs, execution = run.plan.provenance, run.plan.inputs, run.execution
    changed = " with uncommitted changes" if made.get("uncommitted_changes") else ""
    versions = made.get("versions", {}).items()
    attention = "flash attention" if execution.flash_attention else "plain attention"
    entries = {
        "command": made.get("command"),
        "started": made.get("started"),
        "commit": made.get("commit") and f"{made['commit']}{changed}",  # None outside git
        "versions": ", ".join(f"{name} {number}" for name, number in versions if number),
        "device": f"{made.get('device')} ({inputs.device})",
        "execution": f"{execution.executor}, {attention}",
        "not as wanted": "; ".join(run.fallbacks),
        "scheduler": run.request.scheduler,
        "teacher digest": inputs.teacher.digest,
        "data digest": inputs.data_digest,
        "labels": ", ".join(inputs.label_names),
    }
    sessions = [event for event in run.events if event["event"] == "session"]
    for number, event in enumerate(sessions, 1):
        of_session = event.get("provenance", {})
        commit = f"commit {of_session['commit'][:9]}" if of_session.get("commit") else None
        parts = (moment(event["time"]), of_session.get("command"), commit, of_session.get("device"))
        entries[f"session {number}"] = ", ".join(str(part) for part in parts if part)
    return [(name, str(value)) for name, value in entries.items() if value]
