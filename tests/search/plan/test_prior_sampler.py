"""PriorBand's draws: the shares of its sources, and each source against scipy's distributions."""

import math
from collections import Counter

import numpy as np
import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState, create_trial
from scipy import stats

from search.plan.prior_sampler import (
    KEPT,
    NEAR,
    RANDOM_SHARE,
    PriorSampler,
    check_prior,
    share_of_best,
)
from trainable.common.errors import UserError

PRIORS = {"x": (0.8, 0.1), "rate": (2.0, 1.5), "start": {"spread": 6, "lower": 3, "pretrained": 9}}
STARTS = ("spread", "lower", "random")


def draw(trial):
    """A number, its start, and a rate that two starts alone have."""
    trial.suggest_float("x", 0.0, 1.0)
    if trial.suggest_categorical("start", STARTS) != "random":
        trial.suggest_float("rate", 1.0, 8.0, log=True)
    return trial.params


def draw_with_shape(trial):
    trial.suggest_categorical("student_layers", [2, 3])
    trial.suggest_categorical("feedforward_share", [1.0, 0.5])
    return draw(trial)


def study_of(*rows, directions=("maximize",)):
    """Of trials given as evaluations, values and params."""
    study, asked = optuna.create_study(directions=directions), optuna.create_study()
    for evaluations, values, params in rows:
        asked.enqueue_trial(params)
        drawn = asked.ask()
        (draw if len(directions) == 1 else draw_with_shape)(drawn)
        about = {"params": drawn.params, "distributions": drawn.distributions}
        about["user_attrs"] = {"evaluations": evaluations}
        study.add_trial(create_trial(values=values, **about))
    return study


def draws(study, priors, count=700, draw=draw):
    """What as many samplers draw, one a seed, as one that is made anew for each suggestion."""
    found = []
    for seed in range(count):
        study.sampler = PriorSampler(seed, priors)
        trial = study.ask()
        found.append(dict(draw(trial)))
        study.tell(trial, state=TrialState.FAIL)
    return found


def normal(low, high, centre, spread):
    return stats.truncnorm((low - centre) / spread, (high - centre) / spread, centre, spread)


def mixed(*parts):
    """The distribution function of a mixture of (share, distribution)."""
    return lambda x: sum(share * part.cdf(x) for share, part in parts)


def test_without_trials_a_fifth_is_uniform_and_the_rest_of_the_priors():
    found, rest = draws(optuna.create_study(), PRIORS), 1 - RANDOM_SHARE
    of_x = mixed((rest, normal(0, 1, 0.8, 0.1)), (RANDOM_SHARE, stats.uniform()))
    assert stats.kstest([d["x"] for d in found], of_x).pvalue > 0.01
    logs = np.log([d["rate"] for d in found if "rate" in d])
    end = math.log(8)
    of_rate = normal(0, end, math.log(2), math.log(1.5))
    # Uniform draws have a rate in two of three, those of the prior in nine of ten.
    share = RANDOM_SHARE * 2 / 3 / (RANDOM_SHARE * 2 / 3 + rest * 0.9)
    expected = mixed((1 - share, of_rate), (share, stats.uniform(0, end)))
    assert stats.kstest(logs, expected).pvalue > 0.01
    counts = Counter(d["start"] for d in found)
    wanted = {s: rest * p + RANDOM_SHARE / 3 for s, p in zip(STARTS, (0.6, 0.3, 0.1), strict=True)}
    for start, share in wanted.items():  # a value without a weight, `random`, has 1
        assert counts[start] / len(found) == pytest.approx(share, abs=0.04)


def test_numbers_of_every_kind_are_of_their_type_and_range():
    def numbers(trial):
        trial.suggest_int("batch", 8, 64, step=8)
        trial.suggest_int("depth", 1, 12, log=True)
        trial.suggest_float("share", 0.0, 1.0, step=0.25)
        trial.suggest_float("fixed", 2.0, 2.0)
        return trial.params

    priors = {"batch": (32, 16), "depth": (3, 2), "share": (1.0, 0.5), "fixed": (2.0, 1.0)}
    found = draws(optuna.create_study(), priors, 300, numbers)
    assert {d["batch"] for d in found} == set(range(8, 65, 8))
    assert {d["share"] for d in found} == {0.0, 0.25, 0.5, 0.75, 1.0}
    assert {d["depth"] for d in found} <= set(range(1, 13))
    assert {tuple(type(v) for v in d.values()) for d in found} == {(int, int, float, float)}


def test_whole_numbers_are_drawn_alike_the_first_and_the_last_too():
    priors = {"depth": (9, 50)}
    found = draws(
        optuna.create_study(), priors, 600, lambda t: {"depth": t.suggest_int("depth", 8, 10)}
    )
    counts = Counter(d["depth"] for d in found)
    assert stats.chisquare([counts[depth] for depth in (8, 9, 10)]).pvalue > 0.01


def test_a_prior_is_no_narrower_than_the_points_that_are_drawn():
    about = FloatDistribution(1e-6, 1e-1)
    with pytest.raises(
        UserError, match=r"^rate: \(5e-05, 1e-06\) is not .*spread above 9.9999e-05"
    ):
        check_prior("rate: ", (5e-5, 1e-6), about)
    check_prior("rate: ", (5e-5, 2e-4), about)
    check_prior("rate: ", (5e-5, 1.02), FloatDistribution(1e-6, 1e-1, log=True))
    with pytest.raises(UserError, match=r"spread above 1\.01158"):
        check_prior("rate: ", (5e-5, 1.01), FloatDistribution(1e-6, 1e-1, log=True))


BEST = {"x": 0.2, "start": "lower", "rate": 4.0}


def test_the_best_trial_is_the_one_that_came_farthest_and_its_settings_are_kept_or_near():
    others = [(2, [0.95], {**BEST, "x": 0.9}), (5, [0.7], {**BEST, "x": 0.25})]
    study = study_of(*others, (5, [0.8], BEST))
    share = (1 - RANDOM_SHARE) * share_of_best([study.trials[n] for n in (2, 1, 0)], BEST, PRIORS)
    assert share > 0.5  # it is far from the prior
    found = draws(study, PRIORS)
    kept = sum(d["x"] == 0.2 for d in found) / len(found)
    assert kept == pytest.approx(share * KEPT, abs=0.04)
    of_prior = 1 - RANDOM_SHARE - share
    changed = [d["x"] for d in found if d["x"] != 0.2]
    parts = (share * (1 - KEPT), normal(0, 1, 0.2, NEAR)), (of_prior, normal(0, 1, 0.8, 0.1))
    whole = [(s / (1 - share * KEPT), p) for s, p in (*parts, (RANDOM_SHARE, stats.uniform()))]
    assert stats.kstest(changed, mixed(*whole)).pvalue > 0.01


def test_share_of_the_best_is_that_of_its_density_at_the_better_third():
    """By hand: two of six, of weights 2 and 1; densities are relative to uniform draws."""
    rows = [{"x": x, "start": s, "rate": 2.0} for x, s in ((0.5, "spread"), (0.6, "lower"))]
    rows += [{"x": 0.9, "start": "random"}, *([{"x": 0.1, "start": "random"}] * 3)]
    ranked = study_of(*((1, [1 - n / 10], row) for n, row in enumerate(rows))).trials
    near, of_prior = normal(0, 1, 0.5, NEAR).pdf, normal(0, 1, 0.8, 0.1).pdf
    log2, end = math.log(2), math.log(8)
    rate = [end * normal(0, end, log2, s).pdf(log2) for s in (NEAR * end, math.log(1.5))]
    spread, lower = 3 * (KEPT + (1 - KEPT) * 0.6), 3 * (1 - KEPT) * 0.3
    best = rate[0] * (2 * near(0.5) * spread + near(0.6) * lower)
    prior = rate[1] * (2 * of_prior(0.5) * 3 * 0.6 + of_prior(0.6) * 3 * 0.3)
    found = share_of_best(ranked, ranked[0].params, PRIORS)
    assert found == pytest.approx(best / (best + prior), rel=2e-3)
    assert share_of_best(ranked[:2], ranked[0].params, PRIORS) == 0.0


def test_shapes_that_are_weighed_against_their_cost_are_drawn_alike():
    shape = {"student_layers": 3, "feedforward_share": 0.5}
    rows = [(5, [0.9 - n / 10, 3.0], {**BEST, **shape}) for n in range(4)]
    study = study_of(*rows, directions=("maximize", "minimize"))
    found = draws(study, PRIORS, 600, draw_with_shape)
    assert sum(d["x"] == 0.2 for d in found) > 150
    for name, value in shape.items():
        assert np.mean([d[name] == value for d in found]) == pytest.approx(0.5, abs=0.06)
