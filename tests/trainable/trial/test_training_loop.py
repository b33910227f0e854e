"""A trial as it runs: where it evaluates, what it reports, how it fails."""

from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests.invariants.test_same_seed_same_run import assert_same, run
from tests.made_runs import right_of
from tests.trainable.engine.test_weight_averages import assert_averaged
from trainable.common.errors import TrainingDivergedError
from trainable.config.alpha_schedules import alpha_at
from trainable.data.vocabulary import load_vocabulary
from trainable.engine.calibration import calibration_error
from trainable.engine.losses import TEACHER_TERMS
from trainable.trial import training_loop as trial_module
from trainable.trial.training_loop import Trial


def test_evaluations_are_equally_spaced_and_scored(inputs, dataset, make_config, cpu):
    growth = {"alpha_schedule": "cosine_^shape", "alpha": None, "sharpness": 2.0}
    trial = Trial.start(make_config(batch_size=16, epochs=2, evaluations=5, **growth), inputs, cpu)
    assert (trial.step, trial.total_steps) == (0, 12)
    found = [(trial.step, evaluation) for evaluation in trial.run()]
    assert [step for step, _ in found] == [2, 4, 7, 9, 12]
    for number, (step, evaluation) in enumerate(found, start=1):
        assert (evaluation.evaluations, evaluation.step) == (number, step)
        assert evaluation is trial.history[number - 1]
        right = right_of(evaluation.predictions, dataset.evaluation.labels)
        assert evaluation.score == right.mean()
        best = sorted((e.score for e in trial.history[:number]), reverse=True)[:5]
        assert evaluation.best5 == pytest.approx(np.mean(best))
        assert evaluation.alpha == alpha_at(step - 1, 12, "cosine_^shape", sharpness=2.0)
    assert evaluation.learning_rate == pytest.approx(1e-3 / 11)  # 1 of 12 steps warms up


def test_a_student_that_gives_one_label_is_recorded_as_such(inputs, make_config, cpu):
    trial = Trial.start(make_config(), inputs, cpu)
    with torch.no_grad():
        for parameter in trial.student.classifier.parameters():
            parameter.zero_()  # of equal logits the first counts
    found = trial._evaluate(dict.fromkeys(("loss", "cross_entropy", *TEACHER_TERMS), 1.0), 0.5, 0.1)
    assert found.one_label
    assert trial.setup.evaluators["evaluation"].predictions().tolist() == [0] * 40
    assert 0 < found.score < 1
    assert found.validation_loss == pytest.approx(np.log(2), rel=1e-3)


def answers_one_by_one(trial, split, tokenizer):
    """Whether a student is right, sentence by sentence, from the texts."""
    in_use = load_vocabulary(Path(trial.inputs.tokens)).tolist()
    trial.student.eval()
    correct = []
    for text, label in zip(split.texts, split.labels, strict=True):
        ids = tokenizer(text, truncation=True, max_length=16)["input_ids"]
        dense = torch.tensor([[in_use.index(token) for token in ids]])
        with torch.no_grad():
            correct.append(int(trial.student(dense).logits.argmax()) == label)
    return correct


def test_the_full_split_is_scored_at_the_end(
    sampled_loaded, sampled_inputs, make_config, cpu, tokenizer
):
    dataset = sampled_loaded.dataset
    trial = Trial.start(make_config(), sampled_inputs, cpu)
    *before, last = trial.run()
    assert [(e.full_score, e.full_predictions) for e in before] == [(None, None)] * 2
    on_whole = answers_one_by_one(trial, dataset.full, tokenizer)
    assert last.full_score == np.mean(on_whole)
    assert np.array_equal(right_of(last.full_predictions, dataset.full.labels), on_whole)
    assert last.score == np.mean(answers_one_by_one(trial, dataset.evaluation, tokenizer))
    assert 0 < last.full_score < 1
    probabilities = trial.setup.evaluators["full"].logits().softmax(dim=1).numpy()
    expected = calibration_error(probabilities, np.array(dataset.full.labels))
    assert last.calibration_error == pytest.approx(expected)
    assert before[-1].calibration_error is None
    labels = dataset.evaluation.labels
    assert all(e.score == right_of(e.predictions, labels).mean() for e in trial.history)
    assert "full_score" not in before[-1].scalars("accuracy")
    told = last.scalars("mcc")
    assert (told["full_score"], told["mcc"]) == (last.full_score, last.score)
    assert (told["best5"], told["best5_mcc"]) == (last.best5, last.best5)


@pytest.mark.parametrize("changes", [{}, {"initialisation": "random", "student_width": 16}])
def test_averages_are_those_of_each_steps_weights(inputs, make_config, cpu, changes):
    """With warm-up (until step 8) and after it; projections have none."""
    trial = Trial.start(make_config(**changes, ema_decay=0.5, learning_rate=3e-3), inputs, cpu)
    assert_averaged(trial, 0.5, trial.total_steps)


def test_averages_are_scored_and_change_no_step(inputs, dataset, make_config, cpu, tokenizer):
    settings = {"evaluations": 12, "learning_rate": 3e-3}  # one after each step
    plain = Trial.start(make_config(**settings), inputs, cpu)
    trial = Trial.start(make_config(**settings, ema_decay=0.7), inputs, cpu)
    raw = list(plain.run())
    torch.manual_seed(0)  # as `start` left it: both draw the same dropout
    for evaluation, expected in zip(trial.run(), raw, strict=True):
        assert (evaluation.loss, evaluation.losses) == (expected.loss, expected.losses)
        scored = SimpleNamespace(student=deepcopy(trial.student), inputs=inputs)
        averages = trial.setup.step.averages.averages
        for weight, average in zip(scored.student.parameters(), averages, strict=True):
            weight.data = average
        answers = answers_one_by_one(scored, dataset.evaluation, tokenizer)
        right = right_of(evaluation.predictions, dataset.evaluation.labels)
        assert np.array_equal(right, answers)
    assert [e.predictions for e in trial.history] != [e.predictions for e in raw]
    assert all(map(torch.equal, trial.student.parameters(), plain.student.parameters()))


def test_scoring_the_whole_split_leaves_the_trial_as_it_is(sampled_inputs, make_config, cpu):
    without = replace(sampled_inputs, examples={"train": 96, "evaluation": 13})
    found, expected = (run(make_config(), of, cpu) for of in (sampled_inputs, without))
    for evaluation in (found[0][-1], expected[0][-1]):
        for name in ("full_score", "full_predictions", "calibration_error", "calibrated_error"):
            del evaluation[name]
    assert_same(found, expected)


def test_without_the_teacher_its_losses_are_not_there(inputs, make_config, cpu):
    """alpha = 1 opens no teacher outputs: the trial runs where there are none."""
    bare = replace(inputs, outputs={})
    found = list(Trial.start(make_config(alpha=1.0, aligned_layers="none"), bare, cpu).run())
    assert all(e.loss == e.losses["cross_entropy"] > 0 for e in found)
    assert all(e.losses["kl"] == e.losses["hidden"] == 0.0 for e in found)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_loss_that_is_not_finite_ends_the_trial_with_a_reason(inputs, make_config, cpu):
    trial = Trial.start(make_config(learning_rate=1e9), inputs, cpu)
    assert [trial.advance() for _ in range(3)] == [None, None, None]
    with pytest.raises(TrainingDivergedError, match=r"loss is (nan|inf) by step 4 \(learning rate"):
        trial.advance()
    assert trial.history == []


def test_losses_are_means_over_the_steps_since_the_evaluation_before(inputs, make_config, cpu):
    trial = Trial.start(make_config(batch_size=16), inputs, cpu)
    every_step = Trial.start(make_config(batch_size=16, evaluations=6), inputs, cpu)
    single = [evaluation.loss for evaluation in every_step.run()]
    torch.manual_seed(0)  # as `start` left it: both draw the same dropout
    means = [evaluation.loss for evaluation in trial.run()]
    assert means == pytest.approx([np.mean(single[i : i + 2]) for i in (0, 2, 4)], rel=1e-6)
    assert len(set(single)) == 6


def test_training_seconds_are_those_of_the_steps_alone(inputs, make_config, cpu, monkeypatch):
    """Whatever passes between two steps, saving for one, is not among them."""
    clock = SimpleNamespace(now=0.0)

    def tick():
        clock.now += 1.0
        return clock.now

    monkeypatch.setattr(trial_module, "time", SimpleNamespace(perf_counter=tick))
    trial = Trial.start(make_config(batch_size=16, epochs=2, evaluations=5), inputs, cpu)
    passed = []
    while not trial.finished:
        evaluation = trial.advance()
        passed.append(trial.trained_seconds if evaluation is None else evaluation.training_seconds)
        clock.now += 100.0
    assert passed == [1, 2, 1, 2, 1, 2, 3, 1, 2, 1, 2, 3]
    assert [e.evaluation_seconds for e in trial.history] == [1.0] * 5
