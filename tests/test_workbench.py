"""What a worker keeps from trial to trial, and what it doesn't."""

from dataclasses import replace

import pytest
import torch

from tests.traced import Executors
from trainable.execution import Execution
from trainable.names import GRAPH
from trainable.workbench import MOST_KEPT, Workbench, outputs_read


def weights(apparatus):
    return {name: value.clone() for name, value in apparatus.student.state_dict().items()}


def test_trials_alike_in_shape_share_a_student(task, make_config, cpu):
    bench = Workbench()
    first = bench.set_up(make_config(), task, cpu)
    places = {name: p.data_ptr() for name, p in first.student.named_parameters()}
    second = bench.set_up(make_config(seed=5, initialisation="random", temperature=3.0), task, cpu)
    assert second is first
    assert places == {name: p.data_ptr() for name, p in second.student.named_parameters()}


def test_each_starts_with_its_own_weights(task, make_config, cpu):
    configs = [
        make_config(),
        make_config(initialisation="random", seed=4),
        make_config(initialisation="teacher_upper"),
    ]
    bench = Workbench()
    for config in configs:
        mine, alone = bench.set_up(config, task, cpu), Workbench().set_up(config, task, cpu)
        assert mine.student.training
        expected = weights(alone)
        assert weights(mine).keys() == expected.keys()
        assert all(torch.equal(value, expected[name]) for name, value in weights(mine).items())


def test_what_the_optimiser_and_the_means_had_is_gone(task, make_config, cpu):
    bench = Workbench()
    made = bench.set_up(make_config(), task, cpu)
    made.training.step(torch.arange(8).numpy(), 1e-3)
    assert any(v.abs().sum() > 0 for s in made.optimiser.state.values() for v in s.values())
    bench.set_up(make_config(seed=1), task, cpu)
    assert all(v.abs().sum() == 0 for s in made.optimiser.state.values() for v in s.values())
    assert made.training.means.steps == 0
    assert all(float(value) == 0.0 for value in made.training.means.sums.values())


@pytest.mark.parametrize(
    "change",
    [
        {"student_layers": 1, "aligned_layers": "1"},
        {"initialisation": "random", "student_width": 16},
        {"batch_size": 4},
        {"precision": "bf16"},
        {"weight_decay": 0.3},
        {"gradient_clip": 0.5},
        {"hidden_pool": "mean"},
        {"aligned_layers": "none"},
        {"aligned_layers": "none", "alpha": 1.0},
    ],
)
def test_a_trial_of_another_shape_has_its_own(task, make_config, cpu, change):
    bench = Workbench()
    first = bench.set_up(make_config(), task, cpu)
    assert bench.set_up(make_config(**change), task, cpu) is not first
    assert bench.set_up(make_config(seed=9), task, cpu) is first


def test_the_students_not_used_for_longest_are_let_go(task, make_config, cpu):
    bench, sizes = Workbench(), [4, 8, 16]
    assert len(sizes) > MOST_KEPT
    made = [bench.set_up(make_config(batch_size=size), task, cpu) for size in sizes]
    assert bench.set_up(make_config(batch_size=16), task, cpu) is made[2]
    assert bench.set_up(make_config(batch_size=4), task, cpu) is not made[0]


@pytest.mark.parametrize(
    ("change", "eager", "graph"),
    [
        ({}, (True, "cls"), (True, "cls")),
        ({"hidden_pool": "tokens"}, (True, "tokens"), (True, "tokens")),
        ({"aligned_layers": "none"}, (True, None), (True, "cls")),
        ({"aligned_layers": "none", "alpha": 1.0}, (False, None), (True, "cls")),
    ],
)
def test_captured_steps_read_what_their_neighbours_read(task, make_config, change, eager, graph):
    config, captured = make_config(**change), replace(task, execution=Execution(GRAPH))
    assert outputs_read(config, task) == eager
    assert outputs_read(config, captured) == graph


def test_states_of_all_tokens_are_read_only_where_they_are_aligned(task, make_config):
    folders = {kind: task.outputs[kind] for kind in ("logits", "tokens")}
    captured = replace(task, execution=Execution(GRAPH), outputs=folders)
    assert outputs_read(make_config(aligned_layers="none"), captured) == (True, None)


def test_the_executor_is_the_tasks(task, make_config, cpu):
    executors = Executors()
    bench = Workbench(executors)
    bench.set_up(make_config(), task, cpu)
    assert len(executors.captures) == 0
    bench.set_up(make_config(), replace(task, execution=Execution(GRAPH)), cpu)
    assert len(executors.captures) == 1
