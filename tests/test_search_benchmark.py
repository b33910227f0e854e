"""The search benchmark and the comparison with peers: data sets, and the tables' arithmetic."""

import sys

import numpy as np
import pytest
from scipy.stats import t as student_t

from tests.made_runs import pack_right
from tests.peers.jobs import code_lines, cost_of_kill, printed, recorded
from tests.peers.table import markdown
from tests.scripts import benchmark_data
from tests.scripts.benchmark_data import DATASETS, SPLITS, make_dataset, read_tsv, write_tsv
from tests.scripts.benchmark_table import difference, mean_differences
from tests.scripts.search_benchmark import WAYS, make_parser, parse_arguments
from trainable.data.datasets import Dataset, LabelledTexts


def examples(first, last, *more):
    """Texts of these numbers, odd ones with label 1, and then more texts with label 0."""
    numbers = range(first, last)
    labels = [n % 2 for n in numbers] + [0] * len(more)
    return LabelledTexts([f'film {n} , "good" .' for n in numbers] + list(more), labels)


@pytest.fixture
def made(tmp_path, monkeypatch):
    """By data set its three splits, made of 40 texts and, for GLUE's, copies of some."""
    source, dev = examples(0, 40, 'FILM 1 "good"', "film 38: good!"), examples(36, 44)
    names = {"sst2": "dev.tsv", "glue/cola": "validation.tsv"}
    for folder, validation in names.items():
        (tmp_path / folder).mkdir(parents=True)
        write_tsv(tmp_path / folder / "train.tsv", source)
        write_tsv(tmp_path / folder / validation, dev)
    tweets = Dataset(examples(0, 40), examples(40, 48), ["0", "1"])
    monkeypatch.setattr(benchmark_data, "tweets", lambda: tweets)
    for size, value in {"TRAINED": 20, "HELD_OUT": 10, "FEW": 6}.items():
        monkeypatch.setattr(benchmark_data, size, value)
    splits = {}
    for name in DATASETS:
        folder = tmp_path / "data" / name
        make_dataset(name, folder, tmp_path / "glue", tmp_path / "sst2")
        splits[name] = [read_tsv(folder / f"{split}.tsv") for split in SPLITS]
    return splits


def test_data_sets_are_the_benchmarks_or_lie_in_its_folder(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "data" / "mine"
    folder.mkdir(parents=True)
    write_tsv(folder / "heldout.tsv", examples(0, 2))
    command = ["search_benchmark", "--out", str(tmp_path), "--table", "--datasets"]
    monkeypatch.setattr(sys, "argv", [*command, "cola,mine"])
    assert parse_arguments(make_parser("", WAYS)).datasets == ["cola", "mine"]
    monkeypatch.setattr(sys, "argv", [*command, "cola,mien"])
    with pytest.raises(SystemExit):
        parse_arguments(make_parser("", WAYS))
    assert "--datasets: 'mien' is neither tweets, sst2" in capsys.readouterr().err


def test_no_text_is_in_two_splits(made):
    sizes = {name: [len(split) for split in splits] for name, splits in made.items()}
    assert sizes == {
        "tweets": [20, 8, 20],
        "sst2": [20, 8, 10],
        "noisy": [20, 8, 20],
        "cola": [20, 8, 16],  # 36 are left of 42: four of dev's, a copy of one, a copy of film 1
        "tweets640": [6, 8, 20],
    }
    for splits in made.values():
        texts = ["".join(filter(str.isalnum, t.lower())) for split in splits for t in split.texts]
        assert len(set(texts)) == len(texts)
    assert made["noisy"][0].texts == made["tweets"][0].texts
    assert made["tweets640"][0].texts == made["tweets"][0].texts[:6]
    assert made["noisy"][1:] == made["tweets"][1:]
    flipped = np.not_equal(made["noisy"][0].labels, made["tweets"][0].labels)
    assert flipped.sum() == 4  # a fifth of 20


def test_a_difference_is_paired_by_example():
    ours, theirs = np.array([[1.0, 1, 1, 0]]), np.array([[1.0, 0, 0, 0], [1, 1, 0, 0]])
    gap = difference(ours, theirs)  # on the examples 0, 0.5, 1, 0: mean 0.375, variance 0.2292
    half = 1.959964 * np.sqrt(0.2291667 / 4)
    assert [gap.estimate, gap.low, gap.high] == pytest.approx([0.375, 0.375 - half, 0.375 + half])


def test_the_mean_over_data_sets_has_two_intervals():
    gaps = [
        difference(np.full((1, 4), 0.0) + row, np.zeros((1, 4))) for row in ([0, 0, 0, 1], 0.75)
    ]
    here, elsewhere = mean_differences(gaps)  # 0.25 and 0.75; the second is without error
    assert here.estimate == elsewhere.estimate == 0.5
    assert here.high - 0.5 == pytest.approx(1.959964 * 0.25 / 2)  # standard error 0.25 and 0
    assert elsewhere.high - 0.5 == pytest.approx(student_t.ppf(0.975, 1) * 0.25)


def test_a_kill_costs_what_is_done_again():
    lines = [
        "accuracy 0.5",  # of AutoGluon's teacher
        "trial 0 begins",
        "Epoch 0, global step 9: 'val_accuracy' reached 0.81250 (best 0.81250)",
        "trial 0 ends",
        "trial 1 begins",
        "accuracy 0.82500",
    ]
    before = printed(enumerate(lines))
    assert [e for e in before if e[1] == "score"] == [(2, "score", 0.8125), (5, "score", 0.825)]
    assert cost_of_kill(before, [(3, "begins", 0)], 10) == (10, 3)
    assert cost_of_kill(before, [(3, "begins", 2)], 10) == (6, 3)  # what trial 1 had done
    kinds = {1: "start", 4: "evaluation", 6: "evaluation", 22: "start", 25: "repeated"}
    more = {"trial": "a", "evaluation": {"score": 0.5}}
    events = recorded([{"event": kind, "time": time, **more} for time, kind in kinds.items()])
    assert cost_of_kill(events[:3], events[3:4], 10) == (4, 22)  # since the second evaluation
    assert cost_of_kill(events[:3], events[3:], 10) == (6, 22)  # which was made again


def test_the_comparison_has_losses_and_times():
    def result(way, bits, scores, validation, **more):
        found = {"validation_accuracy": validation, "scores": scores, "trials": 3, "whole": 2}
        packed = {"correct": pack_right(bits), "examples": len(bits), "seconds": 240}
        key = {"dataset": "cola", "budget": "4m", "way": way, "killed": False}
        return key | packed | found | more

    results = [
        result("teacher", [1, 1, 1, 0], [], 0.8, budget=None),
        result("recipe", [1, 0, 0, 0], [[50, 0.79], [90, 0.795]], 0.7),
        result("txtai", [1, 1, 1, 0], [[50, 0.79]], 0.79),
        result("txtai", [1, 1, 0, 0], [], 0.792, trials=4),  # the goal at its end
        result("txtai", [], [], 0.0, killed=True, lost=9.6, restart=4),
    ]
    table = markdown(results, "cola", "4m", {"neps": "No module named 'neps'"}).splitlines()
    _, ours, theirs = ([cell.strip() for cell in row.split("|")[1:-1]] for row in table[5:8])
    assert ours[:6] == ["recipe", "1", "2", "3 (2)", "240", "90"]
    assert theirs[3:6] == ["3.5 (2)", "240", "never / 240"]
    assert [theirs[6][:8], theirs[7][:8], theirs[8]] == ["0.6250 (", "+37.50 (", "10 + 4"]
    unknown = markdown(results[1:], "cola", "4m", {}).splitlines()[5].split("|")
    assert [unknown[1].strip(), unknown[6].strip()] == ["recipe", ""]
    assert table[-1] == "- neps: no result: No module named 'neps'"
    source = '"""Two\nlines."""\n\nimport os  # why\n# a comment\ndef f():\n    return """a\nb"""\n'
    assert code_lines(source) == 4
