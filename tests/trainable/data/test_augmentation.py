"""Made texts: each kind against what it may do to a text's words."""

from math import ceil
from random import Random

import pytest

from trainable.common.errors import UserError
from trainable.config.options import MADE, InputOptions, augmentation_settings
from trainable.data.augmentation import KINDS, Draws, made_texts

SHARE, ON = augmentation_settings([])
# Texts of 1 to 20 words, no word twice: w3.7 is word 7 of text 3.
SPLIT = [[f"w{text}.{word}" for word in range(1 + text % 20)] for text in range(200)]
TEXTS = [" ".join(words) for words in SPLIT]
LONGEST = 20  # words of a text


def made(kind, strength=None):
    """What a kind makes of each text of at least two words, beside it."""
    draws, strength = Draws(SPLIT, 3), ON[kind] if strength is None else strength
    return [(words, KINDS[kind](words, strength, draws)) for words in SPLIT if len(words) > 1]


def test_every_kind_has_a_strength_and_the_reverse():
    assert (set(ON), SHARE, MADE) == (set(KINDS), 4.0, {**ON, "share": SHARE})
    share, kinds = augmentation_settings([("drop", 0.0), ("swap", 0.3), ("share", 2.5)])
    assert (share, kinds) == (2.5, {"crop": 0.5, "halves": 0.5, "words": 0.25, "swap": 0.3})


def test_a_crop_is_a_run_of_50_to_90_percent_of_the_words():
    shares = set()
    for words, cropped in made("crop"):
        start = words.index(cropped[0])
        assert cropped == words[start : start + len(cropped)]
        assert len(words) / 2 <= len(cropped) < len(words)
        shares.add(len(cropped) / len(words))
    assert min(shares) < 0.6
    assert max(shares) >= 0.9


def test_a_drop_leaves_out_10_to_35_percent_and_keeps_the_order():
    inner = 0
    for words, kept in made("drop"):
        positions = [words.index(word) for word in kept]
        assert positions == sorted(set(positions))
        assert 1 <= len(words) - len(kept) <= max(1, 0.35 * len(words))
        inner += positions[-1] - positions[0] + 1 > len(kept)
    assert inner > 100  # no crop


@pytest.mark.parametrize("strength", [0.5, 0.2])
def test_halves_are_the_first_of_one_text_and_the_last_of_another(strength):
    for words, joined in made("halves", strength):
        first = len(words) - int(strength * len(words))
        assert joined[:first] == words[:first]
        other = SPLIT[int(joined[-1][1:].partition(".")[0])]
        assert joined[first:] == other[-ceil(strength * len(other)) :]


def test_a_quarter_of_the_words_are_replaced_by_frequency():
    known, replaced, wanted = {word for words in SPLIT for word in words}, 0, 0
    for words, others in made("words"):
        new = [b for a, b in zip(words, others, strict=True) if a != b]
        most = max(1, round(len(words) / 4))
        assert len(new) <= most
        assert set(new) <= known
        replaced, wanted = replaced + len(new), wanted + most
    assert replaced > 0.98 * wanted
    draws = Draws([["the", "film"], ["the"], ["the", "end"]], 0)
    words = KINDS["words"](["x"] * 4000, 1.0, draws)
    assert words.count("the") / 4000 == pytest.approx(3 / 5, abs=0.04)


def test_swapped_words_are_neighbours():
    for words, swapped in made("swap"):
        assert sorted(swapped) == sorted(words)
        moved = [swapped.index(word) - place for place, word in enumerate(words)]
        assert set(moved) == {-1, 0, 1} if len(words) > 2 else {-1, 1}
        assert sum(map(abs, moved)) == 2 * max(1, round(0.1 * len(words)))


@pytest.mark.parametrize("strength", [1e-9, 1.0])
@pytest.mark.parametrize("kind", KINDS)
def test_a_text_of_any_length_stays_one_at_any_strength(kind, strength):
    draws = Draws(SPLIT, 0)
    assert all(KINDS[kind](words, strength, draws) for words in SPLIT)
    assert [" ".join(words) for words in SPLIT] == TEXTS


def test_texts_are_distinct_new_in_equal_shares_and_the_same_for_a_seed():
    texts = made_texts(TEXTS, 300, 5, ON, LONGEST)
    assert len(set(texts)) == len(texts) == 300
    assert set(texts).isdisjoint(TEXTS)
    assert texts == made_texts(TEXTS, 300, 5, ON, LONGEST)
    assert len(set(texts) & set(made_texts(TEXTS, 300, 6, ON, LONGEST))) < 60
    for place, kind in enumerate(ON):  # 60 of each, the first kind's before the others'
        alone = [text.split() for text in texts[60 * place :][:60]]
        longer = [parts for parts in alone if len({word.split(".")[0] for word in parts}) > 1]
        assert bool(longer) == (kind in ("halves", "words"))
    assert len(made_texts(TEXTS, 7, 0, ON, LONGEST)) == 7
    assert made_texts(TEXTS, 0, 0, ON, LONGEST) == []


def test_what_the_texts_do_not_allow_is_not_made():
    words = ["good", "bad", "", "  ", "good "]
    pairs = {f"{a} {b}" for a in ("good", "bad") for b in ("good", "bad")}
    made = made_texts(words, 1000, 0, ON, LONGEST)
    assert set(made) == pairs  # halves; all else is there already
    assert made_texts([" ", ""], 10, 0, ON, LONGEST) == []
    shuffled = Random(0).sample(["a b c", "b c"], 2)
    assert "b c" not in made_texts(shuffled, 100, 0, {"crop": 0.5}, LONGEST)


def test_of_long_texts_the_pieces_that_are_not_read_come_first_and_all_are_short():
    long = [[f"l{text}.{word}" for word in range(70)] for text in range(30)]  # pieces of 17 and 18
    unread = {" ".join(text[a:b]) for text in long for a, b in ((17, 35), (35, 52), (52, 70))}
    texts = [" ".join(text) for text in long]
    assert set(made_texts(texts, 90, 0, ON, LONGEST)) == unread
    assert set(made_texts(texts, 40, 0, ON, LONGEST)) < unread
    there = min(unread)
    assert set(made_texts([*texts, there], 89, 0, ON, LONGEST)) == unread - {there}
    mixed = made_texts([*texts, *TEXTS], 1000, 0, ON, LONGEST)
    assert set(mixed[:90]) == unread
    assert len(set(mixed)) == 1000
    assert max(len(text.split()) for text in mixed) == LONGEST
    read = {tuple(text.split()[:LONGEST]) for text in [*texts, *TEXTS]}
    assert read.isdisjoint(tuple(text.split()) for text in mixed)  # none is what a model has read


def test_of_a_pair_each_text_is_changed_by_itself_and_stays_in_its_place():
    pairs = [(text, text.replace("w", "v")) for text in TEXTS if " " in text]
    changed = made_texts(pairs, 300, 5, ON, LONGEST)
    assert len({*changed} - {*pairs}) == 300
    assert changed == made_texts(pairs, 300, 5, ON, LONGEST)
    for kind in KINDS:
        found = made_texts(pairs, 50, 5, {kind: ON[kind]}, LONGEST)
        assert len(found) == (0 if kind == "halves" else 50)
        for pair in found if kind in ("crop", "drop", "swap") else ():
            first, second = ({word.partition(".")[0] for word in text.split()} for text in pair)
            assert second == {word.replace("w", "v") for word in first}
            assert len(first) == 1  # words of one pair, each text's own


def test_settings_that_can_not_be_are_refused():
    for settings, refused in (
        ({"dorp": 0}, "--augment: 'dorp' is not known; did you mean drop?"),
        ({"drop": 1.5}, "--augment drop=1.5: must be from 0 to 1"),
        ({"drop": float("nan")}, "--augment drop=nan: must be from 0 to 1"),
        ({"share": -1}, "--augment share=-1: must be from 0 to 100"),
        ({"crop": "x"}, "--augment crop: 'x' is not a number"),
        ({"share": 0}, "--augment: nothing is left to make"),
        (dict.fromkeys(KINDS, 0), "--augment: nothing is left to make"),
    ):
        with pytest.raises(UserError, match=f"^{refused}"):
            InputOptions(augmentation=settings)
