"""A trial's numbers are a function of its configuration and task alone."""

import random

import numpy as np
import torch

from trainable.checkpoint import load_checkpoint, save_checkpoint
from trainable.trial import Trial

CLOCKS = {"training_seconds", "evaluation_seconds"}


def numbers(evaluations):
    """Evaluations without their clocks."""
    return [{k: v for k, v in e.to_dict().items() if k not in CLOCKS} for e in evaluations]


def run(config, task, device):
    trial = Trial.start(config, task, device)
    return numbers(trial.run()), trial.student.state_dict()


def assert_same(first, second):
    assert first[0] == second[0]
    for name, tensor in first[1].items():
        assert torch.equal(tensor, second[1][name]), name


def test_same_seed(task, make_config, cpu):
    config = make_config(alpha_schedule="cosine_growth", alpha=None, sharpness=2.0)
    assert_same(run(config, task, cpu), run(config, task, cpu))


def test_a_workers_tenth_trial_equals_its_first(task, make_config, cpu):
    config = make_config(hidden_pool="tokens")
    fresh = run(config, task, cpu)
    for seed in range(8):
        others = {"initialisation": "random", "seed": seed, "epochs": 1, "temperature": 4.0}
        run(make_config(**others), task, cpu)
    assert_same(fresh, run(config, task, cpu))


def test_resumed_equals_uninterrupted_bit_for_bit(task, make_config, cpu, tmp_path):
    config = make_config(
        alpha_schedule="cosine_vshape", alpha=None, sharpness=0.5, epochs=2, evaluations=4
    )
    whole = run(config, task, cpu)
    interrupted = Trial.start(config, task, cpu)
    for evaluation in interrupted.run():
        if evaluation.evaluations == 3:  # in the second epoch
            break
    save_checkpoint(interrupted, tmp_path)
    torch.manual_seed(99)
    np.random.seed(99)
    random.seed(99)
    resumed = load_checkpoint(tmp_path, config, task, cpu)
    assert resumed.step == interrupted.step == 18
    last = numbers(resumed.run())
    assert len(last) == 1
    assert_same(whole, (numbers(resumed.history), resumed.student.state_dict()))


def test_another_seed_is_another_run(task, make_config, cpu):
    assert run(make_config(seed=1), task, cpu)[0] != run(make_config(seed=2), task, cpu)[0]
