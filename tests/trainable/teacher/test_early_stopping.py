"""A teacher is trained until it gets worse on examples that it is not trained on."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.conftest import random_sentences, tiny_classifier
from trainable.common.digest import digest_tensors
from trainable.config.trial_config import TeacherSettings
from trainable.data.examples import Examples
from trainable.data.tokens import tokenise
from trainable.engine.cuda_graph import Executor
from trainable.engine.devices import Runtime
from trainable.engine.training_step import Evaluator, TrainingStep
from trainable.models.static_forward import make_static
from trainable.teacher import fine_tuning
from trainable.teacher.early_stopping import EarlyStopping, hold_out_examples
from trainable.teacher.fine_tuning import fine_tune

# 540 examples are left to train on: 34 batches an epoch, so an evaluation each 17 steps.
SETTINGS = TeacherSettings(learning_rate=1e-3, epochs=4, batch_size=16)


@pytest.fixture
def make_examples(tokenizer, cpu):
    def make(count):
        texts = random_sentences(count, seed=1)
        return Examples(tokenise(tokenizer, texts.texts, texts.labels, 32), 0, cpu)

    return make


@pytest.fixture
def fine_tuned(make_examples, tmp_path, cpu):
    """A teacher fine-tuned on so many sentences, and the lines that were logged."""

    def run(settings=SETTINGS, count=600, executor=None):
        model, lines = tiny_classifier(num_hidden_layers=1), []
        make_static(model)
        runtime = Runtime(tmp_path, cpu, "fp32", lines.append)
        how = {"executor": executor or Executor(), "state": tmp_path / "teacher.state"}
        fine_tune(model, make_examples(count), settings, runtime=runtime, **how)
        return model, lines

    return run


def weights(model):
    return digest_tensors(model.state_dict())


def script(monkeypatch, accuracies):
    """The evaluator answers with these, one by one; digests of the weights that it was asked of."""
    left, seen = list(accuracies), []

    def predictions(evaluator):
        count = len(evaluator.feed.examples)
        seen.append(weights(evaluator._model))
        # Each time others are wrong, as between students that differ by chance.
        right = (np.arange(count) + 13 * len(seen)) % count < round(left.pop(0) * count)
        return np.where(right, evaluator.labels, -1)

    monkeypatch.setattr(Evaluator, "predictions", predictions)
    return seen


def watch_starts(monkeypatch):
    """Where each example that is trained on begins among the split's tokens, step by step."""
    body, starts = TrainingStep.body, []

    def watched(step, parts):
        starts.extend(batch.positions[:, 0].tolist() for batch in parts)
        return body(step, parts)

    monkeypatch.setattr(TrainingStep, "body", watched)
    return starts


@pytest.mark.parametrize("seed", [0, 5])
def test_a_stratified_tenth_is_never_trained_on(fine_tuned, make_examples, monkeypatch, seed):
    every, starts = make_examples(600), watch_starts(monkeypatch)
    rest, held_out = hold_out_examples(every)
    evaluated, predict = [], Evaluator.predictions

    def watched(evaluator):
        evaluated.append(evaluator.feed.examples.starts.tolist())
        return predict(evaluator)

    monkeypatch.setattr(Evaluator, "predictions", watched)
    fine_tuned(TeacherSettings(epochs=2, batch_size=16, seed=seed))
    trained = Counter(start for batch in starts for start in batch)
    assert trained == Counter(rest.starts.tolist() * 2)
    assert evaluated == [held_out.starts.tolist()] * 4
    assert sorted([*trained, *evaluated[0]]) == every.starts.tolist()
    shares = [float(examples.labels.float().mean()) for examples in (every, held_out)]
    assert shares[0] == pytest.approx(shares[1], abs=1 / 60)
    assert held_out.lengths.tolist() == held_out.token_counts.tolist()


@pytest.mark.parametrize(
    ("accuracies", "kept", "reason", "capture"),
    [
        ([0.5, 0.9, 0.5, 0.5, 0.6], 1, "3 evaluations were worse", None),
        ([0.9, 0.1, 0.2, 0.3], 0, "3 evaluations were worse", lambda body: body),
        ([0.5, 0.4, 0.2, 0.6, 0.3, 0.4, 0.9, 0.6], 6, "all steps taken", None),
        # Of 60, with other ones wrong each time, a standard error is 4 or 5.
        ([0.5, 0.9, 0.9, 0.85, 0.9, 0.85, 0.9, 0.85], 7, "all steps taken", None),
        ([0.5, 0.9, 0.8, 0.8, 0.8], 1, "3 evaluations were worse", None),
    ],
)
def test_the_last_weights_that_are_no_worse_are_kept(
    fine_tuned, monkeypatch, accuracies, kept, reason, capture
):
    seen, starts = script(monkeypatch, accuracies), watch_starts(monkeypatch)
    model, lines = fine_tuned(executor=Executor(capture))
    assert len(seen) == len(accuracies)
    assert len(starts) == 17 * len(accuracies)
    assert weights(model) == seen[kept]
    assert len(set(seen)) == len(seen)
    assert lines[0] == "Fine-tuning the teacher: 136 steps on 540 examples"
    assert lines[-2].startswith(f"  teacher step {17 * len(accuracies)} of 136, loss ")
    assert lines[-1].startswith(f"Teacher: as after step {17 * (kept + 1)} of 136, ")
    assert f" {accuracies[kept]:.4f} on the held-out tenth " in lines[-1]
    assert lines[-1].endswith(f"({reason})")


GAINING = [[0.2, 0.2, 0.2, 0.5], [0.3, 0.4, 0.5, 0.8], [0.8, 0.8, 0.8, 1.0]]


@pytest.mark.parametrize(
    ("rounds", "kept", "killed_at"),  # accuracies of each round's evaluations
    [
        ([[0.2, 0.3, 0.3, 0.6], [0.6, 0.6, 0.7, 0.7]], 7, None),  # 0.1 is 1.1 standard errors
        ([[0.2, 0.2, 0.8, 0.6]], 2, None),  # the last is clearly worse than the best
        ([[0.2, 0.8, 0.8, 0.8]], 3, None),  # it gained before the last epoch
        ([[0.2, 0.3, 0.3, 0.9], [0.5, 0.5, 0.5]], 3, None),  # patience
        (GAINING, 11, None),  # no fourth
        (GAINING, 11, 75),  # in the second
        (GAINING, 11, 137),  # right after it
    ],
)
def test_after_a_round_that_gained_another_follows(
    fine_tuned, monkeypatch, rounds, kept, killed_at
):
    """Over all examples again, with the learning rates of a fine-tuning of its own; also if it is
    killed meanwhile."""
    accuracies = [accuracy for of_round in rounds for accuracy in of_round]
    seen, starts = script(monkeypatch, accuracies), watch_starts(monkeypatch)
    take, rates, kills = TrainingStep.take, [], [killed_at]

    def watched(step, rows, rate):
        if len(rates) + 1 in kills:
            raise KeyboardInterrupt(kills.pop())
        take(step, rows, rate)
        rates.append(rate)

    monkeypatch.setattr(TrainingStep, "take", watched)
    monkeypatch.setattr(fine_tuning, "SAVE_SECONDS", 0.0)
    settings = replace(SETTINGS, epochs=2)
    if killed_at:
        with pytest.raises(KeyboardInterrupt):
            fine_tuned(settings)
    model, lines = fine_tuned(settings)
    assert len(seen) == len(accuracies)
    assert weights(model) == seen[kept]
    of_round = np.concatenate([np.arange(1, 8) / 8, np.arange(61, 0, -1) / 61])
    expected = 1e-3 * np.tile(of_round, len(rounds))[: 17 * len(accuracies)]
    assert rates == pytest.approx(expected.tolist())
    passes = Counter(start for batch in starts for start in batch)
    assert set(passes.values()) <= {len(accuracies) // 2, -(-len(accuracies) // 2)}
    end = f"Teacher: as after step {17 * (kept + 1)} of {68 * len(rounds)}, "
    assert lines[-1].startswith(end)


def test_the_weights_keep_their_places(fine_tuned, monkeypatch):
    """A captured evaluation reads them there afterwards."""
    script(monkeypatch, [0.9, 0.8, 0.8, 0.8])
    places, make = [], fine_tuning.EarlyStopping

    def watched(parameters, *others):
        places.extend(parameter.data_ptr() for parameter in parameters.values())
        return make(parameters, *others)

    monkeypatch.setattr(fine_tuning, "EarlyStopping", watched)
    model, _ = fine_tuned()
    assert [parameter.data_ptr() for parameter in model.parameters()] == places


KILLS = [  # what is called for the how-manieth time, and whether the state on disk is damaged then
    (TrainingStep, "body", 10, False),  # before the first evaluation
    (Evaluator, "predictions", 1, False),
    (TrainingStep, "body", 18, False),  # right after it
    (TrainingStep, "body", 60, True),
    (Evaluator, "predictions", 5, False),
    (EarlyStopping, "restore_kept", 1, False),  # patience is over
]


def test_killed_anywhere_it_ends_as_if_left_alone(fine_tuned, tmp_path, monkeypatch):
    """From where it was saved, or from the start if that is damaged."""
    settings = replace(SETTINGS, learning_rate=7e-3, patience=1)  # stops after several gains
    (expected, log), state = fine_tuned(settings), tmp_path / "teacher.state"
    assert log[-1].endswith("(1 evaluations were worse)")
    monkeypatch.setattr(fine_tuning, "SAVE_SECONDS", 0.0)
    for owner, method, call, damaged in KILLS:
        count, original = [], getattr(owner, method)

        def interrupted(*arguments, count=count, original=original, call=call):
            count.append(1)
            if len(count) == call:
                raise KeyboardInterrupt
            return original(*arguments)

        with monkeypatch.context() as killed:
            killed.setattr(owner, method, interrupted)
            with pytest.raises(KeyboardInterrupt):
                fine_tuned(settings)
        if damaged:
            state.write_bytes(state.read_bytes()[:-1])
        torch.manual_seed(99)
        found, resumed_log = fine_tuned(settings)
        assert weights(found) == weights(expected)
        assert resumed_log[-1] == log[-1]
        assert ("resuming from step" in resumed_log[1]) is not damaged
        state.unlink()


@pytest.mark.parametrize(("count", "few"), [(470, "examples"), (600, "examples of a label")])
def test_of_too_few_examples_none_is_held_out(make_examples, count, few):
    """Of 600, a second label that stands among them ten times is held out once."""
    examples = make_examples(count)
    if count == 600:
        examples.labels = (torch.arange(600) % 60 == 0).long()
    rest, held_out = hold_out_examples(examples)
    assert (rest.starts.tolist(), len(held_out)) == (examples.starts.tolist(), 0)
    said = EarlyStopping({}, lambda: np.zeros(0), [], 3).restore_kept(24, len(rest))
    assert said.endswith(f" 24 steps (the training {few} are too few to hold a tenth out)")


def test_without_held_out_examples_the_last_weights_are_kept(fine_tuned, monkeypatch):
    seen, starts = script(monkeypatch, []), watch_starts(monkeypatch)
    _, lines = fine_tuned(count=96)
    assert seen == []
    assert len(starts) == 24
    assert lines[0] == "Fine-tuning the teacher: 24 steps on 96 examples"
    assert lines[-1].startswith("Teacher: as after the last of 24 steps (the training examples ar")


def test_evaluations_are_no_more_than_steps(fine_tuned, monkeypatch):
    seen = script(monkeypatch, [0.5, 0.6])
    _, lines = fine_tuned(TeacherSettings(epochs=2, batch_size=540))
    assert (len(seen), "after step 2 of 2, 0.6000" in lines[-1]) == (2, True)
