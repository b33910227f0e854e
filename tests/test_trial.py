"""A trial as it runs: where it evaluates, what it reports, how it fails."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from trainable.alpha import alpha_at
from trainable.errors import TrainingDivergedError
from trainable.metrics import unpack_bits
from trainable.trial import Trial


def test_evaluations_are_equally_spaced_and_scored(task, make_config, cpu):
    config = make_config(
        epochs=2, evaluations=8, alpha_schedule="cosine_^shape", alpha=None, sharpness=2.0
    )
    found = list(Trial.start(config, task, cpu).run())
    assert [e.evaluations for e in found] == list(range(1, 9))
    assert [e.step for e in found] == [3, 6, 9, 12, 15, 18, 21, 24]
    for index, evaluation in enumerate(found):
        bits = unpack_bits(evaluation.correct, 40)
        assert evaluation.accuracy == bits.mean()
        best = sorted((e.accuracy for e in found[: index + 1]), reverse=True)[:5]
        assert evaluation.best5_accuracy == pytest.approx(np.mean(best))
        expected = alpha_at(evaluation.step - 1, 24, "cosine_^shape", sharpness=2.0)
        assert evaluation.alpha == expected
    assert found[-1].learning_rate == pytest.approx(1e-3 / 22)  # 2 of 24 steps warm up


def test_training_helps(task, make_config, cpu):
    """The student of a random teacher comes nearer to what that teacher says."""
    config = make_config(alpha=0.0, epochs=12, initialisation="random")
    found = list(Trial.start(config, task, cpu).run())
    assert found[-1].loss_kl < 0.5 * found[0].loss_kl


def test_without_the_teacher_its_losses_are_not_there(task, make_config, cpu):
    """alpha = 1 opens no teacher outputs: the trial runs where there are none."""
    bare = replace(task, outputs={})
    found = list(Trial.start(make_config(alpha=1.0, aligned_layers="none"), bare, cpu).run())
    assert {(e.loss_kl, e.loss_hidden) for e in found} == {(0.0, 0.0)}
    assert all(e.loss == e.loss_cross_entropy > 0 for e in found)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_nan_ends_the_trial_with_a_reason(task, make_config, cpu):
    trial = Trial.start(make_config(learning_rate=1e30), task, cpu)
    with pytest.raises(TrainingDivergedError, match=r"loss is (nan|inf) by step 4 \(learning rate"):
        list(trial.run())


def test_stops_between_evaluations_without_further_work(task, make_config, cpu):
    trial = Trial.start(make_config(), task, cpu)
    evaluations = trial.run()
    next(evaluations)
    evaluations.close()
    assert trial.step == 4


def test_missing_tokens_are_an_error(task, make_config, cpu, tmp_path):
    with pytest.raises(FileNotFoundError):
        Trial.start(make_config(), replace(task, tokens=str(Path(tmp_path))), cpu)
