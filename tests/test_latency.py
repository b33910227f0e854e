"""What a student costs to run: each depth once, real sentences, one at a time."""

from pathlib import Path

import torch

from search import latency
from search.export_check import sentences_per_second
from search.latency import in_words, latencies
from trainable.teacher import load_teacher
from trainable.tokens import load_split


def test_each_depth_is_timed_once_on_single_sentences(monkeypatch, task):
    asked = {}

    def timed(models, split, pad_id, device, at_once):
        asked.update(models=models, split=split, pad_id=pad_id, at_once=at_once)
        return {name: 10.0 * model.config.num_hidden_layers for name, model in models.items()}

    monkeypatch.setattr(latency, "sentences_per_second", timed)
    assert latencies(task, [4, 2]) == {"2": 50.0, "4": 25.0}
    assert asked["models"]["2"].config.hidden_size == 32
    assert (asked["at_once"], asked["pad_id"]) == (1, task.pad_id)
    assert len(asked["split"]) == task.sentences["evaluation"]


def test_measured_latency_is_that_of_batches_of_one(task):
    """Four times the layers take longer, whatever else the machine does."""
    before = torch.get_rng_state()
    found = latencies(task, (4, 1))
    assert list(found) == ["1", "4"]
    assert 0 < found["1"] < found["4"]
    assert torch.equal(torch.get_rng_state(), before)


def test_width_is_the_students(monkeypatch, task):
    widths = []

    def timed(models, *more, **settings):
        widths.extend(model.config.hidden_size for model in models.values())
        return dict.fromkeys(models, 1.0)

    monkeypatch.setattr(latency, "sentences_per_second", timed)
    latencies(task, [2], 16)
    assert widths == [16]


def test_words():
    assert in_words({"2": 2.125, "3": 12.0}) == (
        "One sentence takes 2.12 ms with 2 layers, 12 ms with 3 layers."
    )


def test_batches_have_as_many_sentences_as_asked(monkeypatch, task):
    sizes = []
    model = load_teacher(Path(task.teacher.folder))
    model.register_forward_pre_hook(
        lambda module, args, kwargs: sizes.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    monkeypatch.setattr("search.export_check.TIMED_SECONDS", 0.05)
    split = load_split(Path(task.tokens), "evaluation")
    for at_once in (1, 3):
        sizes.clear()
        sentences_per_second({"t": model}, split, task.pad_id, torch.device("cpu"), at_once)
        assert max(sizes) == at_once
