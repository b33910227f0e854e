"""Searchers compared on a surrogate: `python -m tests.scripts.searcher_comparison RUN`, by hand.

The surrogate is a random forest of a real run's final accuracies, best of random draws. Searchers
play whole searches on it: they are told its values with the noise of seeds and examples added; what
counts is the value without noise of the configuration recommended: the one of the luckiest score,
or of the highest posterior mean of a Gaussian process over all settings. (That of `expected` is the
luckiest here: all scores have the same noise.) Sweeps of one number have the same seed and noise.
"""

import argparse
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import optuna
from scipy.stats import spearmanr
from sklearn.ensemble import RandomForestRegressor
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

from search.plan.draws import draw_config, starting_points
from search.policy import suggestions
from search.policy.suggestions import STARTUP_TRIALS, study_of
from search.record.run import read_run
from search.record.trial_record import FINISHED
from search.results.scores import last_score
from search.results.statistics import shrunk_means
from spaces import load_space


def make_gp(seed, _):
    """Optuna's Gaussian process with a noise variance that it fits, and expected improvement.

    It models the settings alone that every finished configuration has; others are drawn at random.
    """
    return optuna.samplers.GPSampler(
        n_startup_trials=STARTUP_TRIALS,
        seed=seed,
        deterministic_objective=False,
        warn_independent_sampling=False,
    )


MISSING = -1.0  # of a setting that is not drawn; the others are 0 to 1
TREES = 200
SAMPLERS = {**suggestions.SAMPLERS, "gp": make_gp}  # the first is what the others are compared with


def encode(trial, columns):
    """A drawn configuration as numbers [columns]: shares of a range, choices one-hot."""
    values = dict.fromkeys(columns, MISSING)
    for name, about in trial.distributions.items():
        inner = about.to_internal_repr(trial.params[name])
        if isinstance(about, optuna.distributions.CategoricalDistribution):
            values |= {(name, n): float(n == inner) for n in range(len(about.choices))}
        else:
            ends = np.array([about.low, about.high, inner])
            low, high, own = np.log(ends) if about.log else ends
            values[name, 0] = (own - low) / (high - low)
    return [values[column] for column in columns]


def surrogate(run):
    """The forest, its columns, and the out-of-bag R^2 over the run's finished trials."""
    made = {trial.user_attrs["trials"][0]: trial for trial in study_of(run).trials}
    ended = [t for t in run.trials.values() if t.outcome == FINISHED and t.config.digest in made]
    drawn = [made[trial.config.digest] for trial in ended]
    last = [trial.evaluations[-1] for trial in ended]
    truth = [last_score(e) for e in last]
    columns = {
        (name, n): None
        for trial in made.values()
        for name, about in trial.distributions.items()
        for n in range(len(getattr(about, "choices", "1")))  # a number has one column
    }
    forest = RandomForestRegressor(TREES, max_features=0.5, oob_score=True, random_state=0)
    forest.fit([encode(trial, columns) for trial in drawn], truth)
    ranks = spearmanr(truth, forest.oob_prediction_).statistic
    print(f"{len(truth)} trials; out of bag R^2 {forest.oob_score_:.2f}, rank corr. {ranks:.2f}")
    return forest, columns


def search(name, seed, request, forest, columns, asked):
    """One sweep: of each configuration the encoded settings, the true value and the score."""
    luck = np.random.default_rng(seed).normal(0.0, asked.noise, asked.samples)
    study, rows = optuna.create_study(direction="maximize"), []
    priors = load_space(request.space)[2]
    for _, start in [] if asked.bare else starting_points(replace(request, seeds=1)):
        study.enqueue_trial(start)
    for number in range(asked.samples):
        state = np.random.SeedSequence([seed, number]).generate_state(1)
        study.sampler = SAMPLERS[name](int(state[0]), priors)
        draw_config(request, trial := study.ask())
        settings = encode(trial, columns)
        truth = float(forest.predict([settings])[0])
        rows.append((settings, truth, truth + luck[number]))
        study.tell(trial, rows[-1][2])
    return [np.array(column) for column in zip(*rows, strict=True)]


def recommended(settings, truth, scores, noise):
    """True values of the luckiest, of the best posterior mean and of the best; luck, foretold."""
    kernel = ConstantKernel(1.0) * Matern(1.0, nu=2.5) + WhiteKernel(0.1)
    process = GaussianProcessRegressor(kernel, normalize_y=True).fit(settings, scores)
    first = int(scores.argmax())
    likely = int(process.predict(settings).argmax())
    expected = shrunk_means(scores, np.full(len(scores), noise**2))
    luck = scores[first] - truth[first]
    return truth[first], truth[likely], truth.max(), luck, scores[first] - expected[first]


def describe(values):
    """`89.12 (0.03)`: mean and standard error, in points."""
    return f"{100 * np.mean(values):7.3f} ({100 * np.std(values, ddof=1) / len(values) ** 0.5:.3f})"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--sweeps", type=int, default=20)
    parser.add_argument("--samples", type=int, default=40)
    parser.add_argument("--noise", type=float, default=0.006)
    parser.add_argument("--bare", action="store_true", help="without the space's own starts")
    asked = parser.parse_args()
    run, found = read_run(asked.run), {}
    forest, columns = surrogate(run)
    warnings.simplefilter("ignore")  # of fits that end at a bound
    for name in SAMPLERS:
        sweeps = [search(name, n, run.request, forest, columns, asked) for n in range(asked.sweeps)]
        found[name] = np.array([recommended(*sweep, asked.noise) for sweep in sweeps])
        print(name, *map(describe, found[name].T), flush=True)
    print("mean (standard error), points: luckiest, posterior mean, best, luck, foretold; paired:")
    (usual, first), *others = found.items()
    for name, values in others:
        print(f"{name} - {usual}", *map(describe, (values - first)[:, :3].T))


if __name__ == "__main__":
    main()
