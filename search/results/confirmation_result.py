"""The result of a complete confirmation: computed from its run, then printed and written."""

from collections.abc import Sequence
from dataclasses import asdict, astuple, dataclass, replace
from statistics import fmean

import numpy as np
from rich.box import MARKDOWN
from rich.console import Console

from search.record.labels import labels_of
from search.record.run import Run
from search.record.run_folders import confirmations_of
from search.record.trial_record import ENDED, FAILED, TrialRecord
from search.results.cells import Cells, as_rich, interval, share
from search.results.comparisons import Comparison, compare_at_looks, has_all_seeds, retrained
from search.results.confirmation import Confirmation
from search.results.recommendation import recommended
from search.results.scores import rescored
from search.results.statistics import mean_interval
from trainable.common.errors import count_of
from trainable.common.files import atomic_file, write_json
from trainable.config.fields import from_plain
from trainable.config.metrics import lowest_score
from trainable.config.training_inputs import TrainingInputs

PAGE, JSON = "confirm.md", "confirm.json"
HEADERS = ("recipe", "last", "95% interval", "best5", "best5 when chosen", "seeds")
FILE_WIDTH = 1000  # columns: a table's rows stay whole


@dataclass(frozen=True)
class Row:
    """One recipe; scores are means over its seeds, None where no seed finished."""

    recipe: str
    last: float | None  # of the final evaluation (no selection)
    interval: tuple[float, float] | None  # its 95% interval
    best5: float | None
    chosen: float | None  # best5 in the run that it was chosen from; None for a baseline
    seeds: int  # that finished


@dataclass(frozen=True)
class Conclusion:
    """The comparisons of a confirmation, what they are based on, and what went wrong."""

    confirmation: Confirmation
    examples: int  # of the final evaluation
    rows: list[Row]
    comparisons: list[Comparison]
    sentences: list[str]  # the comparisons in words
    failures: list[str]
    notes: list[str]


def conclude(run: Run) -> Conclusion:
    """The answers of a confirmation that has ended."""
    assert run.plan.confirms is not None
    confirmation: Confirmation = from_plain(Confirmation, run.plan.confirms)
    trained = retrained(run, confirmation)
    lost = len(run.finished) - sum(map(len, trained.values()))
    label, failed = labels_of(run), [t for t in run.trials.values() if t.outcome == FAILED]
    names = {recipe: label(TrialRecord(recipe)) for recipe in trained}
    comparisons, inputs = compare_at_looks(run, confirmation), run.plan.inputs
    examples = inputs.examples
    used = {trial.config.seed for trial in run.trials.values()}
    chosen = {c.recipe: s for c, s in zip(confirmation.finalists, confirmation.scores, strict=True)}
    return Conclusion(
        replace(confirmation, seeds=tuple(s for s in confirmation.seeds if s in used)),
        examples=examples.get("full", examples["evaluation"]),
        rows=[
            _row(names[recipe], seeds, chosen.get(recipe), lowest_score(inputs.metric))
            for recipe, seeds in trained.items()
        ],
        comparisons=comparisons,
        sentences=[comparison.sentence(names) for comparison in comparisons],
        failures=[f"{label(trial)}: {trial.reason}" for trial in failed],
        notes=_notes(confirmation, inputs, comparisons, lost),
    )


def _row(
    name: str, seeds: Sequence[tuple[TrialRecord, np.ndarray]], chosen: float | None, lowest: float
) -> Row:
    if not seeds:
        return Row(name, None, None, None, chosen, 0)
    trials, final = zip(*seeds, strict=True)
    ends = mean_interval(np.array(final), lowest)
    best5 = fmean(trial.best5 or 0.0 for trial in trials)
    return Row(name, float(np.mean(final)), ends, best5, chosen, len(trials))


def _notes(
    confirmation: Confirmation, inputs: TrainingInputs, comparisons: Sequence[Comparison], lost: int
) -> list[str]:
    """What the numbers are, and their limitations."""
    examples, asked = inputs.examples, confirmation.asked
    split = f"the {examples['evaluation']:,} validation examples"
    if "full" in examples:
        split = f"the full validation split of {examples['full']:,} examples (best5: the subset "
        split += f"of {examples['evaluation']:,})"
    count = sum(comparison.difference is not None for comparison in comparisons)
    (*earlier, most), settled = confirmation.looks, ""
    if confirmation.precision is not None:
        width = f"{100 * confirmation.precision:g}"
        settled = f" or its interval's half width was at most {width} points"
    notes = {
        f"last: {inputs.metric_label} of the final evaluation (no selection) on {split}; mean over "
        "seeds, with its 95% interval for other seeds and other examples.": True,
        "best5: mean of the five best evaluations; when chosen: the score in "
        f"{confirmation.run}, optimistic because the recipe was selected.": True,
        "Differences are between final evaluations; each interval is for other seeds and other "
        f"examples, not adjusted for multiple comparisons. Significant: p below 0.05, "
        f"Holm-adjusted for {count_of(count, 'comparison')}. Not significant does not mean "
        "equal.": True,
        f"Recipes were compared after {', '.join(map(str, earlier))} and {most} seeds. A "
        f"comparison counts as at the first look at which it was significant{settled}; recipes "
        "with no other comparison got no more seeds. Each look spends a part of the 5 % chance of "
        "a false claim: its intervals are at its level, its p-values scaled so that below 0.05 is "
        "significant.": earlier,
        f"Seeds were added later ({', then '.join(map(str, asked))}): if an earlier result was "
        "the reason, the p-values are too small.": len(asked) > 1,
        f"{count_of(lost, 'finished trial')} left out: the per-example results were lost.": lost,
    }
    return [note for note, holds in notes.items() if holds]


def newest_confirmation(run: Run) -> Run | None:
    """The newest complete confirmation of a run; None where there is none."""
    for made in confirmations_of(run)[::-1]:
        ended = all(trial.outcome in ENDED for trial in made.trials.values())
        if ended and has_all_seeds(made):
            return made
    return None


def lacks_best(made: Run, run: Run) -> bool:
    """Whether a run recommends a recipe that this confirmation of it did not train."""
    recipes = {trial.config.recipe for trial in made.trials.values()}
    chosen = recommended(run)
    return chosen is not None and chosen.trials[0].config.recipe not in recipes


def confirmation_sentences(run: Run, made: Run | None) -> list[str]:
    """What this confirmation of a run found, by the run's metric; empty where there is none."""
    if made is None:
        return []
    on = "On fresh seeds"
    if lacks_best(made, run):  # or other finalists were named
        extended = (run.last_time or 0.0) > (made.last_time or 0.0)
        on = "Before the run was extended" if extended else "Without the recommended recipe"
        on += ", on fresh seeds"
    first, *others = conclude(rescored(made, run.plan.inputs.metric)).sentences
    return [f"{on} ({made.folder.name}): {first}", *others]


def print_conclusion(conclusion: Conclusion, console: Console) -> None:
    """The comparisons, then the table and what its numbers are: Markdown."""
    made, fresh = conclusion.confirmation, ", ".join(map(str, conclusion.confirmation.seeds))
    where = f"Fresh seeds: {fresh}. Validation examples: {conclusion.examples:,}."
    console.print(f"# Confirmation of {made.run}\n\n{where}\n", soft_wrap=True)
    for sentence in conclusion.sentences:
        console.print(f"- {sentence}", soft_wrap=True)
    rows = [
        (recipe, share(last), interval(ends), share(best5), share(chosen), str(seeds))
        for recipe, last, ends, best5, chosen, seeds in map(astuple, conclusion.rows)
    ]
    table = as_rich(Cells(HEADERS, rows))
    table.box, table.padding = MARKDOWN, (0, 1, 0, 1)
    console.print(table)
    for failure in conclusion.failures:
        console.print(f"- failed: {failure}", soft_wrap=True)
    for note in conclusion.notes:
        console.print(f"- {note}", style="dim", soft_wrap=True)


def write_conclusion(conclusion: Conclusion, run: Run) -> None:
    """`confirm.md` and `confirm.json` in the run's folder, each complete or unchanged."""
    with atomic_file(run.folder / PAGE) as path, path.open("w", encoding="utf-8") as file:
        console = Console(file=file, width=FILE_WIDTH, markup=False, highlight=False)
        print_conclusion(conclusion, console)
    with atomic_file(run.folder / JSON) as path:
        write_json(path, asdict(conclusion))
