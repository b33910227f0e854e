"""What a worker keeps from trial to trial, and what it doesn't."""

from dataclasses import replace

import pytest
import torch

from tests.traced import Executors
from trainable.config.names import GRAPH
from trainable.config.training_inputs import Execution
from trainable.models.students import build_student
from trainable.teacher.teacher import load_teacher
from trainable.trial.trainer import MOST_KEPT, TrainerCache, outputs_read


def weights(trainer):
    return {name: value.clone() for name, value in trainer.student.state_dict().items()}


def test_trials_alike_in_shape_share_a_student_that_starts_as_anew(inputs, make_config, cpu):
    """In the same memory, with its own weights, and nothing left of optimiser and means."""
    bench = TrainerCache()
    first = bench.set_up(make_config(), inputs, cpu)
    places = {name: p.data_ptr() for name, p in first.student.named_parameters()}
    others = [{"initialisation": "random", "seed": 4}, {"initialisation": "teacher_upper"}]
    for changes in (*others, {"temperature": 3.0}):
        first.training.step(torch.arange(8).numpy(), 1e-3)
        assert any(v.abs().sum() > 0 for s in first.optimiser.state.values() for v in s.values())
        config = make_config(**changes)
        mine, alone = bench.set_up(config, inputs, cpu), TrainerCache().set_up(config, inputs, cpu)
        assert mine is first
        assert places == {name: p.data_ptr() for name, p in mine.student.named_parameters()}
        assert mine.student.training
        expected = weights(alone)
        assert all(torch.equal(value, expected[name]) for name, value in weights(mine).items())
        drawn = build_student(load_teacher(inputs.teacher.folder), config)
        assert torch.equal(mine.full_embedding, drawn.get_input_embeddings().weight)
        assert all(v.abs().sum() == 0 for s in mine.optimiser.state.values() for v in s.values())
        assert mine.training.means.steps == 0
        assert all(float(value) == 0.0 for value in mine.training.means.sums.values())


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
def test_a_trial_of_another_shape_has_its_own(inputs, make_config, cpu, change):
    bench = TrainerCache()
    first = bench.set_up(make_config(), inputs, cpu)
    assert bench.set_up(make_config(**change), inputs, cpu) is not first
    assert bench.set_up(make_config(seed=9), inputs, cpu) is first


def test_the_students_not_used_for_longest_are_let_go(inputs, make_config, cpu):
    bench, sizes = TrainerCache(), [4, 8, 16]
    assert len(sizes) > MOST_KEPT
    made = [bench.set_up(make_config(batch_size=size), inputs, cpu) for size in sizes]
    assert bench.set_up(make_config(batch_size=16), inputs, cpu) is made[2]
    assert bench.set_up(make_config(batch_size=4), inputs, cpu) is not made[0]


@pytest.mark.parametrize(
    ("change", "eager", "graph"),
    [
        ({"hidden_pool": "tokens"}, (True, "tokens"), (True, "tokens")),
        ({"aligned_layers": "none"}, (True, None), (True, "cls")),
        ({"aligned_layers": "none", "alpha": 1.0}, (False, None), (True, "cls")),
    ],
)
def test_captured_steps_read_what_their_neighbours_read(inputs, make_config, change, eager, graph):
    """But states of all tokens only where they are aligned."""
    config, captured = make_config(**change), replace(inputs, execution=Execution(GRAPH))
    assert outputs_read(config, inputs) == eager
    assert outputs_read(config, captured) == graph
    few = replace(captured, outputs={kind: inputs.outputs[kind] for kind in ("logits", "tokens")})
    assert outputs_read(config, few)[1] == (None if graph[1] == "cls" else "tokens")


def test_the_executor_is_the_inputs(inputs, make_config, cpu):
    executors = Executors()
    bench = TrainerCache(executors)
    bench.set_up(make_config(), inputs, cpu)
    assert len(executors.captures) == 0
    bench.set_up(make_config(), replace(inputs, execution=Execution(GRAPH)), cpu)
    assert len(executors.captures) == 1
