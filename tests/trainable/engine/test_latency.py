"""What a student costs to run: each depth once, real examples, one at a time."""

from pathlib import Path

import pytest
import torch

from trainable.data.tokens import load_split
from trainable.engine import latency
from trainable.engine.latency import describe, examples_per_second, latencies
from trainable.teacher.teacher import load_teacher


@pytest.mark.parametrize(("width", "hidden_size"), [(None, 32), (16, 16)])
def test_each_depth_is_timed_once_on_single_examples(monkeypatch, inputs, width, hidden_size):
    asked = {}

    def timed(models, split, pad_id, device, batch_size):
        asked.update(split=split, pad_id=pad_id, batch_size=batch_size)
        assert {model.config.hidden_size for model in models.values()} == {hidden_size}
        return {name: 10.0 * model.config.num_hidden_layers for name, model in models.items()}

    monkeypatch.setattr(latency, "examples_per_second", timed)
    assert latencies(inputs, [4, 2], width) == {"2": 50.0, "4": 25.0}
    assert (asked["batch_size"], asked["pad_id"]) == (1, inputs.pad_id)
    assert len(asked["split"]) == inputs.examples["evaluation"]


def test_measured_latency_is_that_of_batches_of_one(inputs):
    """Four times the layers take longer, whatever else the machine does."""
    before = torch.get_rng_state()
    found = latencies(inputs, (4, 1))
    assert list(found) == ["1", "4"]
    assert 0 < found["1"] < found["4"]
    assert torch.equal(torch.get_rng_state(), before)
    assert describe({"2": 2.125, "3": 12.0}) == (
        "One example takes 2.12 ms with 2 layers, 12 ms with 3 layers."
    )


def test_batches_have_as_many_examples_as_asked(monkeypatch, inputs):
    sizes = []
    model = load_teacher(Path(inputs.teacher.folder))
    model.register_forward_pre_hook(
        lambda module, args, kwargs: sizes.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    monkeypatch.setattr("trainable.engine.latency.TIMED_SECONDS", 0.05)
    split = load_split(Path(inputs.tokens), "evaluation")
    for batch_size in (1, 3):
        sizes.clear()
        device = torch.device("cpu")
        examples_per_second({"t": model}, split, inputs.pad_id, device, batch_size)
        assert max(sizes) == batch_size
