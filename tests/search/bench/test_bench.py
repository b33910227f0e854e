"""`python -m search.bench` on a tiny teacher: what is trained, what is printed, and when."""

import json
from dataclasses import replace
from functools import partial
from unittest.mock import Mock

import numpy as np
import pytest
import torch

from search.bench import __main__ as bench
from search.bench import workload as bench_workload
from search.bench.options import VARIANTS, BenchOptions
from search.bench.variants import MAKERS, cast_at_once, changed, compile_layers, live, time_variant
from search.bench.workload import LENGTHS, lengths_of, make_workload
from tests.conftest import ARCHITECTURES
from trainable.config.fields import given
from trainable.config.presets import PRESETS
from trainable.models.flash_attention import replace_attention

SMALL = ["--preset", "mini", "--precision", "fp32", "--batch-size", "4", "--steps", "3"]
ON_CPU = ["live", "cached", "lengths"]
# Without dropout, and with weights large enough that other losses show beside cross-entropy.
CLEAR = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "initializer_range": 0.3}


@pytest.fixture(autouse=True)
def tiny(request, monkeypatch):
    """Preset mini with a tiny teacher, of another architecture where a test says so."""
    shapes = ARCHITECTURES[getattr(request, "param", "bert")]
    changed = shapes.__class__.from_dict({**shapes.to_dict(), **CLEAR})
    monkeypatch.setitem(bench_workload.SHAPES, "mini", changed)


@pytest.fixture
def run(capsys):
    def command(*arguments):
        code = bench.main([*SMALL, *arguments])
        printed = capsys.readouterr()
        return code, [json.loads(line) for line in printed.out.splitlines()], printed.err

    return command


def tiny_workload(*flags):
    arguments = bench.make_parser().parse_args([*SMALL, *flags])
    return make_workload(BenchOptions(**given(arguments, BenchOptions)))


def test_lines(run):
    code, lines, errors = run("--repeats", "2", "--max-length", "20")
    assert code == 0, errors
    assert [line["variant"] for line in lines] == ON_CPU
    assert list(VARIANTS) == list(MAKERS)
    same = {"student_layers": 2, "precision": "fp32", "reserved_gib": None}
    same |= {"batch_size": 4, "examples": 12}
    for line in lines:
        assert same.items() <= line.items()
        rate, seconds = line["examples_per_second"], line["seconds"]
        assert len(seconds) == 2
        assert min(seconds) <= 12 / rate <= max(seconds)
        ratio = rate / lines[0]["examples_per_second"]
        assert line["ratio_to_live"] == pytest.approx(ratio, abs=1e-3)
        assert line["command"].startswith("python -m search.bench --preset mini")
        assert {"commit", "versions", "device", "setup_seconds"} <= set(line)
    assert lines[1]["loss"] == pytest.approx(lines[0]["loss"], abs=1e-3)


@pytest.mark.parametrize("tiny", ["bert", "deberta-v2"], indirect=True)
def test_a_cached_step_has_the_loss_of_a_live_one():
    work = tiny_workload()
    rows = np.concatenate(MAKERS["lengths"](work).batches)
    assert np.array_equal(np.sort(rows), np.arange(12))  # each example once
    one, other = live(work), MAKERS["cached"](work)
    assert np.array_equal(one.batches, other.batches)
    for loss, of_live in losses_of(other, one, (2, 0, 1)):
        assert loss == pytest.approx(of_live, rel=1e-3)  # kept in half precision


def losses_of(one, other, steps):
    """Of both after each of these steps."""
    for index in steps:
        one.step(index)
        other.step(index)
        yield one.loss(), other.loss()


@pytest.mark.parametrize("tiny", ["bert", "deberta-v2"], indirect=True)
@pytest.mark.parametrize(
    ("change", "precision"),
    [(cast_at_once, "bf16"), (partial(compile_layers, backend="eager"), "fp32")],
)
def test_what_is_run_on_request_changes_no_loss(change, precision):
    """Both are made for a GPU; `eager` traces a layer's parts whole, and runs them as they are."""
    work = tiny_workload("--precision", precision)
    for one, other in losses_of(MAKERS["lengths"](work), changed(work, change), (2, 0, 1, 2)):
        assert other == one


@pytest.mark.parametrize("tiny", ["deberta-v2"], indirect=True)
def test_a_fused_attention_joins_weights_that_are_cast(monkeypatch):
    """Not fp32 ones, whose join autocast has to cast anew at each step."""
    pytest.importorskip("disentangled_flash")
    join, joined = torch.cat, []

    def note(tensors, *arguments, **keywords):
        joined.append((tensors[0].shape, tensors[0].dtype))
        return join(tensors, *arguments, **keywords)

    def fuse_and_cast(step):
        assert replace_attention(step.model.base_model, "torch")
        cast_at_once(step)
        monkeypatch.setattr(torch, "cat", note)

    changed(tiny_workload("--precision", "bf16"), fuse_and_cast).step(0)
    assert {dtype for shape, dtype in joined if shape == (32, 32)} == {torch.bfloat16}


def test_steps_of_each_width_come_before_the_timed_ones():
    trained, losses, work = [], [], tiny_workload()
    batches = [np.array([0, 1]), np.array([2, 3]), np.array([4, 5])]
    take_loss = lambda: losses.append(len(trained)) or 1.0  # noqa: E731
    steps = replace(live(work), batches=batches, step=trained.append, loss=take_loss)
    line = time_variant(lambda given: steps, work, 2)
    warm = len(trained) - 6
    assert trained[warm:] == [0, 1, 2, 0, 1, 2]
    assert trained[: warm // 2] == trained[warm // 2 : warm]
    longest = [work.split.lengths[rows].max() for rows in batches]
    assert longest[trained[0]] == max(longest)
    assert losses == [warm, len(trained)]
    assert (line["examples"], len(line["seconds"])) == (6, 2)


@pytest.mark.parametrize("preset", PRESETS)
def test_lengths_are_the_presets_whatever_their_number(preset):
    for examples in (1, 31, 640):
        lengths = lengths_of(preset, examples, None)
        assert len(lengths) == examples
        assert min(LENGTHS[preset]) <= lengths.min() <= lengths.max() <= PRESETS[preset].max_length
    mean = {"sst2": 13.32, "mini": 25.29, "imdb": 265.0}[preset]  # of the measured splits
    assert lengths.mean() == pytest.approx(mean, rel=0.02)
    assert lengths_of(preset, 640, 9).max() == 9


def test_mistakes_are_one_line(refusal_of):
    for flags, said in {
        "--variants live,grph": "--variants: 'grph' is not known; did you mean graph?",
        "--variants graph": "--variants: graph: needs a CUDA GPU, and none is visible",
        "--variants cast": "--variants: cast: needs --precision bf16",
        "--steps 0": "--steps: 0 must be at least 1",
        "--preset sst3": "--preset: 'sst3' is not known; did you mean sst2?",
        "--student-layers 3": "student_layers: 3 does not divide the teacher's 4",
    }.items():
        assert said in refusal_of(bench.main, *SMALL, *flags.split())


def test_lines_come_one_by_one_and_outlive_a_failure_and_an_interrupt(run, monkeypatch):
    full = torch.OutOfMemoryError("CUDA out of memory\n...")
    monkeypatch.setitem(MAKERS, "cached", Mock(side_effect=full))
    code, lines, _ = run("--variants", "cached,lengths")
    assert code == 1
    assert lines[1]["error"] == "OutOfMemoryError: CUDA out of memory"
    assert lines[2]["ratio_to_live"] > 0
    monkeypatch.setitem(MAKERS, "lengths", Mock(side_effect=KeyboardInterrupt))
    code, lines, errors = run("--variants", "lengths")
    assert (code, [line["variant"] for line in lines]) == (130, ["live"])
    assert errors.splitlines()[-1] == "interrupted"


@pytest.mark.slow
def test_needs_neither_ray_nor_datasets(printed_by):
    """The machines with a GPU may have neither."""
    command = [*SMALL, "--repeats", "1"]
    code = (
        "import sys\n"
        "sys.modules['ray'] = sys.modules['datasets'] = None  # importing them fails\n"
        "from search.bench.__main__ import main\n"
        f"if __name__ == '__main__': sys.exit(main({command!r}))\n"
    )
    assert [json.loads(line)["variant"] for line in printed_by(code)] == ON_CPU


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU")
def test_imdb_at_512_tokens_needs_less_than_24_gb(printed_by):
    """In a process that gets no more, with the fastest attention that is here."""
    code = (
        "import json, torch\n"
        "whole = torch.cuda.get_device_properties(0).total_memory\n"
        "torch.cuda.set_per_process_memory_fraction(min(1.0, 24e9 / whole))\n"
        "from search.bench.options import BenchOptions\n"
        "from search.bench.variants import MAKERS, time_variant, obstacle\n"
        "from search.bench.workload import make_workload\n"
        "work = make_workload(BenchOptions(preset='imdb', steps=12))\n"
        "name = 'graph' if obstacle('flash', work) else 'flash'\n"
        "print(json.dumps(time_variant(MAKERS[name], work, 1)))"
    )
    line = json.loads("".join(printed_by(code)))
    assert 1.0 < line["reserved_gib"] < 24e9 / 2**30
    assert np.isfinite(line["loss"])
