"""Trials in words: what a run's trials differ in is said, what they share is not."""

from dataclasses import asdict, replace

from search.record.labels import EXTRA_LABELS, labels_of
from search.record.run import create_run
from tests.report_runs import plan
from trainable.config.trial_config import TrialConfig

SPREAD = TrialConfig(alpha=0.5)
RANDOM = TrialConfig(initialisation="random", alpha=1.0, learning_rate=1e-4)


def said(tmp_path, *configs):
    run = create_run(tmp_path / "mine", plan(*configs))
    words = labels_of(run)
    return [words(trial) for trial in run.trials.values()]


def test_what_the_initialisation_decides_is_not_said(tmp_path):
    assert said(tmp_path, SPREAD, RANDOM) == [SPREAD.label(), RANDOM.label()]


def test_trials_that_differ_in_evaluations_alone_have_two_labels(tmp_path):
    found = said(tmp_path, SPREAD, replace(SPREAD, evaluations=4))
    assert [label.rpartition(", ")[2] for label in found] == ["evaluations 15", "evaluations 4"]


def test_what_differs_among_trials_alike_otherwise_is_said_of_all_before_the_seed(tmp_path):
    configs = [SPREAD, replace(SPREAD, learning_rate=3e-4, seed=2), RANDOM]
    assert said(tmp_path, *configs) == [
        "teacher_spread, logits only, fixed 0.5, lr 5e-05",
        "teacher_spread, logits only, fixed 0.5, lr 0.0003, seed 2",
        "random, cross-entropy only, lr 0.0001",
    ]


def test_every_setting_is_said_by_one_or_the_other():
    changed = {
        "initialisation": "teacher_upper",
        "aligned_layers": "1",
        "relation_weight": 2.0,
        "alpha_schedule": "cosine_growth",
        "temperature": 3.0,
        "class_weight": "balanced",
        "ema_decay": 0.9,
        "seed": 1,
    }
    known = {key for key, value in changed.items() if key in asdict(SPREAD) and value}
    known |= {"alpha", "sharpness", "hidden_weight", "hidden_pool", "relation_heads", *EXTRA_LABELS}
    known.add("transfer_share")
    assert set(asdict(SPREAD)) == known


def test_trials_of_a_searched_run_always_say_what_is_drawn(tmp_path):
    run = create_run(tmp_path / "mine", plan(SPREAD, space="recipe", searcher="random"))
    (trial,) = run.trials.values()
    assert labels_of(run)(trial).endswith("fixed 0.5, lr 5e-05")
