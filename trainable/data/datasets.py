"""Labelled examples by split: subsets, shuffles, digests, and what must not be in two splits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from trainable.common.digest import digest_strings, digest_values
from trainable.common.errors import UserError
from trainable.data.tokens import Text, parts_of

HELD_OUT_SHARE = 0.1  # of the examples: for a teacher, and where there is no evaluation split
NO_LABEL = -100  # what torch's cross-entropy leaves out
QUANTILES = 10  # of a regression's labels, each in its share in every part
SPLIT_SEED = 0  # subsets and held-out parts are the same in every run


@dataclass(frozen=True)
class LabelledTexts:
    """N examples, texts or pairs, and their labels: 0..C-1, or the numbers of a regression."""

    texts: list[Text]
    labels: list[int] | list[float]

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Dataset:
    """What students train on and what they are scored on; label_names [C], empty for a regression.

    `full` is the full evaluation split if `evaluation` is a sample of it; `transfer` are texts to
    train on without labels, whose labels are NO_LABEL; `test` are examples that nothing is trained
    on or selected by. `columns` are the texts' (`A,B` for pairs) and the labels' in the training
    table, if there is one; `description` says where all came from.
    """

    train: LabelledTexts
    evaluation: LabelledTexts
    label_names: list[str]
    full: LabelledTexts | None = None
    transfer: LabelledTexts | None = None
    test: LabelledTexts | None = None
    columns: tuple[str, ...] = field(default=(), compare=False)
    description: str = field(default="", compare=False)

    @property
    def pairs(self) -> bool:
        """Whether an example is two texts."""
        return bool(self.train.texts) and not isinstance(self.train.texts[0], str)

    @property
    def validation(self) -> LabelledTexts:
        """All examples of the validation split, those too that only a trial's end is scored on."""
        return self.full or self.evaluation

    @property
    def splits(self) -> dict[str, LabelledTexts]:
        """Those that are not None, by name; without `test`, which no model may read."""
        names = ("train", "evaluation", "full", "transfer")
        splits = {name: getattr(self, name) for name in names}
        return {name: split for name, split in splits.items() if split is not None}

    @property
    def digest(self) -> str:
        """Of every example (but for `test`), label and label name, in order."""
        parts = {
            name: [
                digest_strings([p for text in split.texts for p in parts_of(text)]),
                split.labels,
            ]
            for name, split in self.splits.items()
        }
        kind = {"pairs": True} if self.pairs else {}
        return digest_values({**parts, **kind, "label_names": self.label_names})

    @property
    def test_digest(self) -> str:
        """Of the test split; empty if there is none."""
        return Dataset(self.test, self.test, self.label_names).digest if self.test else ""


def with_transfer(dataset: Dataset, texts: list[Text]) -> tuple[Dataset, int]:
    """The dataset with distinct texts to train on without labels, and how many were left out.

    Left out are empty ones, and those that have the letters and digits of a validation or test
    example, of a pair those of both its texts.
    """
    scored = (dataset.full, dataset.evaluation, dataset.test)
    known = {_letters(text) for split in scored if split is not None for text in split.texts}
    kept = [t for t in texts if all(map(str.strip, parts_of(t))) and _letters(t) not in known]
    distinct = list(dict.fromkeys(kept))
    none = NO_LABEL if dataset.label_names else float(NO_LABEL)
    transfer = LabelledTexts(distinct, [none] * len(distinct))
    return replace(dataset, transfer=transfer), len(texts) - len(kept)


def _letters(text: Text) -> tuple[str, ...]:
    """A text's letters and digits, or all of one that has none, such as of emoji."""
    return tuple("".join(filter(str.isalnum, p.casefold())) or p for p in parts_of(text))


def hold_out(split: LabelledTexts) -> tuple[LabelledTexts, LabelledTexts]:
    """The split in two, for training and for evaluation, stratified. A text with the letters and
    digits of one for training, and a class that only the second would have, is trained on, unless
    that leaves none to evaluate on."""
    rest, held_out = hold_out_rows(split.labels)
    trained, classes = {split.labels[row] for row in rest}, isinstance(split.labels[0], int)
    lacking = [row for row in held_out if classes and split.labels[row] not in trained]
    known = {_letters(split.texts[row]) for row in (*rest, *lacking)}
    unseen = np.array([_letters(split.texts[row]) not in known for row in held_out], dtype=bool)
    if unseen.any():
        rest, held_out = np.concatenate([rest, held_out[~unseen]]), held_out[unseen]
    return pick(split, rest), pick(split, held_out)


def hold_out_rows(labels: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Which examples are left and which are held out: a stratified tenth, the same each time."""
    order = stratified_order(labels)
    cut = round(len(order) * HELD_OUT_SHARE)
    return order[cut:], order[:cut]


def subset(dataset: Dataset, train: int | None, evaluation: int | None) -> Dataset:
    """At most so many training and validation examples, stratified."""
    return replace(
        dataset,
        train=_stratified(dataset.train, train),
        evaluation=_stratified(dataset.evaluation, evaluation),
    )


def sample_evaluation(dataset: Dataset, count: int | None) -> Dataset:
    """The dataset with the first `count` of `stratified_order` to evaluate on, and all of them as
    `full`; unchanged for None, or a count that leaves nothing out."""
    if count is None or count >= len(dataset.evaluation):
        return dataset
    sample = _stratified(dataset.evaluation, count)
    return replace(dataset, evaluation=sample, full=dataset.evaluation)


def check_sizes(dataset: Dataset, used: Dataset, asked: Mapping[str, int | None]) -> None:
    """UserError if a number of examples, by its flag, is too large or leaves out a label. Of a
    split smaller than a preset's size all is used."""
    parts = {
        "--max-train-samples": (dataset.train, used.train),
        "--max-eval-samples": (dataset.evaluation, used.validation),
        "--eval-subset": (used.validation, used.evaluation),
    }
    for flag, (split, part) in parts.items():
        count = asked[flag]
        if count is None:
            continue
        if flag == "--eval-subset" and count > len(split):
            raise UserError(
                f"{flag} {count}: the validation split has {len(split)} examples; give at most "
                f"{len(split)}"
            )
        if dataset.label_names and set(part.labels) != set(split.labels):
            labels = np.asarray(split.labels)[stratified_order(split.labels)]
            least = 1 + max(int(np.argmax(labels == label)) for label in set(split.labels))
            raise UserError(
                f"{flag} {count}: too few to have each label among them; give at least {least}"
            )


def shared_examples(dataset: Dataset) -> list[str]:
    """A warning for validation texts that are also trained on, but for what are no letters or
    digits, and one for such test texts."""
    known, warnings = set(map(_letters, dataset.train.texts)), []
    splits = {"validation": dataset.validation, "test": dataset.test}
    for name, split in splits.items():
        if split and (shared := sum(_letters(text) in known for text in split.texts)):
            warnings.append(
                f"Warning: {shared:,} of the {len(split):,} {name} examples are also training "
                "examples; scores are too high by what is remembered."
            )
    return warnings


def _stratified(split: LabelledTexts, count: int | None) -> LabelledTexts:
    if count is None or count >= len(split):
        return split
    return pick(split, stratified_order(split.labels)[:count])


def stratified_order(labels: Sequence[float]) -> np.ndarray:
    """A shuffle [N] of which every prefix has each label in nearly its overall share; of floats,
    each of QUANTILES equal parts of their range by rank."""
    generator = np.random.default_rng(SPLIT_SEED)
    array = np.asarray(labels)
    if array.dtype.kind == "f":
        array = array.argsort(kind="stable").argsort() * QUANTILES // len(array)
    position = np.empty(len(array))  # where in [0, 1) each example stands among its label's own
    for label in np.unique(array):
        rows = generator.permutation(np.flatnonzero(array == label))
        position[rows] = (np.arange(len(rows)) + generator.random()) / len(rows)
    return np.argsort(position, kind="stable")


def pick(split: LabelledTexts, rows: np.ndarray) -> LabelledTexts:
    """The examples at these positions, in this order."""
    return LabelledTexts([split.texts[i] for i in rows], [split.labels[i] for i in rows])
