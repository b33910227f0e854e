"""Finalists, baselines, pairs and seeds, by hand; and what holds for every recipe there may be."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from search.record.run import Run
from search.record.trial_record import FAILED, FINISHED, PENDING, STOPPED, TrialRecord
from search.results.finalists import (
    Confirmation,
    baselines_of,
    best_finished,
    fresh_seeds,
    named_trials,
    plain_student,
    recipe_scores,
)
from tests.made_runs import asked
from trainable.config.trial_config import TrialConfig

GROWTH = {"alpha_schedule": "cosine_growth", "sharpness": 2.0}
FIXED = {"alpha_schedule": "fixed", "alpha": 0.5}
CE_ONLY = {"alpha_schedule": "fixed", "alpha": 1.0}


def config(**settings):
    return TrialConfig(**({"aligned_layers": "1,2,3"} | settings))


def ce_only(**settings):
    return TrialConfig(**CE_ONLY, **settings)


def trial(best5, outcome=FINISHED, **settings):
    evaluations = [] if best5 is None else [{"best5_accuracy": best5}]
    return TrialRecord(config(**settings), outcome, evaluations=evaluations)


def confirmation(*finalists, seeds=(1, 2)):
    return Confirmation(
        run="mine",
        started="then",
        finalists=tuple(finalists),
        scores=tuple(0.9 for _ in finalists),
        seeds=seeds,
        asked=(len(seeds),),
    )


def test_best_are_those_of_highest_best5_among_the_finished():
    trials = [
        trial(0.90, **GROWTH),
        trial(0.99, STOPPED, **FIXED),
        trial(0.98, FAILED, **FIXED, temperature=3.0),
        trial(None, PENDING, **FIXED, temperature=4.0),
        trial(0.91, **GROWTH, initialisation="random"),
        trial(0.89, **FIXED, temperature=5.0),
    ]
    assert best_finished(trials)[:2] == [trials[4], trials[0]]
    assert best_finished(trials) == [trials[4], trials[0], trials[5]]
    assert best_finished(trials[1:4]) == []


def test_seeds_of_a_recipe_count_by_their_mean():
    lucky = [trial(best5, **GROWTH, seed=s) for s, best5 in enumerate((0.90, 0.96, 0.86))]
    steady = [trial(best5, **FIXED, seed=s) for s, best5 in enumerate((0.92, 0.93, 0.91))]
    stopped = trial(0.5, STOPPED, **FIXED, seed=3)
    trials = [*lucky, *steady, stopped]
    assert best_finished(trials)[:2] == [steady[1], lucky[1]]
    means = recipe_scores([*trials, trial(None, PENDING, **GROWTH, temperature=4.0)])
    assert means == {
        (FINISHED, lucky[0].config.recipe): pytest.approx(0.9066667),
        (FINISHED, stopped.config.recipe): pytest.approx(0.92),
        (STOPPED, stopped.config.recipe): 0.5,
    }


def test_what_is_idle_makes_no_recipe_of_its_own():
    """The weight of hidden states where none are aligned."""
    same = [
        TrialRecord(TrialConfig(**GROWTH, hidden_weight=w), FINISHED, evaluations=[score])
        for w, score in ((1.0, {"best5_accuracy": 0.8}), (10.0, {"best5_accuracy": 0.9}))
    ]
    assert best_finished(same) == [same[1]]
    aligned = [trial(0.8, **GROWTH), trial(0.9, **GROWTH, hidden_weight=9.0)]
    assert len(best_finished(aligned)) == 2


def test_of_equal_scores_the_first_planned_comes_first():
    trials = [trial(0.9, **FIXED, temperature=t) for t in (3.0, 2.0, 4.0)]
    assert best_finished(trials)[:2] == trials[:2]


def test_named_by_digest_and_by_folder_best_first():
    alone = {"alpha_schedule": "fixed", "alpha": 0.25}
    trials = [trial(0.8, **FIXED), trial(0.9, STOPPED, **GROWTH), trial(None, PENDING, **alone)]
    run = Run(Path("mine"), None, {t.config.digest: t for t in trials})
    names = [trials[2].config.digest, trials[0].config.folder_name, trials[1].config.digest[:4]]
    assert named_trials(run, names) == [trials[1], trials[0], trials[2]]
    assert named_trials(run, [names[1], names[1]]) == [trials[0]]
    assert named_trials(run, []) == []


@pytest.mark.parametrize(
    ("finalist", "baselines"),
    [
        (config(**GROWTH), [config(**FIXED), ce_only()]),
        (config(**FIXED), [ce_only()]),
        (ce_only(), [TrialConfig(**FIXED)]),
        (config(alpha=0.25), [config(**FIXED), ce_only()]),
        (
            config(**GROWTH, initialisation="random", learning_rate=3e-4, temperature=4.0),
            [
                config(**FIXED, initialisation="random", learning_rate=3e-4, temperature=4.0),
                ce_only(initialisation="random", learning_rate=3e-4, temperature=4.0),
            ],
        ),
    ],
)
def test_baselines_by_hand(finalist, baselines):
    assert baselines_of(finalist) == baselines


def test_baselines_that_finalists_share_are_trained_once():
    """Cross-entropy only is the same whatever the layers; fixed alpha is not."""
    first, second = config(**GROWTH), config(**GROWTH | {"aligned_layers": "4,5,6"})
    made = confirmation(first, second)
    fixed = [config(**FIXED), config(**FIXED | {"aligned_layers": "4,5,6"})]
    assert made.recipes == [first, second, fixed[0], ce_only(), fixed[1]]
    assert made.pairs == [
        (first, fixed[0]),
        (first, ce_only()),
        (second, fixed[1]),
        (second, ce_only()),
        (first, second),
    ]


def test_baseline_that_is_a_finalist_is_trained_and_compared_once():
    growth, fixed, alone = config(**GROWTH), config(**FIXED), ce_only()
    made = confirmation(fixed, growth, alone)
    assert made.recipes == [fixed, growth, alone, TrialConfig(**FIXED)]
    assert made.pairs == [
        (fixed, alone),
        (growth, fixed),
        (growth, alone),
        (alone, TrialConfig(**FIXED)),
    ]


def test_trials_are_each_recipe_on_each_seed_whole_seeds_first():
    finalist = config(**GROWTH, seed=1)
    made = confirmation(finalist, seeds=(4, 6)).trials()
    recipes = [finalist, config(**FIXED), ce_only()]
    assert made == [replace(recipe, seed=seed) for seed in (4, 6) for recipe in recipes]


def test_trials_keep_what_is_idle_as_the_run_had_it():
    """Their digests are then the run's, seed apart."""
    finalist = TrialConfig(**GROWTH, hidden_weight=10.0)
    made = confirmation(finalist, seeds=(3, 4))
    assert made.trials()[0] == replace(finalist, seed=3)
    assert made.recipes[0] == replace(finalist, hidden_weight=1.0)
    assert [trial.recipe for trial in made.trials()] == made.recipes * 2


@pytest.mark.parametrize(
    ("used", "count", "seeds"),
    [({0}, 3, [1, 2, 3]), ({0, 1, 2}, 2, [3, 4]), ({3, 7}, 2, [8, 9]), (set(), 2, [0, 1])],
)
def test_fresh_seeds(used, count, seeds):
    found = fresh_seeds(used, count)
    assert found == seeds
    assert not set(found) & used
    for seed in found:
        TrialConfig(alpha=0.5, seed=seed)  # a seed that a trial may have


def test_more_seeds_are_added_behind_and_none_is_taken_away():
    made = confirmation(config(**GROWTH), seeds=(1, 2))
    more = made.with_seeds(4, used={0, 3})
    assert (more.seeds, more.asked) == ((1, 2, 4, 5), (2, 4))
    assert more.trials()[: len(made.trials())] == made.trials()
    assert made.with_seeds(2, {0}) == made.with_seeds(0, {0}) == made
    assert more.with_seeds(3, {0}) == more


def test_confirmation_survives_json():
    made = replace(confirmation(config(**GROWTH), ce_only(seed=3)), scores=(0.9, None))
    values = json.loads(json.dumps(asdict(made)))
    assert Confirmation.from_dict(values) == made


def test_the_best_is_compared_with_the_student_that_is_simply_fine_tuned():
    """By the preset's learning rate and the model's own shape, as long as the best trained."""
    shape = (("student_layers", 4), ("student_width", 256))
    request = asked(student="some/model", pretrained=shape)
    best, other = config(**GROWTH, epochs=5), config(**GROWTH, temperature=3.0)
    plain = plain_student(request, best)
    rate = request.effective_preset.learning_rates["pretrained"]
    own = {"initialisation": "pretrained", "learning_rate": rate, **dict(shape)}
    assert plain == ce_only(**own, epochs=5)
    made = replace(confirmation(best, other), baselines=(plain,))
    assert set(made.pairs) - set(confirmation(best, other).pairs) == {(best.recipe, plain.recipe)}
    assert plain.recipe in made.recipes
    assert Confirmation.from_dict(json.loads(json.dumps(asdict(made)))) == made
    itself = replace(confirmation(plain), baselines=(plain,))
    assert (itself.pairs, itself.recipes) == (
        confirmation(plain).pairs,
        confirmation(plain).recipes,
    )
    assert plain_student(asked(), best) is None
