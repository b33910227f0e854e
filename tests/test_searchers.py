"""Searchers by name: what their samplers draw, and that only the seed decides."""

import optuna
import pytest

from search.searchers import SEARCHERS, make_random, make_tpe

NAMES = pytest.mark.parametrize("name", SEARCHERS)


def slope(trial):
    """Best at 1; a second value that does not matter."""
    trial.suggest_float("noise", 0.0, 1.0)
    return trial.suggest_float("x", 0.0, 1.0)


def told(sampler, count, seed=0):
    """A study of so many random draws and their values, with this sampler for the next."""
    study = optuna.create_study(direction="maximize", sampler=make_random(seed))
    for _ in range(count):
        trial = study.ask()
        study.tell(trial, slope(trial))
    study.sampler = sampler
    return study


def next_x(name, seed, count):
    trial = told(SEARCHERS[name](seed), count).ask()
    slope(trial)
    return trial.params["x"]


def test_names():
    assert {"optuna": make_tpe, "random": make_random} == SEARCHERS


@NAMES
@pytest.mark.parametrize("count", [0, 20])
def test_seed_decides(name, count):
    assert next_x(name, 1, count) == next_x(name, 1, count) != next_x(name, 2, count)


def test_tpe_learns_and_random_does_not():
    """TPE's draws lie higher than uniform ones; each mean of 40 has a standard error of 0.05."""
    means = {name: sum(next_x(name, seed, 30) for seed in range(40)) / 40 for name in SEARCHERS}
    assert means["optuna"] > 0.75
    assert 0.35 < means["random"] < 0.65


def test_tpe_draws_at_random_until_it_has_seen_eight():
    assert next_x("optuna", 5, 7) == next_x("random", 5, 7)
    assert next_x("optuna", 5, 8) != next_x("random", 5, 8)


def test_no_sampler_warns(recwarn):
    for make in SEARCHERS.values():
        make(0)
    assert list(recwarn) == []
