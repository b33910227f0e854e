"""Texts made from the training texts, for the teacher to label.

TinyBERT (Jiao et al. 2020) replaces words, EDA (Wei and Zou 2019) drops and swaps them, MATE-KD
(Rashid et al. 2021) masks and fills them; the kinds here need no model. Words are split at spaces.
Texts longer than a model reads give first of all what it has not read of them.
"""

from collections.abc import Mapping
from itertools import cycle, islice, pairwise
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


def pieces(text: Words, longest: int) -> list[Words]:
    """The text in even parts, as few as have at most `longest` words each."""
    count = ceil(len(text) / longest)
    ends = [len(text) * part // count for part in range(count + 1)]
    return [text[start:end] for start, end in pairwise(ends)]


def joined(parts: list[Words]) -> tuple[str, ...]:
    """The words of an example's texts as texts."""
    return tuple(" ".join(words) for words in parts)


def made_texts(
    texts: list[Text], count: int, seed: int, kinds: Mapping[str, float], longest: int
) -> list[Text]:
    """`count` distinct texts, none of which is among `texts`; the same ones for the same seed.

    A text of more than `longest` words is taken in pieces; those after its first, which a model has
    not read, come before all others, as they are. `kinds` are names of KINDS and strengths; each
    makes an equal part of the rest. Where one can't (of a single word nothing can be left out),
    those after it make more, or there are fewer. A pair's texts are taken whole, are changed each
    by itself and stay in their order; `halves` would make pairs of unrelated texts, and is left
    out.
    """
    split = [parts for text in texts if all(parts := [part.split() for part in parts_of(text)])]
    known = set(map(joined, split))
    unread: list[tuple[str, ...]] = []
    pairs = any(len(parts) == 2 for parts in split)
    if pairs:
        kinds = {kind: strength for kind, strength in kinds.items() if kind != "halves"}
    else:
        cut = [pieces(text, longest) for (text,) in split]
        split = [[piece] for text in cut for piece in text]
        later = [joined([piece]) for text in cut for piece in text[1:]]
        unread = [text for text in later if text not in known]
    draws = Draws([words for parts in split for words in parts], seed)
    made = dict.fromkeys(draws.random.sample(unread, min(count, len(unread))))
    first = len(made)
    for index, (kind, strength) in enumerate(kinds.items()):
        end = first + (count - first) * (index + 1) // len(kinds)
        shuffled = draws.random.sample(split, len(split))
        for parts in islice(cycle(shuffled), TRIES * (end - len(made))):
            new = joined([KINDS[kind](words, strength, draws) for words in parts])
            if new not in known:
                made[new] = None
            if len(made) == end:
                break
    return [(new[0], new[1]) if pairs else new[0] for new in made]
