"""The table of the search benchmark: accuracy held out, and what each way gains over references."""

from collections import defaultdict

import numpy as np
from scipy.stats import norm
from scipy.stats import t as student_t

from search.results.statistics import CONFIDENCE, Difference, seeds_difference
from tests.scripts.benchmark_data import DATASETS
from trainable.engine.metrics import unpack_predictions

REFERENCES = ("default", "long")


def difference(first, second):
    """Of two ways' bits, [S, N] and [S', N], paired by example. With two seeds of each the interval
    is for other seeds and examples, else for other examples alone."""
    if min(len(first), len(second)) > 1:
        return seeds_difference(first, second)
    gaps = first.mean(axis=0) - second.mean(axis=0)
    half = norm.ppf((1 + CONFIDENCE) / 2) * gaps.std(ddof=1) / len(gaps) ** 0.5
    return Difference(gaps.mean(), gaps.mean() - half, gaps.mean() + half)


def mean_differences(differences):
    """The mean over D data sets: its interval on these, and for other data sets (D - 1 degrees of
    freedom). Held-out examples that data sets share count as different ones."""
    estimates = np.array([d.estimate for d in differences])
    mean, count = estimates.mean(), len(estimates)
    half = np.sqrt(sum(((d.high - d.low) / 2) ** 2 for d in differences)) / count
    others = np.nan
    if count > 1:
        spread = estimates.std(ddof=1) / count**0.5
        others = student_t.ppf((1 + CONFIDENCE) / 2, count - 1) * spread
    return [Difference(mean, mean - h, mean + h) for h in (half, others)]


def points(gap):
    """`+0.42 (-0.10 to +0.94)`."""
    return f"{100 * gap.estimate:+6.2f} ({100 * gap.low:+.2f} to {100 * gap.high:+.2f})"


def print_table(results, budget):
    """Accuracy held out, and its difference to the references in points."""
    bits = defaultdict(dict)
    for r in results:
        if r["budget"] in (None, budget):
            bits[r["way"], r["dataset"]][r["seed"]] = unpack_predictions(
                r["correct"], r["examples"], 2
            )
    bits = {key: np.array(list(seeds.values()), dtype=float) for key, seeds in bits.items()}
    gaps = defaultdict(dict)
    print(f"\nbudget {budget}\n{'data set':10}{'way':14}{'seeds':>5} held out", end="")
    print(*[f"{f'points over {name} (95%)':>32}" for name in REFERENCES])
    for way, dataset in sorted(bits, key=lambda key: DATASETS.index(key[1])):
        ours, row = bits[way, dataset], []
        for reference in REFERENCES:
            theirs = bits.get((reference, dataset))
            if theirs is None or way == reference:
                row.append(f"{'-':>32}")
                continue
            gaps[way, reference][dataset] = difference(ours, theirs)
            row.append(f"{points(gaps[way, reference][dataset]):>32}")
        print(f"{dataset:10}{way:14}{len(ours):5}   {ours.mean():.4f}", *row)
    for (way, reference), found in gaps.items():
        here, elsewhere = map(points, mean_differences(list(found.values())))
        also = f"; for other data sets ({elsewhere.split('(')[1]}" if len(found) > 1 else ""
        print(f"{way} over {reference}, mean of {len(found)} data sets: {here}{also}")
