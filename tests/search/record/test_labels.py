"""Trials in words: what a run's trials differ in is said, what they share is not."""

from dataclasses import asdict, replace

import pytest

from search.record.labels import EXTRA_LABELS, labels_of
from search.record.run import create_run
from tests.report_runs import plan
from trainable.config.trial_config import TrialConfig

SPREAD = TrialConfig(alpha=0.5)
FASTER = replace(SPREAD, learning_rate=3e-4, seed=2)
RANDOM = TrialConfig(initialisation="random", alpha=1.0, learning_rate=1e-4)
PLAIN = {1.0: "random, cross-entropy only", 0.5: "teacher_spread, logits only, fixed 0.5"}


@pytest.mark.parametrize(
    ("configs", "said", "asked"),
    [
        ([SPREAD, RANDOM], ["", ""], {}),  # what the initialisation decides is not
        ([SPREAD, replace(SPREAD, evaluations=4)], [", evaluations 15", ", evaluations 4"], {}),
        # What differs among trials alike otherwise is said of all, before the seed.
        ([SPREAD, FASTER, RANDOM], [", lr 5e-05", ", lr 0.0003, seed 2", ", lr 0.0001"], {}),
        ([SPREAD, replace(RANDOM, max_steps=9)], ["", ", steps 9"], {}),
        # Passes are not said where steps decide.
        (
            [SPREAD, replace(RANDOM, epochs=2), replace(SPREAD, max_steps=9, epochs=7)],
            [", epochs 3", ", epochs 2", ", steps 9"],
            {},
        ),
        ([SPREAD], [", lr 5e-05"], {"space": "recipe", "searcher": "random"}),
    ],
)
def test_what_differs_or_is_drawn_is_said(tmp_path, configs, said, asked):
    run = create_run(tmp_path / "mine", plan(*configs, **asked))
    labels = [PLAIN[config.alpha] + more for config, more in zip(configs, said, strict=True)]
    assert [*map(labels_of(run), run.trials.values())] == labels


def test_every_setting_is_said_by_one_or_the_other():
    known = {"initialisation", "aligned_layers", "relation_weight", "alpha_schedule", "temperature"}
    known |= {"class_weight", "ema_decay", "seed", "alpha", "sharpness", "hidden_weight"}
    known |= {"hidden_pool", "relation_heads", "transfer_share", *EXTRA_LABELS}
    assert set(asdict(SPREAD)) == known
