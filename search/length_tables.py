"""How long the sentences of each preset are, in tokens."""

from dataclasses import dataclass

import numpy as np

SST2_COUNTS = (
    *(0, 0, 0, 1978, 5322, 6065, 5345, 4749, 4155, 3713, 3267, 2947, 2650, 2413, 2138, 1950),
    *(1777, 1661, 1515, 1373, 1285, 1132, 1106, 1046, 909, 820, 806, 733, 692, 628, 538, 491),
    *(442, 448, 400, 337, 304, 286, 242, 195, 203, 192, 155, 148, 130, 89, 82, 85),
    *(73, 55, 42, 50, 40, 36, 19, 21, 22, 15, 8, 6, 3, 2, 5, 5),
    5,
)
TWEET_COUNTS = (
    *(0, 0, 0, 2, 2, 4, 12, 10, 18, 20, 26, 33, 42, 38, 51, 58),
    *(66, 58, 67, 51, 69, 63, 69, 69, 79, 90, 74, 100, 90, 94, 100, 85),
    *(77, 71, 69, 64, 41, 50, 25, 29, 27, 13, 13, 4, 4, 3, 2, 2),
    *(2, 0, 1, 3, 2, 0, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0),
    4,
)
IMDB_LONGEST, IMDB_MEDIAN, IMDB_SIGMA = 512, 236.0, 0.66  # tokens, tokens, of the logarithm


@dataclass(frozen=True)
class LengthTable:
    """counts[n] sentences of a corpus have n tokens, the special ones included.

    The last count also holds the longer sentences, which are cut. `tokens_in_use` is how many
    different tokens the corpus has; `source` says where all this is from.
    """

    counts: np.ndarray
    tokens_in_use: int
    source: str

    def cut(self, max_length: int) -> "LengthTable":
        """The table for sentences cut to at most `max_length` tokens."""
        if max_length >= len(self.counts) - 1:
            return self
        counts = self.counts[: max_length + 1].copy()
        counts[max_length] = self.counts[max_length:].sum()
        return LengthTable(counts, self.tokens_in_use, self.source)


def log_normal_counts(median: float, sigma: float, longest: int) -> np.ndarray:
    """Shares of lengths 0..longest, float; what is longer counts as `longest`."""
    lengths = np.arange(1, longest + 1)
    density = np.exp(-0.5 * (np.log(lengths / median) / sigma) ** 2) / lengths
    beyond = np.arange(longest, 50 * longest)
    density[-1] = (np.exp(-0.5 * (np.log(beyond / median) / sigma) ** 2) / beyond).sum()
    return np.concatenate([[0.0], density / density.sum()])


LENGTH_TABLES = {
    "sst2": LengthTable(
        np.array(SST2_COUNTS),
        16_000,
        "the 67,349 training sentences of GLUE SST-2 under BERT's uncased WordPiece, measured; "
        "DeBERTa's own tokenizer may differ a little; 16,000 tokens in use",
    ),
    "imdb": LengthTable(
        log_normal_counts(IMDB_MEDIAN, IMDB_SIGMA, IMDB_LONGEST),
        50_000,
        "an approximation of IMDB, not measured: log-normal with median 236 and sigma 0.66 (a mean "
        "of 235 words, standard deviation 173, at an assumed 1.25 tokens a word), cut at 512; "
        "50,000 tokens in use, assumed",
    ),
    "mini": LengthTable(
        np.array(TWEET_COUNTS),
        5_982,
        "the 2,048 training tweets of preset mini under all-MiniLM-L6-v2's tokenizer, measured; "
        "5,982 tokens in use",
    ),
}


def draw_lengths(counts: np.ndarray, sentences: int, generator: np.random.Generator) -> np.ndarray:
    """Lengths [sentences] in the proportions of `counts`, in random order.

    Each length occurs as often as its share says, rounded down, and those with the largest
    remainders once more: the same lengths whatever the generator, which decides the order only.
    """
    shares = counts / counts.sum() * sentences
    whole = np.floor(shares).astype(np.int64)
    left = sentences - int(whole.sum())
    whole[np.argsort(whole - shares, kind="stable")[:left]] += 1
    return generator.permutation(np.repeat(np.arange(len(counts)), whole))
