"""Statistics of a trial's answers: pure functions, whose resamples are always the same."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.optimize import brentq
from scipy.stats import chi2, norm
from scipy.stats import t as student_t

from trainable.engine.metrics import best5_indices

LEVEL = 0.05  # chance of claiming any difference where there is none
CONFIDENCE = 1 - LEVEL
RESAMPLES = 2000
BOOTSTRAP_SEED = 0  # of every resampling, so that a run has the same intervals each time
SHOW_SEEDS = 3  # of each of two recipes, that show how much seeds differ
SEED_SD = 0.004  # between seeds of one recipe, in shares of accuracy; of other metrics `seed_sd_of`
TAILS = (1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2
PARTS = 20  # in which resamples are drawn
LEAST_LOG_P = -230.0  # smaller p-values are not distinguished
ROUNDING = 1e-12  # means that differ by less are equal
PRIOR_POINTS, PRIOR_STEPS = 200, 300  # of the prior's grid, and of the iteration that fits it


def best5_scores(scores: Sequence[np.ndarray]) -> np.ndarray:
    """For each of N examples the mean of its scores in the five best evaluations, [N].

    `scores` has one array [N] an evaluation, whose mean is that evaluation's score: the mean of the
    result is best5. Of accuracy, it is the share of the five that got the example right.
    """
    means = [float(np.mean(of_evaluation)) for of_evaluation in scores]
    best = np.array([scores[index] for index in best5_indices(means)], dtype=np.float64)
    return np.asarray(best.mean(axis=0))


def bootstrap_interval(scores: np.ndarray) -> tuple[float, float]:
    """95% percentile bootstrap interval of the mean of `scores` [N] over evaluation examples.

    It shows how much the score would move on other examples of the same kind, not on another seed,
    nor how much picking the best evaluations flatters it.
    """
    low, high = np.quantile(resampled_means(scores[None])[:, 0], TAILS)
    return float(low), float(high)


@dataclass(frozen=True)
class Difference:
    """How much better the first is than the second, in shares (0.01 is one point)."""

    estimate: float
    low: float  # of the interval, 95% unless said otherwise
    high: float
    p_value: float = np.nan  # two-sided, of no difference between recipes; NaN of students


def paired_difference(first: np.ndarray, second: np.ndarray) -> Difference:
    """Of the means of two students' scores [N] on the same examples, for other examples alone."""
    gaps = first - second
    if not gaps.any():
        return Difference(0.0, -(most := most_unseen(len(gaps))), most)
    ends = bootstrap_interval(gaps)
    return Difference(float(gaps.mean()), *ends)


def most_unseen(count: int, level: float = LEVEL) -> float:
    """The largest share of examples that may differ where none of `count` does, hence the largest
    difference of means: Wilson's limit (1927, JASA 22, 209-212), z^2 / (count + z^2)."""
    square = norm.isf(level / 2) ** 2
    return float(square / (count + square))


def look_levels(looks: Sequence[int]) -> np.ndarray:
    """Level of the tests at each of K looks at growing numbers of seeds, [K]; they add up to LEVEL.

    Alpha spending (Lan & DeMets 1983, Biometrika 70, 659-663) of O'Brien and Fleming's kind: up to
    the share t of the most seeds 2 - 2 Phi(z_{LEVEL / 2} / sqrt(t)) is spent. A look has what is
    spent since the one before: a union bound, which holds however the looks depend on one another.
    """
    spent = 2 * norm.sf(norm.isf(LEVEL / 2) / np.sqrt(np.asarray(looks) / looks[-1]))
    return np.diff(spent, prepend=0.0)


def seeds_difference(first: np.ndarray, second: np.ndarray, level: float = LEVEL) -> Difference:
    """Of the mean scores of two recipes, for other seeds AND other examples.

    `first` [S, N] and `second` [S', N]: each seed's scores (or pseudo-values) on the same N
    examples, paired by example. The interval has confidence 1 - `level`. Deterministic: no
    resampling. Raises ValueError below two seeds or for unfit shapes.

    Seeds and examples are crossed random effects, as readers and cases are in radiology (Dorfman,
    Berbaum & Metz 1992, Investigative Radiology 27; Hillis 2007, Statistics in Medicine 26,
    596-619). The variance of a difference of two means is

        V_seeds + V_examples = sum MS_seeds / (S N) + max(var(D) / N - V_rest, 0)

    with D [N] the difference of the recipes' means on each example, and over both recipes' two-way
    tables the mean squares of seeds and V_rest = sum MS_rest / (S N). V_seeds has Welch's degrees
    of freedom only. The interval, and by inversion the p-value, allows for that in Howe's way
    (1974, JASA 69, 789-794): its half width is sqrt(t^2 V_seeds + z^2 V_examples), with Student's
    quantile and the normal's; where seeds agree by luck, z^2 V_rest stands for the first term,
    since V_seeds can't truly be less.

    Seeds are not paired, which would halve the degrees of freedom: if one makes all recipes better
    or worse together, this claims too little, not too much.
    """
    first, second = (np.asarray(scores, dtype=np.float64) for scores in (first, second))
    if first.shape[1] != second.shape[1] or min(len(first), len(second), first.shape[1]) < 2:
        raise ValueError(f"scores of shapes {first.shape}, {second.shape}: at least two seeds each")
    estimate = float(first.mean() - second.mean())
    parts = np.array([np.var(of.mean(axis=1), ddof=1) / len(of) for of in (first, second)])
    freedoms, of_seeds = np.array([len(first) - 1, len(second) - 1]), float(parts.sum())
    freedom = of_seeds**2 / np.sum(parts**2 / freedoms) if of_seeds else freedoms.sum()
    of_rest = rest_variance(first) + rest_variance(second)
    gaps = first.mean(axis=0) - second.mean(axis=0)
    of_examples = max(float(np.var(gaps, ddof=1)) / len(gaps) - of_rest, 0.0)

    def half_width(log_p: float) -> float:
        tail = np.exp(log_p) / 2
        seeds = student_t.isf(tail, freedom) * np.sqrt(of_seeds)
        seeds = max(seeds, norm.isf(tail) * np.sqrt(of_rest))
        return float(np.hypot(seeds, norm.isf(tail) * np.sqrt(of_examples)))

    half = half_width(np.log(level))
    if half < ROUNDING:  # the seeds agree on every example, and it is the same in all
        p_value = float(abs(estimate) < ROUNDING)
        half = most_unseen(len(gaps), level) if p_value else half
    elif half_width(LEAST_LOG_P) <= abs(estimate):
        p_value = float(np.exp(LEAST_LOG_P))
    else:
        p_value = np.exp(brentq(lambda log_p: half_width(log_p) - abs(estimate), LEAST_LOG_P, 0.0))
    return Difference(estimate, estimate - half, estimate + half, float(p_value))


def recipes_difference(
    first: np.ndarray, second: np.ndarray, seed_sd: float = SEED_SD, level: float = LEVEL
) -> Difference:
    """`seeds_difference` of two recipes' scores, [S, N] and [S', N], also of fewer than three
    seeds.

    So few show little of how much seeds differ, and two of each would show less than one does
    (Student's quantile of two degrees of freedom is twice the normal's, of Bonferroni's levels four
    times): a standard deviation of `seed_sd` is assumed, or what seeds show, if that is
    significantly more.
    """
    if min(len(first), len(second)) >= SHOW_SEEDS:
        return seeds_difference(first, second, level)
    gaps = first.mean(axis=0) - second.mean(axis=0)
    of_seeds = seed_variance([first, second], seed_sd) * (1 / len(first) + 1 / len(second))
    noise = of_seeds + gaps.var(ddof=1) / len(gaps)
    estimate, half = float(gaps.mean()), float(norm.isf(level / 2) * np.sqrt(noise))
    return Difference(estimate, estimate - half, estimate + half)


def seed_variance(recipes: Sequence[np.ndarray], seed_sd: float) -> float:
    """The variance of a recipe's score between seeds: `seed_sd` squared, unless recipes of several
    seeds, [S, N] each, differ by more (chi-squared test): then theirs, times what Student's
    quantile has over the normal's, squared, since callers take it for known."""
    several = [scores for scores in recipes if len(scores) > 1]
    freedoms = [len(scores) - 1 for scores in several]
    if not several:
        return seed_sd**2
    of_means = [np.var(scores.mean(axis=1), ddof=1) for scores in several]
    of_rest = [len(scores) * rest_variance(scores) for scores in several]
    seen, rest = (float(np.average(of, weights=freedoms)) for of in (of_means, of_rest))
    freedom = sum(freedoms)
    if seen <= (seed_sd**2 + rest) * chi2.isf(LEVEL, freedom) / freedom:
        return seed_sd**2
    wider = student_t.isf(LEVEL / 2, freedom) / norm.isf(LEVEL / 2)
    return float((seen - rest) * wider**2)


def mean_interval(scores: np.ndarray, lowest: float = 0.0) -> tuple[float, float]:
    """95% interval of a recipe's mean score; `scores` [S, N], each seed's on the same N examples.

    Of one seed for other examples alone. Of several the interval of `seeds_difference` to one that
    is always 0. Where all scores are equal, such as of no error, `most_unseen` may differ. It ends
    at `lowest`, that of the metric, and at 1.
    """
    if np.all(scores == scores[0, 0]):
        unseen = most_unseen(np.shape(scores)[1])
        low, high = scores[0, 0] - unseen, scores[0, 0] + unseen
    elif len(scores) == 1:
        low, high = bootstrap_interval(scores[0])
    else:
        of_seeds = seeds_difference(scores, np.zeros(np.shape(scores)))
        low, high = of_seeds.low, of_seeds.high
    return max(float(low), lowest), min(float(high), 1.0)


def rest_variance(group: np.ndarray) -> float:
    """What neither a seed [S] nor an example [N] explains adds to the variance of the mean."""
    seeds, examples = group.shape
    left = group - group.mean(axis=1, keepdims=True) - group.mean(axis=0) + group.mean()
    freedom = (seeds - 1) * (examples - 1)
    return float(np.sum(left**2) / freedom / (seeds * examples))


def shrunk_means(means: np.ndarray, variances: np.ndarray) -> np.ndarray:
    """What K recipes' scores are expected to be without their noise, [K], in shares.

    `means` [K] are the scores, `variances` [K] those of their noise, in shares squared, above 0.
    These are posterior means, empirical Bayes: the prior is fitted to the scores. The highest of
    many scores owes some of its height to luck, on average as much as it is lowered here.

    Noise is normal. A normal prior, too (Efron & Morris 1975, JASA 70, 311-319), would take the
    recipes that learned nothing for a sign that the best differ as widely: it then expects as
    little as a tenth of the luck that there is. So the prior has any shape: it is the one of
    greatest likelihood (Kiefer & Wolfowitz 1956, Annals of Mathematical Statistics 27, 887-906) on
    a grid, found by EM (Laird 1978, JASA 73, 805-811; Jiang & Zhang 2009, Annals of Statistics 37,
    1647-1684).
    """
    # The scores are on the grid, too: however little the noise, each is near some point of it.
    grid = np.union1d(np.linspace(np.min(means), np.max(means), PRIOR_POINTS), means)
    likelihood = norm.pdf(np.asarray(means)[:, None], grid, np.sqrt(variances)[:, None])
    prior = np.full(len(grid), 1 / len(grid))
    for _ in range(PRIOR_STEPS):
        posterior = likelihood * prior
        posterior /= posterior.sum(axis=1, keepdims=True)
        prior = posterior.mean(axis=0)
    return np.asarray(posterior @ grid)


def own_variances(scores: np.ndarray) -> np.ndarray:
    """What the choice of examples changes in K recipes' means apart from one another, [K].

    `scores` [K, N]: each recipe's on the same examples; the variances are in shares squared. What
    makes examples hard for all alike does not change who is best, so that each is compared, example
    by example, with the mean of the better half (of fewer than five, of all): those that learned
    nothing say nothing of what is hard. Of M that differ from it independently, the gap of one to
    their mean has 1 - 2 / M of its own variance and 1 / M of their mean one (Grubbs 1948, JASA 43,
    243-264). Two can't be told apart: each has half the variance of their difference.
    """
    means = scores.mean(axis=1)
    better = (means >= np.median(means)) | (len(means) < 5)
    count = int(better.sum())
    gaps = np.var(scores - scores[better].mean(axis=0), axis=1, ddof=1) / scores.shape[1]
    mean_own = gaps[better].sum() / max(count - 1, 1)
    if count < 3:
        return np.full(len(means), mean_own)
    own = gaps - mean_own / count
    return np.asarray(np.where(better, own / (1 - 2 / count), own).clip(min=0.0))


def resampled_means(scores: np.ndarray) -> np.ndarray:
    """Means of K scores [K, N] over RESAMPLES joint resamples of examples, [RESAMPLES, K]."""
    parts, _ = resamples(scores.shape[1])
    return np.concatenate([part.astype(float) @ scores.T / scores.shape[1] for part in parts])


@lru_cache(maxsize=2)  # all of a run have as many examples, or as many of the full split
def resamples(examples: int) -> tuple[list[np.ndarray], np.random.Generator]:
    """How often each of N examples is in each resample, in PARTS [RESAMPLES / PARTS, N]: as bytes,
    since those of 25,000 would fill the memory; and the generator that drew them."""
    generator, parts = np.random.default_rng(BOOTSTRAP_SEED), []
    for _ in range(PARTS):
        drawn = generator.integers(0, examples, size=(RESAMPLES // PARTS, examples))
        drawn += np.arange(len(drawn))[:, None] * examples
        counts = np.bincount(drawn.ravel(), minlength=drawn.size)
        parts.append(counts.reshape(drawn.shape).astype(np.uint8))
    return parts, generator
