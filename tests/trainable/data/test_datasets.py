"""Subsets, shuffles and digests of labelled examples."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from tests.conftest import user_error
from trainable.common.errors import UserError
from trainable.data.datasets import (
    Dataset,
    LabelledTexts,
    check_sizes,
    hold_out,
    pick,
    sample_evaluation,
    shared_examples,
    stratified_order,
    subset,
)

SIZES = ("--max-train-samples", "--max-eval-samples", "--eval-subset")


@pytest.mark.parametrize(
    "labels", [[0, 1] * 50, [0] * 90 + [1] * 10, [2, 0, 1, 0] * 30, ["b", "a", "a"] * 7, [0] * 5]
)
def test_every_prefix_of_the_stratified_order_has_each_label_in_its_share(labels):
    order = stratified_order(labels)
    assert sorted(order.tolist()) == list(range(len(labels)))
    shares = {label: count / len(labels) for label, count in Counter(labels).items()}
    for length in range(1, len(labels) + 1):
        counts = Counter(labels[row] for row in order[:length])
        for label, share in shares.items():
            assert abs(counts[label] - share * length) < len(shares)


def test_of_numbers_every_prefix_has_each_tenth_of_their_range_in_its_share():
    labels = np.random.default_rng(0).normal(size=200) ** 3
    order = stratified_order(labels.tolist())
    assert sorted(order.tolist()) == list(range(200))
    ranks = np.argsort(np.argsort(labels))
    assert np.bincount(ranks[order[:50]] // 20).tolist() == [5] * 10


@pytest.fixture
def corpus():
    """100 and 40 examples, a fifth of them positive."""

    def split(name, count):
        return LabelledTexts([f"{name} {i}" for i in range(count)], [1, 0, 0, 0, 0] * (count // 5))

    return Dataset(split("train", 100), split("evaluation", 40), ["negative", "positive"])


def test_a_subset_has_every_label_in_its_share(corpus):
    part = subset(corpus, 50, 10)
    assert Counter(part.train.labels) == {0: 40, 1: 10}
    assert Counter(part.evaluation.labels) == {0: 8, 1: 2}
    for split, whole in ((part.train, corpus.train), (part.evaluation, corpus.evaluation)):
        known = dict(zip(whole.texts, whole.labels, strict=True))
        assert len(set(split.texts)) == len(split)
        assert split.labels == [known[text] for text in split.texts]
    negative = [int(text.split()[1]) for text in part.train.texts if not text.endswith(("0", "5"))]
    assert negative != sorted(negative)  # shuffled


def test_a_sample_is_the_same_each_time_and_part_of_a_larger(corpus):
    np.random.seed(99)
    small = sample_evaluation(corpus, 10).evaluation
    assert small == sample_evaluation(corpus, 10).evaluation
    assert small == subset(corpus, None, 10).evaluation
    assert sample_evaluation(corpus, 20).evaluation.texts[:10] == small.texts
    for all_of_it in (None, 40, 41):
        assert sample_evaluation(corpus, all_of_it) == subset(corpus, 100, all_of_it) == corpus


@pytest.fixture
def use(corpus):
    """The corpus cut to sizes that a user asks for, by flag, as `load_sources` does."""

    def cut(asked):
        sizes = [asked.get(flag) for flag in SIZES]
        dataset = sample_evaluation(subset(corpus, *sizes[:2]), sizes[2])
        check_sizes(corpus, dataset, dict(zip(SIZES, sizes, strict=True)))
        return dataset

    return cut


@pytest.mark.parametrize("flag", SIZES)
def test_the_least_size_that_a_refusal_names_will_do_and_one_fewer_not(corpus, use, flag):
    start = f"{flag} 1: too few to have each label among them; give at least "
    least = int(user_error(use, {flag: 1}).removeprefix(start))
    order = stratified_order((corpus.train if "train" in flag else corpus.evaluation).labels)
    labels = [int(row % 5 == 0) for row in order]
    assert least == next(n for n in range(1, 41) if set(labels[:n]) == {0, 1})
    for asked in range(1, least):
        with pytest.raises(UserError, match=f"{flag} {asked}: .* at least {least}$"):
            use({flag: asked})
    for asked in (least, 40, None):
        use({flag: asked})


def test_a_sample_is_of_the_validation_examples_in_use_and_other_sizes_are_limits(corpus, use):
    assert use({"--max-train-samples": 101, "--max-eval-samples": 41}) == corpus
    for limit, count in (({}, 40), ({"--max-eval-samples": 20}, 20)):
        assert len(use({**limit, "--eval-subset": count}).evaluation) == count
        said = f"--eval-subset {count + 1}: the validation split has {count} examples; give at mo"
        assert user_error(use, {**limit, "--eval-subset": count + 1}).startswith(said)
    unasked = dict.fromkeys(SIZES)  # a preset's sizes are limits, whatever they leave out
    check_sizes(corpus, sample_evaluation(subset(corpus, 1, 2), 1), unasked)


def test_validation_texts_that_are_trained_on_are_counted_in_the_whole_split(corpus):
    assert shared_examples(corpus) == []
    tested = replace(corpus, test=LabelledTexts(["train 5", "new"], [0, 1]))
    assert shared_examples(tested)[0].startswith("Warning: 1 of the 2 test examples are also train")
    texts = ["train 3", "train 3", "train 99", *corpus.evaluation.texts[3:]]
    mixed = replace(corpus, evaluation=replace(corpus.evaluation, texts=texts))
    for dataset in (mixed, sample_evaluation(mixed, 10)):
        (warning,) = shared_examples(dataset)
        assert warning.startswith("Warning: 3 of the 40 validation examples are")


def test_whatever_differs_changes_the_digest(corpus):
    train, evaluation, names = corpus.train, corpus.evaluation, corpus.label_names
    others = [
        Dataset(LabelledTexts(["other", *train.texts[1:]], train.labels), evaluation, names),
        Dataset(LabelledTexts(train.texts, [0, *train.labels[1:]]), evaluation, names),
        Dataset(pick(train, np.arange(100)[::-1]), evaluation, names),
        Dataset(train, pick(evaluation, np.arange(39)), names),
        Dataset(evaluation, train, names),
        Dataset(train, evaluation, ["positive", "negative"]),
        *(sample_evaluation(corpus, count) for count in (10, 11)),
        Dataset(train, sample_evaluation(corpus, 10).evaluation, names),
    ]
    assert len({dataset.digest for dataset in (corpus, *others)}) == len(others) + 1
    copy = Dataset(LabelledTexts(list(train.texts), list(train.labels)), evaluation, list(names))
    assert copy.digest == corpus.digest


def test_a_text_is_not_held_out_beside_its_equals():
    texts = [f"text {number % 10}" for number in range(40)]  # each of ten four times
    texts += [f"own {number}" for number in range(60)]
    split = LabelledTexts(texts, [number % 2 for number in range(100)])
    train, held_out = hold_out(split)
    assert not {*train.texts} & {*held_out.texts}
    assert Counter(train.texts + held_out.texts) == Counter(texts)
    assert 0 < len(held_out) < 10
    alike = LabelledTexts(["same"] * 20, [0, 1] * 10)
    assert [len(part) for part in hold_out(alike)] == [18, 2]
