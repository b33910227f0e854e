"""A trial's numbers are a function of its configuration and inputs alone."""

import random

import numpy as np
import pytest
import torch

from trainable.checkpoint import load_checkpoint, write_checkpoint
from trainable.trial import Trial

CLOCKS = {"training_seconds", "evaluation_seconds"}


def numbers(evaluations):
    """Evaluations without their clocks."""
    return [{k: v for k, v in e.to_dict().items() if k not in CLOCKS} for e in evaluations]


def run(config, inputs, device):
    trial = Trial.start(config, inputs, device)
    return numbers(trial.run()), trial.student.state_dict()


def assert_same(first, second):
    assert first[0] == second[0]
    assert first[1].keys() == second[1].keys()
    for name, tensor in first[1].items():
        assert torch.equal(tensor, second[1][name]), name


def test_a_trial_after_others_equals_the_first(inputs, make_config, cpu):
    config = make_config(hidden_pool="tokens")
    fresh = run(config, inputs, cpu)
    for seed in range(2):
        run(make_config(initialisation="random", seed=seed, temperature=4.0), inputs, cpu)
    assert_same(fresh, run(config, inputs, cpu))


@pytest.fixture
def config(make_config):
    """8 steps, evaluated after 2, 5 and 8; an epoch is 4, and ends within an interval."""
    return make_config(
        alpha_schedule="cosine_vshape",
        alpha=None,
        sharpness=0.5,
        hidden_pool="tokens",
        batch_size=24,
        epochs=2,
    )


def begin(config, inputs):
    """A trial before its first step, with generators that are not where the seed puts them."""
    trial = Trial.start(config, inputs, torch.device("cpu"))
    random.random()
    np.random.rand()
    return trial


def disturb_generators():
    torch.manual_seed(99)
    np.random.seed(99)
    random.seed(99)


def end_of(trial):
    """What a trial becomes by its last step, and where it leaves the random generators."""
    for _ in trial.run():
        pass
    moments = trial.optimiser.state_dict()["state"]
    tensors = {f"{i}.{k}": value for i, state in moments.items() for k, value in state.items()}
    tensors |= trial.student.state_dict()
    tensors["torch"] = torch.get_rng_state()
    tensors["numpy"] = torch.from_numpy(np.random.get_state()[1].astype(np.int64))
    tensors["python"] = torch.tensor(random.getstate()[1])
    return numbers(trial.history), tensors


@pytest.mark.parametrize("lost_after_each_step", [True, False])
@pytest.mark.parametrize("sampled", [True, False])
def test_resumed_equals_uninterrupted_bit_for_bit(
    *, config, request, sampled, lost_after_each_step, cpu, tmp_path
):
    """Saving changes nothing, and no step depends on more than was saved."""
    inputs = request.getfixturevalue("sampled_inputs" if sampled else "inputs")
    whole = end_of(begin(config, inputs))
    assert [evaluation["step"] for evaluation in whole[0]] == [2, 5, 8]
    scores = [evaluation["whole_accuracy"] for evaluation in whole[0]]
    assert scores[:2] == [None, None]
    assert 0 < scores[2] < 1 if sampled else scores[2] is None
    trial = begin(config, inputs)
    for step in range(9):
        folder = tmp_path / str(step)
        folder.mkdir()
        write_checkpoint(trial, folder)
        if lost_after_each_step and not trial.finished:
            disturb_generators()
            trial = load_checkpoint(folder, config, inputs, cpu)
            assert trial.step == step
        if not trial.finished:
            trial.advance()
    assert_same(whole, end_of(trial))
