"""Texts made from the training texts, for the teacher to label.

TinyBERT (Jiao et al. 2020) replaces words, EDA (Wei and Zou 2019) drops and swaps them, MATE-KD
(Rashid et al. 2021) masks and fills them; the kinds here need no model. Words are split at spaces.
"""

from collections.abc import Mapping
from itertools import cycle, islice
from math import ceil
from random import Random

from trainable.data.tokens import Text, parts_of

Words = list[str]
TRIES = 4  # for each text that is wanted: what is made of a short one is often there already
LEAST_SHARE = 0.1  # of a text's words that `crop` and `drop` leave out


class Draws:
    """What the kinds draw from: a seeded generator, other texts, and words by their frequency."""

    def __init__(self, texts: list[Words], seed: int) -> None:
        self.random = Random(seed)
        self.texts = texts
        self.words = [word for text in texts for word in text]

    def kept(self, text: Words, strength: float) -> int:
        """How many words stay if a share from LEAST_SHARE to `strength` goes, at least one each."""
        share = self.random.uniform(min(LEAST_SHARE, strength), strength)
        return max(1, len(text) - max(1, int(share * len(text))))


def crop(text: Words, strength: float, draws: Draws) -> Words:
    """A run of the words."""
    kept = draws.kept(text, strength)
    start = draws.random.randrange(len(text) - kept + 1)
    return text[start : start + kept]


def drop(text: Words, strength: float, draws: Draws) -> Words:
    """Some words left out; the others keep their order."""
    rows = draws.random.sample(range(len(text)), draws.kept(text, strength))
    return [text[row] for row in sorted(rows)]


def halves(text: Words, strength: float, draws: Draws) -> Words:
    """The text without its last words, and the last words of another text: this share of each."""
    other = draws.random.choice(draws.texts)
    first, second = len(text) - int(strength * len(text)), ceil(strength * len(other))
    return text[:first] + other[len(other) - second :]


def words(text: Words, strength: float, draws: Draws) -> Words:
    """This share of the words, at least one, replaced by words of all texts."""
    replaced = list(text)
    for row in draws.random.sample(range(len(text)), max(1, round(strength * len(text)))):
        replaced[row] = draws.random.choice(draws.words)
    return replaced


def swap(text: Words, strength: float, draws: Draws) -> Words:
    """This share of the words, at least one pair, exchanged with a neighbour, each at most once."""
    swapped, count = list(text), max(1, round(strength * len(text) / 2))
    pairs = range(draws.random.randrange(2) if len(text) > 2 else 0, len(text) - 1, 2)
    for row in draws.random.sample(pairs, min(count, len(pairs))):
        swapped[row : row + 2] = swapped[row + 1], swapped[row]
    return swapped


KINDS = {kind.__name__: kind for kind in (crop, drop, halves, words, swap)}


def made_texts(texts: list[Text], count: int, seed: int, kinds: Mapping[str, float]) -> list[Text]:
    """`count` distinct texts, none of which is among `texts`; the same ones for the same seed.

    `kinds` are names of KINDS and strengths; each makes an equal part. Where one can't (of a single
    word nothing can be left out), those after it make more, or there are fewer. A pair's texts are
    changed each by itself and stay in their order; `halves` would make pairs of unrelated texts,
    and is left out.
    """
    split = [parts for text in texts if all(parts := [part.split() for part in parts_of(text)])]
    known = {tuple(map(" ".join, parts)) for parts in split}
    draws = Draws([words for parts in split for words in parts], seed)
    pairs = any(len(parts) == 2 for parts in split)
    kinds = {kind: strength for kind, strength in kinds.items() if not (pairs and kind == "halves")}
    made: dict[tuple[str, ...], None] = {}
    for index, (kind, strength) in enumerate(kinds.items()):
        end, shuffled = count * (index + 1) // len(kinds), draws.random.sample(split, len(split))
        for parts in islice(cycle(shuffled), TRIES * (end - len(made))):
            new = tuple(" ".join(KINDS[kind](words, strength, draws)) for words in parts)
            if new not in known:
                made[new] = None
            if len(made) == end:
                break
    return [(new[0], new[1]) if pairs else new[0] for new in made]
