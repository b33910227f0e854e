"""How a search's time is split: short trials to choose by, then long ones, its finals."""

from math import isfinite

SEARCH_SHARE = 1 / 3  # of a budget, that is spent on suggestions where the best are trained again
# Trials like the default's, one after another, that must fit into that share, or nothing is drawn:
# the best of so few is the luckiest, and the finals use the time better. Those that a space begins
# with are tried as far as they fit: with MPNet on SST-2 the teacher's lower layers had 6.3 points
# more than the default's (two evaluations of one seed on 872 examples).
FEWEST_TRIALS = 16
FINALS = 2  # recipes that are, beside the default
# Passes over the training examples, in steps, or steps where examples are few. With fewer there is
# one final less: a longer one gains more than another. On SST-2 more than 12 passes, 3,840 steps,
# gained nothing, while averages of the weights of two and three seeds gained 0.3 points; on 640
# tweets 480, 1,440 and 3,400 steps gave 0.8624 0.8635 0.8656.
LONGEST, LONGEST_STEPS = 12, 3000
LONGER = 1.25  # times as long, or as short, as those there: else more time is for seeds of these
LABELLED = 3  # passes over the labelled examples before texts without labels have their full share
# Another final of the first recipe makes so many before there are made texts: it gains half a point
# and more where labels are right, and loses two where a fifth are wrong. Their average, which
# `export` makes, is as good as the better one in both cases, also where either makes few passes.
# Where examples are few it has none: on 640 tweets (3,000 and 3,400 steps, trained once each) none
# gave 0.8642 and 0.8656, half a text for each example 0.8604, three 0.8605.
BESIDE_MADE = 8
LEAST_BESIDE = 3  # passes that each of these two makes, or there is one
EMA_DECAY = 0.98  # at least: the student is the average over about the last 50 steps
MOST_SEEDS_OF_FINALS = 5  # of each, where time is left
SEEDED_SHARE = 0.75  # of the longest that each makes, or there is a seed less


def least_budget(seconds: float) -> float:
    """Seconds of the shortest budget that leaves time to search, where a trial takes so many of all
    slots' time."""
    return FEWEST_TRIALS * seconds / SEARCH_SHARE


def foreseen(to_suggest: float) -> int:
    """Suggestions to reckon with: where time alone limits them, as many as a search must have time
    for."""
    return int(to_suggest) if isfinite(to_suggest) else FEWEST_TRIALS


def longest_passes(steps_per_pass: int, searched: float = 0.0) -> float:
    """Passes over the training examples that a final makes at most: twice those of the search's
    trials where they make many."""
    return max(float(LONGEST), LONGEST_STEPS / steps_per_pass, 2 * searched)


def useful_share(passes: float, labelled: float = LABELLED) -> float:
    """Texts without labels, for each labelled example, that so many passes have time for."""
    return round(max(passes / labelled - 1.0, 0.0), 2)
