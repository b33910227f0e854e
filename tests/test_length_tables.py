"""Lengths drawn in the exact proportions of a table."""

import numpy as np
import pytest

from search.length_tables import LENGTH_TABLES, LengthTable, draw_lengths, log_normal_counts
from trainable.presets import PRESETS


def test_exact_proportions():
    counts = np.array([0, 0, 3, 0, 5, 2])
    drawn = draw_lengths(counts, 100, np.random.default_rng(0))
    assert np.bincount(drawn).tolist() == [0, 0, 30, 0, 50, 20]


def test_largest_remainders_go_first():
    # 7 sentences of 3 : 5 : 2 are 2.1, 3.5 and 1.4: the one left over goes to the middle.
    drawn = draw_lengths(np.array([0, 3, 5, 2]), 7, np.random.default_rng(0))
    assert np.bincount(drawn).tolist() == [0, 2, 4, 1]


def test_seed_decides_the_order_only():
    counts = LENGTH_TABLES["sst2"].counts
    a, b, again = (draw_lengths(counts, 640, np.random.default_rng(seed)) for seed in (0, 1, 0))
    assert np.array_equal(a, again)
    assert not np.array_equal(a, b)
    assert np.array_equal(np.sort(a), np.sort(b))
    assert not np.array_equal(a, np.sort(a))


@pytest.mark.parametrize("sentences", [1, 31, 640])
@pytest.mark.parametrize("preset", PRESETS)
def test_as_many_as_asked_for_none_without_tokens(preset, sentences):
    drawn = draw_lengths(LENGTH_TABLES[preset].counts, sentences, np.random.default_rng(0))
    assert len(drawn) == sentences
    assert drawn.min() >= 1
    assert drawn.max() <= PRESETS[preset].max_length


@pytest.mark.parametrize("preset", PRESETS)
def test_each_preset_has_its_lengths_up_to_its_limit(preset):
    assert len(LENGTH_TABLES[preset].counts) == PRESETS[preset].max_length + 1
    assert LENGTH_TABLES[preset].counts[0] == 0


def test_measured_tables():
    sst2, tweets = LENGTH_TABLES["sst2"].counts, LENGTH_TABLES["mini"].counts
    assert sst2.sum() == 67_349
    assert np.average(np.arange(65), weights=sst2) == pytest.approx(13.32, abs=0.01)
    assert tweets.sum() == 2_048
    assert np.average(np.arange(65), weights=tweets) == pytest.approx(25.29, abs=0.01)


def test_what_is_not_measured_says_so():
    assert "not measured" in LENGTH_TABLES["imdb"].source
    assert ", measured" in LENGTH_TABLES["sst2"].source
    assert ", measured" in LENGTH_TABLES["mini"].source


def test_log_normal_shares():
    shares = log_normal_counts(median=20.0, sigma=0.5, longest=64)
    assert shares.sum() == pytest.approx(1.0)
    assert shares[:20].sum() < 0.5 < shares[:21].sum()
    normal = 1 - 0.990  # P(z > ln(63.5 / 20) / 0.5), from a table of the normal distribution
    assert shares[64] == pytest.approx(normal, abs=0.001)


def test_cutting_gathers_what_is_longer():
    table = LengthTable(np.array([0, 4, 3, 2, 1]), 50, "here")
    assert table.cut(2).counts.tolist() == [0, 4, 6]
    assert table.cut(4) is table
    assert table.cut(9) is table
    assert table.counts.tolist() == [0, 4, 3, 2, 1]
    assert table.cut(2).tokens_in_use == 50
