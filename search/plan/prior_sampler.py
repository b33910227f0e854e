"""PriorBand's way to draw: from priors, near the best trial so far, or at random (Mallik et al.
2023, "PriorBand: Practical Hyperparameter Optimization in the Age of Deep Learning", NeurIPS)."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from math import inf
from typing import Any

import numpy as np
import optuna
from optuna.distributions import CategoricalDistribution
from optuna.samplers import RandomSampler
from optuna.trial import FrozenTrial, TrialState

from search.plan.objectives import FEEDFORWARD, LAYERS
from trainable.common.errors import UserError

Values = Mapping[str, Any]
RANDOM_SHARE = 1 / 5  # of trials that are drawn uniformly, whatever has worked
BETTER = 3  # one in so many completed trials decides between the priors and the best trial
KEPT = 1 / 2  # chance that a setting of the best trial is not changed
NEAR = 1 / 4  # standard deviation of a number's change, as a share of its (log) range
POINTS = 1001  # of a number's range, from which it is drawn


class PriorSampler(RandomSampler):  # type: ignore[misc] # Optuna's types are not read
    """Draws all settings of a trial from one source, which the seed and the trial's number choose.

    `priors` are a space's PRIORS. Completed trials rank by how far they came (their attribute
    `evaluations`), then by their first value, which is maximised.
    """

    def __init__(self, seed: int, priors: Values) -> None:
        super().__init__(seed)
        self._seed, self._priors = seed, priors

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Chooses the trial's source: priors and the settings of the best trial, or neither."""
        self._generator = np.random.default_rng((self._seed, trial.number))
        trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        trials.sort(key=lambda t: (-t.user_attrs.get("evaluations", 0), -t.values[0]))
        best = dict(trials[0].params) if trials else {}
        if len(study.directions) > 1:
            of_shape = (LAYERS, FEEDFORWARD)  # whose cost is weighed: all are drawn alike
            best = {key: value for key, value in best.items() if key not in of_shape}
        near = (1 - RANDOM_SHARE) * share_of_best(trials, best, self._priors)
        sources = [({}, {}), (self._priors, best), (self._priors, {})]
        shares = [RANDOM_SHARE, near, 1 - RANDOM_SHARE - near]
        self._source = sources[self._generator.choice(len(sources), p=shares)]

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, name: str, about: Any
    ) -> Any:
        """A setting's value from the trial's source."""
        priors, best = self._source
        if name not in priors and name not in best:
            return super().sample_independent(study, trial, name, about)
        values, chances = _law(about, priors.get(name), best.get(name))
        value = values[self._generator.choice(len(values), p=chances)]
        if name in best and self._generator.random() < KEPT:
            value = best[name]
        if isinstance(about, CategoricalDistribution):
            return value
        return type(about.low)(min(max(value, about.low), about.high))


def share_of_best(ranked: Sequence[FrozenTrial], best: Values, priors: Values) -> float:
    """How many of the trials that are not drawn at random are drawn near the best one, 0 to 1.

    It is its share of the density at the better third, weighted by rank; 0 until there are three.
    """
    better = ranked[: len(ranked) // BETTER]
    if not better:
        return 0.0
    densities = [[_density(t, priors, source) for t in better] for source in (best, {})]
    of_best, of_priors = np.array(densities) @ np.arange(len(better), 0, -1)
    return float(of_best / (of_best + of_priors))


def check_prior(flag: str, prior: Any, about: Any) -> None:
    """UserError for what can't be the prior of a setting that is drawn so."""
    with suppress(AttributeError, TypeError, ValueError):  # of another type
        if isinstance(about, CategoricalDistribution):
            wanted = f"a dict of weights above 0 for any of {', '.join(map(str, about.choices))}"
            if {*prior} <= {*about.choices} and all(0 < w < inf for w in prior.values()):
                return
        else:
            least = (about.high - about.low) / (POINTS - 1)  # from a point to the next
            if about.log:
                least = (about.high / about.low) ** (1 / (POINTS - 1))
            wanted = f"(centre from {about.low:g} to {about.high:g}, spread above {least:g})"
            centre, spread = prior
            if about.low <= centre <= about.high and least < spread < inf:
                return
    raise UserError(f"{flag}{prior} is not {wanted}")


def _density(trial: FrozenTrial, priors: Values, best: Values) -> float:
    """At a trial, relative to that of uniform draws."""
    density = 1.0
    for name, about in trial.distributions.items():
        values, chances = _law(about, priors.get(name), best.get(name))
        value, number = trial.params[name], not isinstance(about, CategoricalDistribution)
        index = np.abs(values - value).argmin() if number else values.index(value)
        density *= float(chances[index]) * len(values)
    return density


def _law(about: Any, prior: Any, best: Any) -> tuple[Any, np.ndarray]:
    """A setting's values and how often each is drawn, by a prior, or near the best trial's."""
    if isinstance(about, CategoricalDistribution):
        weights = np.array([prior.get(c, 1.0) if prior else 1.0 for c in about.choices])
        same = np.array([c == best for c in about.choices])
        weights += same * weights.sum() * KEPT / (1 - KEPT)
        return about.choices, weights / weights.sum()
    values = (np.geomspace if about.log else np.linspace)(about.low, about.high, POINTS)
    if about.step is not None:
        values = about.low + about.step * np.round((values - about.low) / about.step)
        if not about.log and (count := np.round((about.high - about.low) / about.step)) < POINTS:
            values = about.low + about.step * np.arange(count + 1)
    scale = np.log if about.log else np.asarray
    low, high, *normal = scale([about.low, about.high, *(prior or ())])
    if best is not None:
        normal = [scale(best), NEAR * (high - low)]
    centre, spread = normal or (low, inf)
    weights = np.exp(-(((scale(values) - centre) / spread) ** 2) / 2) + np.finfo(float).tiny
    return values, weights / weights.sum()
