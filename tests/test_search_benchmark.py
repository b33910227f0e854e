"""The search benchmark: its data sets share no text between splits, and its table's arithmetic."""

import numpy as np
import pytest
from scipy.stats import t as student_t

from tests.made_runs import pack_right
from tests.scripts import benchmark_data
from tests.scripts.benchmark_data import DATASETS, SPLITS, make_dataset, read_tsv, write_tsv
from tests.scripts.benchmark_table import difference, mean_differences, print_table
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


def test_the_table_counts_the_default_in_every_budget(capsys):
    def result(way, budget, seed, bits):
        packed = {"correct": pack_right(bits), "examples": len(bits)}
        return {"dataset": "cola", "way": way, "budget": budget, "seed": seed} | packed

    results = [
        result("default", None, 0, [1, 0, 0, 0]),
        result("default", None, 1, [1, 1, 0, 0]),
        result("recipe", "4m", 0, [1, 1, 1, 0]),
        result("recipe", "9m", 0, [0, 0, 0, 0]),
    ]
    print_table(results, "4m")
    printed = capsys.readouterr().out.splitlines()
    rows = [line.split() for line in printed if line.startswith("cola")]
    assert [row[:4] for row in rows] == [
        ["cola", "default", "2", "0.3750"],
        ["cola", "recipe", "1", "0.7500"],
    ]
    assert rows[1][4] == "+37.50"
    assert printed[-1].startswith("recipe over default, mean of 1 data sets: +37.50")
