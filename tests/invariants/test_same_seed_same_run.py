"""A trial's numbers are a function of its configuration and inputs alone."""

from dataclasses import asdict

import pytest
import torch

from trainable.trial.training_loop import Trial

TIMINGS = {"training_seconds", "evaluation_seconds"}


def numbers(evaluations):
    """Evaluations without their clocks."""
    return [{k: v for k, v in asdict(e).items() if k not in TIMINGS} for e in evaluations]


def weights(trial):
    """Copies of those in training, and of averages."""
    averages = trial.setup.step.averages.averages if trial.setup.step.averages else []
    found = trial.student.state_dict() | dict(enumerate(averages))
    return {name: value.clone() for name, value in found.items()}


def run(config, inputs, device):
    trial = Trial.start(config, inputs, device)
    return numbers(trial.run()), weights(trial)


def assert_same(first, second):
    assert first[0] == second[0]
    assert first[1].keys() == second[1].keys()
    for name, tensor in first[1].items():
        assert torch.equal(tensor, second[1][name]), name


@pytest.mark.parametrize("decay", [None, 0.4])
def test_a_workers_tenth_trial_equals_its_first(inputs, make_config, cpu, decay):
    growth = {"alpha_schedule": "cosine_growth", "alpha": None, "sharpness": 2.0}
    config = make_config(**growth, hidden_pool="tokens", ema_decay=decay)
    fresh = run(config, inputs, cpu)
    for seed in range(8):
        run(make_config(initialisation="random", seed=seed, temperature=4.0), inputs, cpu)
    assert_same(fresh, run(config, inputs, cpu))
