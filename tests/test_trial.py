"""A trial as it runs: where it evaluates, what it reports, how it fails."""

import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from trainable import trial as trial_module
from trainable.alpha import alpha_at
from trainable.errors import TrainingDivergedError
from trainable.metrics import unpack_bits
from trainable.trial import Trial
from trainable.vocabulary import load_vocabulary


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


def answers_one_by_one(trial, split, tokenizer):
    """Whether a student is right, sentence by sentence, from the texts."""
    in_use = load_vocabulary(Path(trial.task.tokens)).tolist()
    trial.student.eval()
    correct = []
    for text, label in zip(split.texts, split.labels, strict=True):
        ids = tokenizer(text, truncation=True, max_length=16)["input_ids"]
        dense = torch.tensor([[in_use.index(token) for token in ids]])
        with torch.no_grad():
            correct.append(int(trial.student(dense).logits.argmax()) == label)
    return correct


def test_the_whole_split_is_scored_once_after_the_last_step(
    sampled_inputs, sampled_task, make_config, cpu, tokenizer
):
    dataset = sampled_inputs.dataset
    trial = Trial.start(make_config(epochs=2, evaluations=8), sampled_task, cpu)
    *before, last = trial.run()
    assert [(e.whole_accuracy, e.whole_correct) for e in before] == [(None, None)] * 7
    on_whole = answers_one_by_one(trial, dataset.whole, tokenizer)
    assert last.whole_accuracy == np.mean(on_whole)
    assert np.array_equal(unpack_bits(last.whole_correct, 40), on_whole)
    assert last.accuracy == np.mean(answers_one_by_one(trial, dataset.evaluation, tokenizer))
    assert 0 < last.whole_accuracy < 1
    for evaluation in (*before, last):
        assert evaluation.accuracy == unpack_bits(evaluation.correct, 13).mean()


def test_scoring_the_whole_split_leaves_the_trial_as_it_is(
    sampled_task, make_config, cpu, monkeypatch
):
    """A student trains on after an evaluation as if the whole were never scored."""
    trial = Trial.start(make_config(), sampled_task, cpu)
    found = numbers(trial.run())
    without = replace(sampled_task, sentences={"train": 96, "evaluation": 13})
    other = Trial.start(make_config(), without, cpu)
    expected = numbers(other.run())
    assert [replace(e, whole_accuracy=None, whole_correct=None) for e in found] == expected
    for name, weight in trial.student.state_dict().items():
        assert torch.equal(weight, other.student.state_dict()[name]), name


def test_every_trial_looks_at_the_same_sample(sampled_inputs, sampled_task, make_config, cpu):
    labels = sampled_inputs.dataset.evaluation.labels
    for settings in ({"seed": 0}, {"seed": 7}, {"initialisation": "random", "seed": 3}):
        trial = Trial.start(make_config(**settings), sampled_task, cpu)
        looked_at = trial.apparatus.evaluators["evaluation"].sentences
        assert looked_at.labels.tolist() == labels
        if settings["seed"] == 0:
            first = looked_at
        for part in ("token_ids", "starts", "token_counts"):
            assert torch.equal(getattr(looked_at, part), getattr(first, part))


def test_without_a_sample_there_is_no_other_score(task, make_config, cpu):
    for evaluation in Trial.start(make_config(), task, cpu).run():
        assert (evaluation.whole_accuracy, evaluation.whole_correct) == (None, None)


def test_a_missing_whole_split_is_an_error(sampled_task, make_config, cpu, tmp_path):
    tokens = shutil.copytree(sampled_task.tokens, tmp_path / "tokens")
    (tokens / "whole_offsets.npy").unlink()
    with pytest.raises(FileNotFoundError):
        Trial.start(make_config(), replace(sampled_task, tokens=str(tokens)), cpu)


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


def test_advance_takes_one_step_and_returns_the_evaluation_due_after_it(task, make_config, cpu):
    trial = Trial.start(make_config(batch_size=16, epochs=2, evaluations=5), task, cpu)
    assert (trial.step, trial.total_steps, trial.finished) == (0, 12, False)
    found = {}
    for step in range(1, 13):
        evaluation = trial.advance()
        assert trial.step == step
        assert trial.finished == (step == 12)
        if evaluation is not None:
            found[step] = evaluation
            assert evaluation is trial.history[-1]
    assert list(found) == [2, 4, 7, 9, 12]
    assert [(e.evaluations, e.step) for e in found.values()] == list(enumerate(found, start=1))
    assert trial.history == list(found.values())


def test_run_goes_on_where_advance_is(task, make_config, cpu):
    config = make_config(batch_size=16, epochs=2, evaluations=5)
    whole = Trial.start(config, task, cpu)
    expected = numbers(whole.run())
    trial = Trial.start(config, task, cpu)
    for _ in range(5):
        trial.advance()
    assert [e.evaluations for e in trial.run()] == [3, 4, 5]
    assert numbers(trial.history) == expected
    assert list(trial.run()) == []
    for name, weight in trial.student.state_dict().items():
        assert torch.equal(weight, whole.student.state_dict()[name]), name


def numbers(evaluations):
    """Evaluations without their clocks."""
    return [replace(e, training_seconds=0.0, evaluation_seconds=0.0) for e in evaluations]


def test_losses_are_means_over_the_steps_since_the_evaluation_before(task, make_config, cpu):
    trial = Trial.start(make_config(batch_size=16), task, cpu)
    every_step = Trial.start(make_config(batch_size=16, evaluations=6), task, cpu)
    single = [evaluation.loss for evaluation in every_step.run()]
    torch.manual_seed(0)  # as `start` left it: both draw the same dropout
    means = [evaluation.loss for evaluation in trial.run()]
    assert means == pytest.approx([np.mean(single[i : i + 2]) for i in (0, 2, 4)], rel=1e-6)
    assert len(set(single)) == 6


def test_training_seconds_are_those_of_the_steps_alone(task, make_config, cpu, monkeypatch):
    """Whatever passes between two steps, saving for one, is not among them."""
    clock = SimpleNamespace(now=0.0)

    def tick():
        clock.now += 1.0
        return clock.now

    monkeypatch.setattr(trial_module, "time", SimpleNamespace(perf_counter=tick))
    trial = Trial.start(make_config(batch_size=16, epochs=2, evaluations=5), task, cpu)
    passed = []
    while not trial.finished:
        evaluation = trial.advance()
        passed.append(trial.trained_seconds if evaluation is None else evaluation.training_seconds)
        assert evaluation is None or trial.trained_seconds == 0.0
        clock.now += 100.0
    assert passed == [1, 2, 1, 2, 1, 2, 3, 1, 2, 1, 2, 3]
    assert [e.evaluation_seconds for e in trial.history] == [1.0] * 5


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_loss_that_is_not_finite_is_no_evaluation(task, make_config, cpu):
    trial = Trial.start(make_config(learning_rate=1e30), task, cpu)
    assert [trial.advance() for _ in range(3)] == [None, None, None]
    with pytest.raises(TrainingDivergedError):
        trial.advance()
    assert trial.history == []


def test_missing_tokens_are_an_error(task, make_config, cpu, tmp_path):
    with pytest.raises(FileNotFoundError):
        Trial.start(make_config(), replace(task, tokens=str(Path(tmp_path))), cpu)
