"""What a worker keeps from trial to trial, and what it doesn't."""

from dataclasses import replace

import pytest
import torch

from tests.conftest import make_teacher
from trainable.config.names import GRAPH
from trainable.config.training_inputs import Execution
from trainable.models.students import build_student
from trainable.teacher.teacher import load_teacher
from trainable.trial import training_setup
from trainable.trial.preparation import Preparation, prepare_inputs
from trainable.trial.training_setup import LEAST_FREE_SHARE, SetupCache, outputs_read

RELATED = {"aligned_layers": "none", "relation_weight": 1.0, "relation_heads": 4}


@pytest.fixture
def free(monkeypatch):
    """Says how much memory is free each time that it is asked for; a single answer for ever."""

    def answer(*shares):
        answers = iter(shares)
        share = (lambda _: shares[0]) if len(shares) == 1 else lambda _: next(answers)
        monkeypatch.setattr(training_setup, "free_share", share)

    return answer


@pytest.mark.parametrize("decay", [None, 0.9])
def test_trials_alike_in_shape_share_a_student_that_starts_as_anew(inputs, make_config, cpu, decay):
    """In the same memory, with its own weights, and nothing left of optimiser, means, averages."""
    bench = SetupCache()
    first = bench.set_up(make_config(ema_decay=decay), inputs, cpu)
    assert (first.step.averages is None) == (not decay)
    places = [p.data_ptr() for p in first.student.parameters()]
    for number, start in enumerate(("random", "teacher_upper", "teacher_spread"), start=1):
        first.step.take(torch.arange(8).numpy(), 1e-3)
        moments = [v for s in first.step.optimiser.state.values() for v in s.values()]
        assert any(value.any() for value in moments)
        config = make_config(initialisation=start, seed=number, ema_decay=decay and decay / number)
        mine, alone = bench.set_up(config, inputs, cpu), SetupCache().set_up(config, inputs, cpu)
        assert mine is first
        assert places == [p.data_ptr() for p in mine.student.parameters()]
        assert mine.student.training
        expected = alone.student.state_dict().values()
        assert all(map(torch.equal, mine.student.state_dict().values(), expected))
        drawn = build_student(load_teacher(inputs.teacher.folder), config)
        assert torch.equal(mine.full_embedding, drawn.get_input_embeddings().weight)
        averages = mine.step.averages.averages if decay else ()
        assert all(map(torch.equal, averages, mine.student.parameters()))
        assert not any(value.any() for value in (*moments, *mine.step.means.sums.values()))
        assert mine.step.means.steps == 0


def test_students_whose_layers_attend_otherwise_share_none(
    loaded, runtime, options, tokenizer, make_config, tmp_path, cpu
):
    """ModernBERT's copied layers do as their origins, so that the initialisation decides."""
    folder = make_teacher("modernbert", tokenizer, tmp_path)
    sources = replace(loaded, teacher_source=str(folder))
    inputs = prepare_inputs(Preparation.load(sources), {}, runtime, options)
    bench = SetupCache()
    for start in ("teacher_spread", "teacher_lower", "teacher_spread"):
        config = make_config(initialisation=start, aligned_layers="none")
        mine, alone = bench.set_up(config, inputs, cpu), SetupCache().set_up(config, inputs, cpu)
        tokens = torch.randint(5, 60, (2, 12), generator=torch.Generator().manual_seed(0))
        logits = [setup.student.eval()(input_ids=tokens).logits for setup in (mine, alone)]
        assert torch.equal(*logits)


def test_projections_are_drawn_from_the_seed_whichever_trials_came_before(inputs, make_config, cpu):
    config, bench = make_config(initialisation="random", student_width=16), SetupCache()
    drawn = []
    for each in (config, config, replace(config, seed=9)):
        projections = bench.set_up(each, inputs, cpu).distillation.projections
        drawn.append([linear.weight.clone() for linear in projections])
    assert all(map(torch.equal, drawn[0], drawn[1]))
    assert not any(map(torch.equal, drawn[0], drawn[2]))


def test_a_trial_of_another_shape_has_its_own(inputs, make_config, cpu, free):
    single = {"batch_size": 4, "precision": "bf16", "weight_decay": 0.3, "gradient_clip": 0.5}
    single |= {"feedforward_share": 0.5, "ema_decay": 0.5, "hidden_pool": "mean"}
    free(1.0)
    for change in (
        *({key: value} for key, value in single.items()),
        *({"aligned_layers": "none", **more} for more in ({}, {"alpha": 1.0}, RELATED)),
        {"aligned_layers": "1", "student_layers": 1},
        {"initialisation": "random", "student_width": 16},
    ):
        bench = SetupCache()
        first = bench.set_up(make_config(), inputs, cpu)
        assert bench.set_up(make_config(**change), inputs, cpu) is not first
        assert bench.set_up(make_config(seed=9), inputs, cpu) is first


def test_the_least_recently_used_students_are_evicted(inputs, make_config, cpu, free):
    """Three are kept while a quarter is free; the fourth finds less, until two have gone."""
    bench, sizes = SetupCache(), [4, 8, 16, 32]
    free(1.0, 1.0, LEAST_FREE_SHARE, 0.1, 0.2, 0.5)
    made = {size: bench.set_up(make_config(batch_size=size), inputs, cpu) for size in sizes}
    for size in (16, 32):
        assert bench.set_up(make_config(batch_size=size), inputs, cpu) is made[size]
    free(1.0, 1.0)
    for size in (4, 8):
        assert bench.set_up(make_config(batch_size=size), inputs, cpu) is not made[size]


def test_a_student_that_does_not_fit_beside_others_gets_their_room(inputs, make_config, cpu, free):
    """Then its examples go through it in parts, and it is recorded."""
    free(1.0, 1.0, 1.0)
    bench = SetupCache()
    *others, setup = (bench.set_up(make_config(batch_size=n), inputs, cpu) for n in (4, 8, 16))
    errors = [torch.OutOfMemoryError("CUDA out of memory")] * 3
    gradients = setup.step.gradients

    def limited(parts):
        if errors:
            raise errors.pop()
        return gradients(parts)

    setup.step.gradients = limited
    setup.step.take(torch.arange(16).numpy(), 1e-3)
    assert list(bench._kept.values()) == [setup]
    assert setup.fallbacks == ("8 examples at a time: out of memory",)
    assert len(others) == 2


def test_a_student_that_does_not_fit_beside_those_kept_takes_their_place(
    inputs, make_config, cpu, free, monkeypatch
):
    """As it is made, before any step; one that does not fit alone is an error."""
    free(1.0)
    bench, kept = SetupCache(), []

    def limited(teacher, config, pretrained):
        kept.append(len(bench._kept))
        if kept[-1] or config.batch_size == 32:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return build_student(teacher, config, pretrained)

    for size in (4, 8):
        bench.set_up(make_config(batch_size=size), inputs, cpu)
    monkeypatch.setattr(training_setup, "build_student", limited)
    made = bench.set_up(make_config(batch_size=16), inputs, cpu)
    assert (list(bench._kept.values()), kept) == ([made], [2, 0])
    with pytest.raises(torch.OutOfMemoryError):
        bench.set_up(make_config(batch_size=32), inputs, cpu)
    assert kept == [2, 0, 1, 0]


def test_room_is_never_made_by_evicting_the_student_that_asks(inputs, make_config):
    """Its device has another name than that it was set up on, as `cuda` and `cuda:0`."""
    bench = SetupCache()
    setup = bench.set_up(make_config(), inputs, torch.device("cpu", 0))
    assert setup.step.model.device == torch.device("cpu") != torch.device("cpu", 0)
    assert not setup.step.feed.executor.make_room()
    assert list(bench._kept.values()) == [setup]


def test_on_a_cpu_the_last_one_is_kept(inputs, make_config, cpu):
    bench = SetupCache()
    made = [bench.set_up(make_config(batch_size=size), inputs, cpu) for size in (4, 8)]
    assert bench.set_up(make_config(batch_size=8, seed=3), inputs, cpu) is made[1]
    assert bench.set_up(make_config(batch_size=4), inputs, cpu) is not made[0]


@pytest.mark.parametrize(
    ("change", "eager", "graph"),
    [
        ({"hidden_pool": "tokens"}, (True, "tokens"), (True, "tokens")),
        ({"aligned_layers": "none"}, (True, None), (True, "cls")),
        ({"aligned_layers": "none", "alpha": 1.0}, (False, None), (True, "cls")),
        (RELATED, (True, "relations"), (True, "relations")),
    ],
)
def test_captured_steps_read_what_their_neighbours_read(inputs, make_config, change, eager, graph):
    """But states of all tokens, and relations, only where they are compared."""
    config, captured = make_config(**change), replace(inputs, execution=Execution(GRAPH))
    assert outputs_read(config, inputs) == eager
    assert outputs_read(config, captured) == graph
    few = replace(captured, outputs={kind: inputs.outputs[kind] for kind in ("logits", "tokens")})
    assert outputs_read(config, few)[1] == (None if graph[1] == "cls" else graph[1])
