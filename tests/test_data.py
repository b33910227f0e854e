"""Subsets, shuffles and digests of labelled sentences."""

from collections import Counter

import numpy as np
import pytest

from trainable.data import (
    Dataset,
    LabelledTexts,
    check_sample,
    pick,
    sample_evaluation,
    stratified_order,
    subset,
)
from trainable.errors import UserError


@pytest.mark.parametrize(
    "labels",
    [[0, 1] * 50, [0] * 90 + [1] * 10, [2, 0, 1, 0] * 30, ["b", "a", "a"] * 7, [0] * 5],
)
def test_every_prefix_of_the_stratified_order_has_each_label_in_its_share(labels):
    order = stratified_order(labels)
    assert sorted(order.tolist()) == list(range(len(labels)))
    shares = {label: count / len(labels) for label, count in Counter(labels).items()}
    for length in range(1, len(labels) + 1):
        counts = Counter(labels[row] for row in order[:length])
        for label, share in shares.items():
            assert abs(counts[label] - share * length) < len(shares)


def test_the_stratified_order_is_a_shuffle_and_the_same_each_time():
    labels = [0, 1] * 50
    order = stratified_order(labels).tolist()
    assert order == stratified_order(labels).tolist()
    of_one_label = [row for row in order if labels[row] == 0]
    assert of_one_label != sorted(of_one_label)


@pytest.fixture
def corpus():
    """100 and 40 sentences, a fifth of them positive."""
    splits = [
        LabelledTexts(
            [f"{name} {i}" for i in range(count)], [int(i % 5 == 0) for i in range(count)]
        )
        for name, count in (("train", 100), ("evaluation", 40))
    ]
    return Dataset(*splits, ["negative", "positive"])


def test_a_subset_has_every_label_in_its_share(corpus):
    part = subset(corpus, 50, 10)
    assert Counter(part.train.labels) == {0: 40, 1: 10}
    assert Counter(part.evaluation.labels) == {0: 8, 1: 2}
    for split, whole in ((part.train, corpus.train), (part.evaluation, corpus.evaluation)):
        known = dict(zip(whole.texts, whole.labels, strict=True))
        assert len(set(split.texts)) == len(split)
        assert split.labels == [known[text] for text in split.texts]


def test_a_smaller_subset_is_part_of_a_larger(corpus):
    small, large = (set(subset(corpus, count, None).train.texts) for count in (20, 60))
    assert small < large


@pytest.mark.parametrize("counts", [(None, None), (100, 40), (1000, 1000)])
def test_a_subset_as_large_as_the_whole_is_the_whole(corpus, counts):
    assert subset(corpus, *counts) == corpus


def test_pick_keeps_texts_and_labels_together():
    split = LabelledTexts(["a", "b", "c"], [0, 1, 2])
    assert pick(split, np.array([2, 0, 2])) == LabelledTexts(["c", "a", "c"], [2, 0, 2])


@pytest.mark.parametrize(
    ("labels", "count"),
    [([0, 1] * 12_500, 900), ([0, 0, 0, 0, 1] * 8, 13), ([0, 1, 2, 2] * 30, 7)],
)
def test_a_sample_has_each_label_within_one_of_its_share(labels, count):
    split = LabelledTexts([f"sentence {row}" for row in range(len(labels))], labels)
    found = sample_evaluation(Dataset(split, split, ["a", "b", "c"]), count)
    assert found.whole is split
    assert found.train is split
    assert len(found.evaluation) == len(set(found.evaluation.texts)) == count
    assert set(zip(found.evaluation.texts, found.evaluation.labels, strict=True)) < set(
        zip(split.texts, labels, strict=True)
    )
    drawn = Counter(found.evaluation.labels)
    for label, number in Counter(labels).items():
        assert abs(drawn[label] - count * number / len(labels)) <= 1


def test_a_sample_is_the_same_each_time_and_part_of_a_larger(corpus):
    np.random.seed(99)
    small = sample_evaluation(corpus, 10).evaluation
    assert small == sample_evaluation(corpus, 10).evaluation
    assert small == subset(corpus, None, 10).evaluation
    assert sample_evaluation(corpus, 20).evaluation.texts[:10] == small.texts


@pytest.mark.parametrize("count", [None, 40, 41])
def test_a_sample_that_leaves_nothing_out_is_none(corpus, count):
    assert sample_evaluation(corpus, count) == corpus
    assert set(corpus.splits) == {"train", "evaluation"}


def test_sample_sizes_have_digests_of_their_own(corpus):
    sampled = [sample_evaluation(corpus, count) for count in (10, 11, None)]
    alone = Dataset(corpus.train, sampled[0].evaluation, corpus.label_names)
    assert len({dataset.digest for dataset in (*sampled, alone)}) == 4


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (41, "--search-sentences 41: the evaluation split has 40; give at most that"),
        (1, "--search-sentences 1: too few to have each label among them; give at least "),
    ],
)
def test_a_sample_that_cannot_be_had_is_refused(corpus, asked, message):
    with pytest.raises(UserError) as caught:
        check_sample(sample_evaluation(corpus, asked), asked)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_the_least_sample_that_a_refusal_names_will_do_and_one_fewer_not(corpus):
    with pytest.raises(UserError) as caught:
        check_sample(sample_evaluation(corpus, 1), 1)
    least = int(str(caught.value).rpartition(" ")[2])
    assert set(sample_evaluation(corpus, least).evaluation.labels) == {0, 1}
    assert len(set(sample_evaluation(corpus, least - 1).evaluation.labels)) == 1
    for asked in (least, 40, None):
        check_sample(sample_evaluation(corpus, asked), asked)


def changed(corpus, name):
    train, evaluation, label_names = corpus.train, corpus.evaluation, corpus.label_names
    other_text = LabelledTexts(["other", *train.texts[1:]], train.labels)
    other_label = LabelledTexts(train.texts, [1 - train.labels[0], *train.labels[1:]])
    return {
        "text": Dataset(other_text, evaluation, label_names),
        "label": Dataset(other_label, evaluation, label_names),
        "order": Dataset(pick(train, np.arange(100)[::-1]), evaluation, label_names),
        "evaluation": Dataset(train, pick(evaluation, np.arange(39)), label_names),
        "splits exchanged": Dataset(evaluation, train, label_names),
        "label names": Dataset(train, evaluation, ["positive", "negative"]),
    }[name]


@pytest.mark.parametrize(
    "name", ["text", "label", "order", "evaluation", "splits exchanged", "label names"]
)
def test_whatever_differs_changes_the_digest(corpus, name):
    assert changed(corpus, name).digest != corpus.digest


def test_equal_datasets_have_one_digest(corpus):
    copy = Dataset(
        LabelledTexts(list(corpus.train.texts), list(corpus.train.labels)),
        LabelledTexts(list(corpus.evaluation.texts), list(corpus.evaluation.labels)),
        list(corpus.label_names),
    )
    assert copy.digest == corpus.digest
