"""The result of a complete confirmation: computed from its run, then printed and written."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from math import floor
from statistics import fmean

import numpy as np
from rich.box import MARKDOWN
from rich.console import Console

from search.record.labels import labels_of
from search.record.run import Run
from search.record.trial_record import FAILED, FINISHED, TrialRecord
from search.results.finalists import Confirmation, Pair
from search.results.leaderboard import Cells, as_rich, difference_cells, interval, share
from search.results.statistics import (
    BOOTSTRAP_SEED,
    Difference,
    holm,
    mean_interval,
    seeds_difference,
)
from trainable.common.errors import count_of
from trainable.common.files import atomic_file, write_json
from trainable.config.trial_config import TrialConfig
from trainable.engine.metrics import unpack_bits

PAGE, JSON = "confirm.md", "confirm.json"
HEADERS = ("recipe", "last", "95% interval", "best5", "best5 when chosen", "seeds")
FILE_WIDTH = 1000  # columns: a table's rows stay whole
LEVEL = 0.05  # chance of claiming any difference where there is none

Students = Sequence[np.ndarray]  # of one recipe: bits [N] of the final evaluation, one a seed


@dataclass(frozen=True)
class Comparison:
    """Two recipes compared; without a difference where one has fewer than two seeds."""

    pair: Pair
    seeds: int  # of each, or of the one that has fewer
    difference: Difference | None = None  # first less second, in shares
    adjusted: float = 1.0  # p-value, for the number of comparisons

    @property
    def significant(self) -> bool:
        """Whether the difference holds, all comparisons considered."""
        return self.difference is not None and self.adjusted < LEVEL

    def sentence(self, names: Mapping[TrialConfig, str]) -> str:
        """`X is significantly better than Y: +0.4 points (95% interval +0.1 to +0.7, ...).`"""
        first, second = (names[recipe] for recipe in self.pair)
        seeds = count_of(self.seeds, "seed")
        if self.difference is None:
            return f"{first} is not compared with {second}: {seeds} of one finished."
        found = self.difference
        comparison = "not significantly different from"
        if self.significant:
            comparison = f"significantly {'better' if found.estimate > 0 else 'worse'} than"
        estimate, interval = difference_cells(found)
        return (
            f"{first} is {comparison} {second}: {estimate} points (95% interval {interval}, "
            f"{seeds}, adjusted p {_p_value(self.adjusted)})."
        )


@dataclass(frozen=True)
class Row:
    """One recipe; accuracies are shares, means over its seeds, None where no seed finished."""

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
    confirmation = Confirmation.from_dict(run.plan.confirms)
    retrained: dict[TrialConfig, list[TrialRecord]] = {r: [] for r in confirmation.recipes}
    final: dict[TrialConfig, list[np.ndarray]] = {recipe: [] for recipe in retrained}
    lost = 0
    for trial in run.trials.values():
        bits = final_bits(trial, run) if trial.outcome == FINISHED else None
        lost += bits is None and trial.outcome == FINISHED
        if bits is not None:
            retrained[trial.config.recipe].append(trial)
            final[trial.config.recipe].append(bits)
    label, failed = labels_of(run), [t for t in run.trials.values() if t.outcome == FAILED]
    names = {recipe: label(TrialRecord(recipe)) for recipe in retrained}
    comparisons, examples = compare_pairs(final, confirmation.pairs), run.plan.inputs.examples
    chosen = {c.recipe: s for c, s in zip(confirmation.finalists, confirmation.scores, strict=True)}
    return Conclusion(
        confirmation,
        examples=examples.get("full", examples["evaluation"]),
        rows=[_row(names[r], final[r], retrained[r], chosen.get(r)) for r in retrained],
        comparisons=comparisons,
        sentences=[comparison.sentence(names) for comparison in comparisons],
        failures=[f"{label(trial)}: {trial.reason}" for trial in failed],
        notes=_notes(confirmation, examples, comparisons, lost),
    )


def final_bits(trial: TrialRecord, run: Run) -> np.ndarray | None:
    """Which examples the final evaluation got right, [N], of the full validation split where it was
    scored on that; None where the record lost them."""
    last, examples = trial.evaluations[-1], run.plan.inputs.examples
    split, packed = "evaluation", last["correct"]
    if last.get("full_accuracy") is not None:
        split, packed = "full", last["full_correct"]
    return unpack_bits(packed, examples[split]) if packed else None


def compare_pairs(
    retrained: Mapping[TrialConfig, Students], pairs: Sequence[Pair]
) -> list[Comparison]:
    """A comparison for each pair of recipes, p-values adjusted for the number of pairs."""
    comparisons = [_compare(pair, *(retrained[recipe] for recipe in pair)) for pair in pairs]
    compared = [v.difference.p_value for v in comparisons if v.difference is not None]
    adjusted = iter(holm(compared).tolist())
    return [
        found if found.difference is None else replace(found, adjusted=next(adjusted))
        for found in comparisons
    ]


def _compare(pair: Pair, first: Students, second: Students) -> Comparison:
    seeds = min(len(first), len(second))
    if seeds < 2:
        return Comparison(pair, seeds)
    found = seeds_difference(np.array(first), np.array(second))
    return Comparison(pair, seeds, found)


def _p_value(value: float) -> str:
    """Cut, not rounded, to three decimals: what is below a bound reads as below it."""
    return "< 0.001" if value < 0.001 else f"= {floor(1000 * value + 1e-9) / 1000:.3f}"


def _row(name: str, final: Students, trials: Sequence[TrialRecord], chosen: float | None) -> Row:
    if not trials:
        return Row(name, None, None, None, chosen, 0)
    ends = mean_interval(np.array(final), np.random.default_rng(BOOTSTRAP_SEED))
    best5 = fmean(trial.best5 or 0.0 for trial in trials)
    return Row(name, float(np.mean(final)), ends, best5, chosen, len(trials))


def _notes(
    confirmation: Confirmation,
    examples: Mapping[str, int],
    comparisons: Sequence[Comparison],
    lost: int,
) -> list[str]:
    """What the numbers are, and their limitations."""
    split, asked = f"the {examples['evaluation']:,} validation examples", confirmation.asked
    if "full" in examples:
        split = f"the full validation split of {examples['full']:,} examples (best5: the subset "
        split += f"of {examples['evaluation']:,})"
    count = sum(comparison.difference is not None for comparison in comparisons)
    notes = [
        f"last: accuracy of the final evaluation (no selection) on {split}; mean over seeds, with "
        "its 95% interval for other seeds and other examples.",
        "best5: mean of the five best evaluations; when chosen: the score that made the recipe a "
        f"finalist of {confirmation.run}, optimistic because it was selected.",
        "Differences are between final evaluations; each interval is for other seeds and other "
        f"examples, not adjusted for multiple comparisons. Significant: p below 0.05, "
        f"Holm-adjusted for {count_of(count, 'comparison')}. Not significant does not mean equal.",
    ]
    if len(asked) > 1:
        notes.append(
            f"Seeds were added later ({', then '.join(map(str, asked))}): if an earlier result was "
            "the reason, the p-values are too small."
        )
    if lost:
        notes.append(
            f"{count_of(lost, 'finished trial')} left out: the per-example results were lost."
        )
    return notes


def print_conclusion(conclusion: Conclusion, console: Console) -> None:
    """The comparisons, then the table and what its numbers are: Markdown."""
    made, seeds = conclusion.confirmation, ", ".join(map(str, conclusion.confirmation.seeds))
    where = f"Fresh seeds: {seeds}. Validation examples: {conclusion.examples:,}."
    console.print(f"# Confirmation of {made.run}\n\n{where}\n", soft_wrap=True)
    for sentence in conclusion.sentences:
        console.print(f"- {sentence}", soft_wrap=True)
    rows = [
        (
            r.recipe,
            share(r.last),
            interval(r.interval),
            share(r.best5),
            share(r.chosen),
            f"{r.seeds}",
        )
        for r in conclusion.rows
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
