"""The best trials of a run, worked out by hand."""

import pytest

from search.record.trial_record import FAILED, FINISHED, PENDING, STOPPED, TrialRecord
from search.results.best_trials import best_finished, best_trials, recipe_scores
from trainable.config.trial_config import TrialConfig

GROWTH = {"alpha_schedule": "cosine_growth", "sharpness": 2.0, "aligned_layers": "1,2,3"}
FIXED = {"alpha": 0.5, "aligned_layers": "1,2,3"}


def trial(best5, outcome=FINISHED, **settings):
    evaluations = [] if best5 is None else [{"best5": best5}]
    return TrialRecord(TrialConfig(**settings), outcome, evaluations=evaluations)


def test_best_are_those_of_highest_best5_among_the_finished():
    trials = [
        trial(0.90, **GROWTH),
        trial(0.99, STOPPED, **FIXED),
        trial(0.98, FAILED, **FIXED, temperature=3.0),
        trial(None, PENDING, **FIXED, temperature=4.0),
        trial(0.91, **GROWTH, initialisation="random"),
        trial(0.89, **FIXED, temperature=5.0),
        trial(0.89, **FIXED, temperature=4.5),  # of equal scores the first planned comes first
    ]
    assert best_finished(trials) == [trials[n] for n in (4, 0, 5, 6)]
    assert best_finished(trials[1:4]) == []


def test_seeds_of_a_recipe_count_by_their_mean():
    lucky = [trial(best5, **GROWTH, seed=s) for s, best5 in enumerate((0.90, 0.96, 0.86))]
    steady = [trial(best5, **FIXED, seed=s) for s, best5 in enumerate((0.92, 0.93, 0.91))]
    stopped = trial(0.5, STOPPED, **FIXED, seed=3)
    trials = [*lucky, *steady, stopped]
    ranked = [steady[1], steady[0], steady[2], lucky[1], lucky[0], lucky[2], stopped]
    assert best_trials(trials) == ranked
    assert best_finished(trials) == [steady[1], lucky[1]]
    means = recipe_scores([*trials, trial(None, PENDING, **GROWTH, temperature=4.0)])
    assert means == {
        (FINISHED, lucky[0].config.recipe): pytest.approx(0.9066667),
        (FINISHED, stopped.config.recipe): pytest.approx(0.92),
        (STOPPED, stopped.config.recipe): 0.5,
    }
