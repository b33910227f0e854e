"""What a run shows and what it can't, as sentences made from the table of its recipes."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import sqrt

import pandas as pd

from search.leaderboard import count_of, interval, percent
from search.record import FAILED, FINISHED, PENDING, RUNNING, STOPPED, WAITING
from search.table import rounded

NAMED = 4  # tied recipes that a sentence names
NOISE_LEVEL = 1.96  # standard errors to either side that hold 95 %
LEAST_OPTIMISM = 0.0005  # that is worth a sentence


@dataclass(frozen=True)
class Summary:
    """Sentences: the best recipe, those not significantly different from it, and limitations."""

    headline: str
    tied: str
    limitations: tuple[str, ...]


def summarise(
    recipes: pd.DataFrame, teacher: float, examples: int, *, unchanging: int = 0
) -> Summary:
    """Of `recipes_table`; `teacher` is its accuracy on so many validation examples.

    `unchanging` trials gave the same answers at every evaluation.
    """
    finished = recipes[recipes["outcome"] == FINISHED]
    limitations = tuple(_limitations(recipes, examples, unchanging))
    if finished.empty:
        return Summary(_nothing_finished(recipes), "", limitations)
    best = finished.iloc[0]
    ends = interval((best["low"], best["high"]))
    headline = (
        f"Best recipe: {rounded(best['label'])}. best5 {best['best5']:.4f} (95 % interval {ends}), "
        f"{percent(best['of_teacher'])} of the teacher's {teacher:.4f}."
    )
    return Summary(headline, _tied(finished), limitations)


def points(share: float) -> str:
    """`0.85 points` for 0.0085."""
    return f"{100 * share:.2f} points"


def _nothing_finished(recipes: pd.DataFrame) -> str:
    if (recipes["outcome"] == FAILED).all():
        return f"No result: {count_of(len(recipes), 'recipe')} failed."
    scored = recipes[recipes["best5"].notna()]
    if scored.empty:
        return "No result yet: no trial has been evaluated."
    best = scored.loc[scored["best5"].idxmax()]
    return (
        f"No trial has finished yet. Highest best5 so far: {best['best5']:.4f} after "
        f"{best['evaluations']} of {best['planned_evaluations']} evaluations, "
        f"{rounded(best['label'])}."
    )


def _tied(finished: pd.DataFrame) -> str:
    """Which of the finished recipes are tied with the first of them."""
    if len(finished) == 1:
        return "No other recipe has finished."
    if pd.isna(finished.iloc[0]["tied"]):
        return "Its correct/wrong bits are missing, so it is not compared with the others."
    others, tied = int(finished["tied"].notna().sum()) - 1, _are_tied(finished).iloc[1:]
    if not others:
        return "No other finished recipe can be compared with it."
    of_others = "the 1 other" if others == 1 else f"the {others} others"
    if tied.empty:
        return f"Significantly better than {of_others} that finished."
    names = [rounded(label) for label in tied["label"].head(NAMED)]
    more = [f"{len(tied) - NAMED} more"] if len(tied) > NAMED else []
    return (
        f"Not significantly different from the best: {len(tied)} of {of_others} that finished "
        f"({'; '.join([*names, *more])})."
    )


def _are_tied(recipes: pd.DataFrame) -> pd.DataFrame:
    return recipes[recipes["tied"].fillna(value=False).astype(bool)]


def _limitations(recipes: pd.DataFrame, examples: int, unchanging: int) -> Iterator[str]:
    """What can't be concluded, and why, the weightiest first."""
    outcomes, tied = recipes["outcome"].value_counts(), _are_tied(recipes)
    finished = recipes[recipes["outcome"] == FINISHED]
    level, optimism = tied["best5"].mean(), finished["optimism"].mean()
    noise = NOISE_LEVEL * sqrt(level * (1 - level) / examples)
    seeds = "The ranking is from few seeds"
    if recipes["planned_seeds"].max() == 1:
        seeds = "Each recipe ran on one seed"
    missing = int(finished["low"].isna().sum())
    not_ended = sum(outcomes.get(outcome, 0) for outcome in (PENDING, RUNNING, WAITING))
    failed, stopped = outcomes.get(FAILED, 0), outcomes.get(STOPPED, 0)
    sentences = {
        f"The first {len(tied)} recipes are not significantly different: with {examples:,} "
        f"validation examples an accuracy near {level:.2f} has a 95 % interval of +/- "
        f"{points(noise)}.": len(tied) > 1,
        f"ASHA stopped {count_of(stopped, 'recipe')} early. How good they would have become is "
        "unknown; they are listed below the finished ones whatever their score.": stopped,
        f"{seeds}, and the best was selected on them: another seed may change the order. python "
        "-m search.confirm retrains the best recipes on fresh seeds.": len(recipes) > 1,
        f"Not finished yet: {count_of(not_ended, 'recipe')}.": not_ended,
        f"Failed: {count_of(failed, 'recipe')}.": failed,
        f"The correct/wrong bits of {count_of(missing, 'recipe')} are missing: there is no "
        "interval and no comparison with the best.": missing,
        f"best5 overstates the accuracy on new examples by {points(optimism)} on average, because "
        "it selects the best evaluations; last does not.": optimism > LEAST_OPTIMISM,
        f"{count_of(unchanging)} gave the same answers at every evaluation, most likely one label "
        "for all examples: nothing has been learned there yet.": unchanging,
    }
    return (sentence for sentence, holds in sentences.items() if holds)
