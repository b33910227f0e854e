"""What a run shows and what it can't, as sentences made from the table of its trials."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from math import sqrt

import pandas as pd

from search.board import SEEDS
from search.record import FAILED, FINISHED, PENDING, RUNNING, STOPPED, WAITING

NAMED = 4  # tied recipes that a sentence names
NOISE_LEVEL = 1.96  # standard errors to either side that hold 95 %


@dataclass(frozen=True)
class Summary:
    """`headline` and `tied` are sentences; `others` one a further stratum; `open` what is not."""

    headline: str
    tied: str
    others: tuple[str, ...]
    open: tuple[str, ...]


def leading(table: pd.DataFrame) -> dict[str, str]:
    """By stratum, the digest of its best trial that ran to its end; none where none did."""
    finished = _finished(table).sort_values("best5", ascending=False, kind="stable")
    return dict(finished.groupby("stratum", sort=False)["digest"].first())


def tied_digests(table: pd.DataFrame) -> frozenset[str]:
    """The trials tied with the first of their stratum, the first among them."""
    return frozenset(table.loc[table["tied"].fillna(value=False).astype(bool), "digest"])


def summarise(table: pd.DataFrame, teacher: float, sentences: int, unmoved: int = 0) -> Summary:
    """The answer in sentences; `teacher` is its accuracy on the evaluation sentences.

    `unmoved` trials gave the same answers at every evaluation.
    """
    finished = _finished(table).sort_values("best5", ascending=False, kind="stable")
    limits = (*_limits(table, sentences), *_unmoved_words(unmoved))
    if finished.empty:
        return Summary(_nothing_finished(table), "", (), limits)
    first = finished.iloc[0]
    headline = (
        f"{rounded(first['words'])} leads: best5 {first['best5']:.4f} "
        f"({first['low']:.3f} to {first['high']:.3f}), "
        f"{first['best5'] / teacher:.1%} of the teacher's {teacher:.4f}."
    )
    groups = finished.groupby("stratum", sort=False)
    others = [
        _other_stratum(group, float(first["best5"]))
        for stratum, group in groups
        if stratum != first["stratum"]
    ]
    own = groups.get_group(first["stratum"])
    return Summary(headline, _tied_words(own), tuple(others), limits)


def short_words(row: pd.Series) -> str:
    """A trial's words without the stratum's name before them, numbers as `rounded`."""
    return rounded(str(row["words"]).removeprefix(f"{row['stratum']}, "))


def rounded(words: str) -> str:
    """Long decimals cut to three digits: `k=0.234683` reads `k=0.235`; the table has them whole."""

    def shorter(found: re.Match[str]) -> str:
        value = float(found[0])
        return f"{value:.0f}" if value >= 100 else f"{value:.3g}"

    return re.sub(r"\d+\.\d+(?![\de])", shorter, words)


def points(share: float) -> str:
    """`0.85 points` for 0.0085."""
    return f"{100 * share:.2f} points"


def counted(number: int, kind: str = "trial") -> str:
    """`1 trial` or `3 trials`."""
    return f"{number} {kind}{'' if number == 1 else 's'}"


def _kind(table: pd.DataFrame) -> str:
    """What a row is."""
    return "recipe" if SEEDS in table else "trial"


def _finished(table: pd.DataFrame) -> pd.DataFrame:
    return table[(table["outcome"] == FINISHED) & table["best5"].notna()]


def _nothing_finished(table: pd.DataFrame) -> str:
    counts = table["outcome"].value_counts()
    if counts.get(FAILED, 0) == len(table):
        return f"All of {counted(len(table), _kind(table))} failed: there is nothing to compare."
    scored = table[table["best5"].notna()]
    if scored.empty:
        return "No trial has been evaluated yet: nothing leads."
    best = scored.loc[scored["best5"].idxmax()]
    return (
        f"No trial has run to its end yet. Highest so far: {rounded(best['words'])}, "
        f"{best['best5']:.4f} after {best['evaluations']} of {best['planned_evaluations']} "
        "evaluations."
    )


def _other_stratum(group: pd.DataFrame, highest: float) -> str:
    """Of a stratum's finished trials, best first, how far the first is from the first of all."""
    first = group.iloc[0]
    return (
        f"In {first['stratum']}: {short_words(first)} leads with {first['best5']:.4f}, "
        f"{points(highest - first['best5'])} below. {_tied_words(group)}"
    )


def _tied_words(finished: pd.DataFrame) -> str:
    """How many of a stratum's finished trials, best first, are tied with the first of them."""
    tied = finished[finished["tied"].fillna(value=False).astype(bool)].iloc[1:]
    if len(finished) == 1:
        return "No other trial of its stratum ran to its end."
    if tied.empty:
        return f"Not tied with it: the {_others(len(finished) - 1)} that finished."
    names = [short_words(row) for _, row in tied.head(NAMED).iterrows()]
    more = [f"{len(tied) - NAMED} more"] if len(tied) > NAMED else []
    others = len(finished) - 1
    of = "all of" if len(tied) == others > 1 else f"{len(tied)} of"
    listed = "; ".join([*names, *more])
    return f"Tied with it: {of} the {_others(others)} that finished ({listed})."


def _others(number: int) -> str:
    return "1 other" if number == 1 else f"{number} others"


def _limits(table: pd.DataFrame, sentences: int) -> Iterator[str]:
    """What can't be concluded, and why, the weightiest first."""
    counts, kind = table["outcome"].value_counts(), _kind(table)
    tied = table[table["tied"].fillna(value=False).astype(bool)]
    if len(tied) > tied["stratum"].nunique():
        level = float(tied["best5"].mean())
        noise = NOISE_LEVEL * sqrt(level * (1 - level) / sentences)
        yield (
            f"Which of the tied recipes is best. On {sentences:,} sentences an accuracy near "
            f"{level:.2f} is known to within {points(noise)} only, and the ties allow for that "
            "and for the luck of a seed."
        )
    if counts.get(STOPPED, 0):
        yield (
            f"What the {counted(counts[STOPPED], kind)} that ASHA stopped early would have "
            f"reached: such a {kind} stands below the finished ones whatever its score."
        )
    if _one_seed(table):
        yield (
            "Whether another seed would give the same order: each recipe ran once, and two seeds "
            "of one recipe have differed by up to 0.8 points. python -m search.confirm retrains "
            "the finalists on fresh seeds."
        )
    if SEEDS in table:
        yield (
            "Which recipe would lead on other seeds: the first was chosen by the seeds that rank "
            "it, and a few tell little of how much seeds differ. python -m search.confirm compares "
            "the finalists on fresh seeds."
        )
    not_ended = sum(counts.get(outcome, 0) for outcome in (PENDING, RUNNING, WAITING))
    if not_ended:
        yield f"Anything about {counted(not_ended, kind)} not ended."
    if counts.get(FAILED, 0):
        yield f"Anything about {counted(counts[FAILED], kind)} that failed."
    optimism = float(table.loc[table["outcome"] == FINISHED, "optimism"].mean())
    if optimism > 0.0005:
        yield (
            "The accuracy on new sentences from best5 itself: choosing the best evaluations "
            f"flatters it by {points(optimism)} on average; last is not flattered."
        )


def _unmoved_words(unmoved: int) -> Iterator[str]:
    if unmoved:
        yield (
            f"What {counted(unmoved)} can do, with the same answers at every evaluation: most "
            "likely one label for all sentences, nothing learned yet."
        )


def _one_seed(table: pd.DataFrame) -> bool:
    return SEEDS not in table and len(table) > 1
