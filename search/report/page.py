"""The report as one HTML file and as Markdown: the same sections, written by two templates."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from search.plan.rungs import ASHA, PROMOTION
from search.policy.progress import describe_time
from search.record.trial_record import FINISHED
from search.report.contents import Report, describe_inputs, provenance, status
from search.report.figure_data import costs
from search.report.importance import followers, importance, scored
from search.report.label_tables import CONFUSION_NOTE, label_tables
from search.report.reference_study import study_cells
from search.results.cells import Cells, capitalised, plain, share
from search.results.leaderboard import leaderboard_cells
from search.results.pareto import PARETO_NOTE, cost_name, pareto_cells
from search.results.scores import seed_sd_of
from trainable.common.errors import count_of

SHOWN_ROWS = 15  # of a table before the rest folds away
FEWEST_FOR_IMPORTANCE = 8  # trials
CAPTIONS = {
    "front": "Blue: the Pareto front, with 95% intervals; grey: the other recipes.",
    "learning_curves": "{metric} at each evaluation. Dark blue: the best recipe; light blue: not "
    "significantly different from it; dark grey: the others that finished; light grey: stopped "
    "early (marked with a cross) or not finished. Dotted: rungs. Hover over a curve to "
    "see its recipe.",
    "sharpness": "best5 by initialisation, schedule of alpha and sharpness, with 95% intervals. "
    "Hollow: stopped or unfinished, so scored on fewer evaluations. Layer sets stand side by side. "
    "The panels of an initialisation share their scale.",
    "marginals": "Mean best5 by value of each hyperparameter, after as many evaluations as every "
    "finished or stopped trial has, without finals. Bars: one standard deviation between trials; "
    "in parentheses: number of trials; -: inactive. The other hyperparameters are not held equal "
    "unless each value was tried with the same of them.",
}
IMPORTANCE_NOTE = (
    "Share of the variance in {metric} that each hyperparameter explains on its own (fANOVA), at "
    "equal numbers of evaluations, without finals. The interval is a bootstrap over trials: where "
    "intervals overlap, the order of the hyperparameters means nothing. Chance favours "
    "hyperparameters with more values."
)


@dataclass(frozen=True)
class Table:
    """Cells; `strips` are drawn beside the rows on the page, positions in per cent."""

    cells: Cells
    classes: Sequence[str] = ()  # of the rows
    strips: Sequence[Mapping[str, float]] = ()
    legend: str = ""  # of the strips


@dataclass(frozen=True)
class Section:
    """A heading with text, a table and a figure, in this order."""

    id: str
    title: str
    text: str = ""
    table: Table | None = None
    figure: str = ""  # its name


def render(
    template: str, report: Report, shown: Sequence[Section], drawn: Mapping[str, str]
) -> str:
    """The report as one of the templates has it, with these sections and figures.

    `report.html` is complete in itself: style and figures inside, no script, no other host.
    `report.md` says the same; its figures are the files beside it.
    """
    environment = Environment(
        loader=PackageLoader("search.report", "templates"),
        autoescape=select_autoescape(),  # of HTML alone
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"plain": plain}
    metric = capitalised(report.run.plan.inputs.metric_label)
    # HTML needs no declarations of names.
    bare = {name: re.sub(r' xmlns(?::xlink)?="[^"]+"', "", svg) for name, svg in drawn.items()}
    return environment.get_template(template).render(
        name=report.run.folder.name,
        summary=report.summary,
        status=f"{status(report.run)} {describe_inputs(report.run)}",
        sections=shown,
        most=SHOWN_ROWS,
        svgs={name: Markup(svg) for name, svg in bare.items()},
        captions={n: text.replace("{metric}", metric) for n, text in CAPTIONS.items()},
    )


def shown_sections(report: Report, drawn: Mapping[str, str]) -> list[Section]:
    """All that a report may have, but for those without a table or figure."""
    run, students = report.run, pareto_cells(report.costs, cost_name(report.run))
    metric, (by_label, confusion) = run.plan.inputs.metric_label, label_tables(run, report.recipes)
    against_cost = f"{capitalised(metric)} against cost"
    study, facts = study_cells(run, report.recipes), Cells(("", ""), provenance(run))
    time = [
        (name, describe_time(seconds).removeprefix("about "), note)
        for name, seconds, note in costs(run)
    ]
    sections = [
        _leaderboard(report),
        Section("front", against_cost, PARETO_NOTE, Table(students), "front"),
        Section("study", "Compared with the reference study", study.notes, Table(study)),
        Section("curves", "Learning curves", figure="learning_curves"),
        Section("schedules", "Alpha schedules", figure="sharpness"),
        _importance(report, metric),
        Section("labels", "Scores by label", by_label.notes, Table(by_label)),
        Section("confusion", "Confusion matrix", CONFUSION_NOTE, Table(confusion)),
        _asha(report),
        Section("cost", "Cost", table=Table(Cells(("", "time", ""), time))),
        Section("provenance", "Provenance", "All trials are in trials.csv.", Table(facts)),
    ]
    return [s for s in sections if s.figure in drawn or (s.table and s.table.cells.rows)]


def _leaderboard(report: Report) -> Section:
    recipes, cells = report.recipes, leaderboard_cells(report.run, report.recipes)
    text = f"{cells.above} {cells.notes}".strip() + (
        " Significance allows for the choice of examples and seeds (model confidence set at 95%); "
        "only recipes that ran to the end are compared. How much seeds differ is assumed "
        f"({100 * seed_sd_of(report.run):.2g} points of standard deviation), unless recipes of "
        "several seeds with the same initialisation differ by significantly more."
    )
    unfinished, tied = recipes["outcome"] != FINISHED, recipes["tied"].fillna(value=False)
    kinds = [unfinished, recipes.index == 0, tied.astype(bool)]
    classes = np.select(kinds, ["partial", "best", "tied"], "").tolist()
    teacher = report.run.plan.inputs.teacher.score
    values = recipes[["low", "high", "best5", "last"]].assign(teacher=teacher)
    low, high = values.min(axis=None), values.max(axis=None)
    percents = (100 * (values - low) / ((high - low) or 1.0)).round(2)
    scored_only = percents[recipes["best5"].notna()].reindex(percents.index)
    strips = [row.dropna().to_dict() for _, row in scored_only.iterrows()]
    legend = f"{low:.2f} to {high:.2f}: best5 (dot), interval (bar), last (ring), teacher (dashes)"
    table = Table(cells, classes, strips, legend)
    return Section("leaderboard", "Leaderboard", text, table)


def _importance(report: Report, metric: str) -> Section:
    title, scores = "Which hyperparameters matter", scored(report.trials)
    if len(scores) < FEWEST_FOR_IMPORTANCE or (shares := importance(report.trials)).empty:
        text = f"Importance needs at least {FEWEST_FOR_IMPORTANCE} trials with a score, "
        text += "and scores that differ."
        return Section("importance", title, text, figure="marginals")
    pairs = followers(scores).items()
    text = IMPORTANCE_NOTE.format(metric=metric) + "".join(
        f" {a} follows from {b} and counts there." for a, b in pairs
    )
    cells = Cells(
        (f"hyperparameter ({count_of(len(scores))})", "share", "95% interval"),
        [
            (row.Index, f"{row.share:.1%}", f"{row.low:.1%} to {row.high:.1%}")
            for row in shares.itertuples()
        ],
    )
    strips = (100 * shares).round(1).to_dict("records")
    table = Table(cells, strips=strips, legend="0% to 100%: share (dot), 95% interval (bar)")
    return Section("importance", title, text, table, "marginals")


def _asha(report: Report) -> Section:
    settings = " and ".join(report.run.plan.compare_within)
    alike = f" of the same {settings}" if settings else ""
    rules = {
        ASHA: "one in the lower half of those that have reached a rung so far is stopped there",
        PROMOTION: "the better half of those at a rung goes on from there",
    }
    rule = rules.get(report.run.request.scheduler or "", "")
    text = f"Recipes{alike} are compared at equal numbers of evaluations: {rule}. Score: the mean "
    text += f"of {report.run.plan.inputs.metric_label} and agreement with the teacher."
    headers = ("compared", "rung (evaluations)", "reached", "stopped there", "median score")
    rows = [
        (row.stratum, str(row.rung), str(row.reached), str(row.stopped), share(row.median))
        for row in report.rungs.itertuples()
    ]
    table = Table(Cells(headers, rows if report.rungs["stopped"].any() else []))
    return Section("asha", "Stopped early", text, table)
