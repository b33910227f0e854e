"""What a student costs to run: each depth once, real examples, one at a time."""

from pathlib import Path

import pytest
import torch

from search.plan.objectives import shapes
from trainable.engine import latency
from trainable.engine.latency import describe, latencies, parameters
from trainable.teacher.teacher import load_teacher


@pytest.mark.parametrize(("width", "hidden_size"), [(None, 32), (16, 16)])
def test_each_depth_is_timed_once_on_single_examples(monkeypatch, inputs, width, hidden_size):
    asked = {}

    def timed(models, examples, batch_size):
        asked.update(examples=examples, batch_size=batch_size)
        assert {model.config.hidden_size for model in models.values()} == {hidden_size}
        return {name: 10.0 * model.config.num_hidden_layers for name, model in models.items()}

    monkeypatch.setattr(latency, "examples_per_second", timed)
    assert latencies(inputs, shapes([4, 2], width, {})) == {"2": 50.0, "4": 25.0}
    assert asked["batch_size"] == 1
    for examples in asked["examples"].values():
        assert (len(examples), examples.pad_id) == (inputs.examples["evaluation"], inputs.pad_id)


def test_parameters_are_those_of_the_whole_model(inputs):
    teacher = load_teacher(Path(inputs.teacher.folder))
    found = parameters(inputs, shapes([4, 2], None, {}))
    assert found["4"] == teacher.num_parameters() / 1e6
    each = sum(p.numel() for p in teacher.bert.encoder.layer[0].parameters())
    assert found["4"] - found["2"] == pytest.approx(2 * each / 1e6)


def test_measured_latency_is_that_of_batches_of_one(inputs):
    """Four times the layers take longer, whatever else the machine does."""
    before = torch.get_rng_state()
    found = latencies(inputs, shapes((4, 1), None, {}))
    assert list(found) == ["1", "4"]
    assert 0 < found["1"] < found["4"]
    assert torch.equal(torch.get_rng_state(), before)
    assert describe({"2": 2.125, "3": 12.0}) == (
        "One example takes 2.12 ms with 2 layers, 12 ms with 3 layers."
    )
