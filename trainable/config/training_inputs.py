"""What all trials of a sweep share: data, teacher and its outputs, and a preset's constants."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from trainable.common.errors import UserError
from trainable.config.initialisations import PRETRAINED
from trainable.config.layer_sets import mirrored_layers
from trainable.config.metrics import ACCURACY, METRIC_LABELS
from trainable.config.names import EAGER, EQUAL, GRAPH, PLAIN, RELATIONS
from trainable.config.options import complete_config
from trainable.config.trial_config import TrialConfig


@dataclass(frozen=True)
class Teacher:
    """A teacher in the cache: its folder (a Hugging Face one) and what was measured of it."""

    folder: str
    digest: str  # of weights and configuration
    fine_tuned_here: bool
    score: float  # of the inputs' metric
    predictions: str  # packed, of the evaluation split
    seconds: float
    full_score: float | None = None  # where the evaluation split is a subset of the full one
    full_predictions: str | None = None


@dataclass(frozen=True)
class PretrainedStudent:
    """A compact encoder in the cache to start from, and the examples in its own tokens."""

    folder: str  # weights and configuration; a head only where it is one for these labels
    digest: str  # of both
    tokens: str  # folder of the tokenised splits
    pad_id: int
    layers: int
    width: int | None  # None where it is the teacher's
    teachers_tokens: bool  # whether its tokens are the teacher's, so that their states compare

    @property
    def settings(self) -> dict[str, Any]:
        """Of trials that start from it."""
        return {"student_layers": self.layers, "student_width": self.width}


@dataclass(frozen=True)
class Execution:
    """Changes what a trial costs, and its numbers by rounding alone."""

    executor: str = EAGER  # of trainable.engine.cuda_graph
    flash_attention: bool = False

    @property
    def lesser(self) -> tuple[str, "Execution"]:
        """What is tried where this can't be had, and its name."""
        return (PLAIN, Execution(GRAPH)) if self.flash_attention else (EAGER, Execution())


def check_data(config: TrialConfig, examples: Mapping[str, int], *, regression: bool) -> None:
    """UserError for a trial that trains on texts without labels where there are none, or weighs
    the classes of a regression."""
    if regression and config.class_weight != EQUAL:
        raise UserError(
            f"class_weight: {config.class_weight} needs classes, not a regression; give {EQUAL}"
        )
    if config.transfer and not examples.get("transfer"):
        raise UserError(
            f"transfer_share: {config.transfer_share:g} needs texts without labels; give them with "
            "--transfer"
        )


def check_same_tokens(config: TrialConfig, *, teachers_tokens: bool) -> None:
    """UserError for a trial that compares states of single tokens with a teacher of others."""
    if config.teacher_states in ("tokens", RELATIONS) and not teachers_tokens:
        instead = "relation_weight=0" if config.relation_weight else "hidden_pool=cls"
        raise UserError(
            "--student: its tokenizer is not the teacher's, so states of single tokens can't be "
            f"compared; give --set {instead}"
        )


# Of a teacher's outputs, the layers (from 1) that are kept, () for all; by LOGITS, hidden pools and
# RELATIONS.
Kinds = Mapping[str, tuple[int, ...]]


def states_read(configs: Iterable[TrialConfig], depth: int) -> dict[str, tuple[int, ...]]:
    """The kinds of states that these trials read of a teacher of this depth, and of `tokens`, which
    take by far the most room, the layers that their students mirror."""
    depths = {(c.teacher_states, c.student_layers) for c in configs if c.teacher_states}
    mirrored = {n for kind, d in depths if kind == "tokens" for n in mirrored_layers(d, depth)}
    kept = {"tokens": tuple(sorted(mirrored))}
    return {kind: kept.get(kind, ()) for kind in sorted({str(kind) for kind, _ in depths})}


@dataclass(frozen=True)
class TrainingInputs:
    """Where the shared inputs of all trials lie, and the teacher's scores; plain values, kept as
    JSON."""

    tokens: str  # folder of the tokenised splits
    pad_id: int  # that batches are padded with; the same among the tokens in use
    label_names: list[str]  # [C]; none of a regression
    teacher: Teacher
    outputs: dict[str, str]  # LOGITS, hidden pools and RELATIONS -> folder
    data_digest: str
    device: str  # "cpu" or "cuda": where the trials train
    # Of each split: `train`, `evaluation`, `full` where `evaluation` is a subset of it, and
    # `transfer` where there are texts without labels, whose outputs stand behind those of `train`.
    examples: dict[str, int]
    # Packed, numbers in full precision: those of `evaluation`, and of `full` if there are any.
    labels: dict[str, str] = field(default_factory=dict)
    metric: str = ACCURACY  # of trainable.config.metrics
    execution: Execution = field(default_factory=Execution)
    constants: dict[str, Any] = field(default_factory=dict)  # settings that a space may leave out
    learning_rates: dict[str, float] = field(default_factory=dict)  # by initialisation
    pretrained: PretrainedStudent | None = None
    pairs: bool = False  # whether an example is two texts
    test_digest: str = ""  # of the test split, which no trial reads
    # That making the outputs took; 0 where they were in the cache.
    outputs_seconds: float = field(default=0.0, compare=False)

    @property
    def regression(self) -> bool:
        """Whether the labels are numbers, and models have one output."""
        return not self.label_names

    @property
    def metric_label(self) -> str:
        """The metric's name in a sentence."""
        return METRIC_LABELS[self.metric]

    def config(self, values: Mapping[str, Any]) -> TrialConfig:
        """The trial that a space's values stand for.

        UserError for unknown or unfitting settings, and for a hidden pool or relations that were
        not prepared.
        """
        pretrained = self.pretrained.settings if self.pretrained else {}
        config = complete_config(self.constants, self.learning_rates, values, pretrained)
        check_data(config, self.examples, regression=self.regression)
        if own := self.pretrained_of(config):
            check_same_tokens(config, teachers_tokens=own.teachers_tokens)
        if config.teacher_states in (None, *self.outputs):
            return config
        if config.teacher_states == RELATIONS:
            raise UserError(
                "relation_weight: relations were not prepared; give prepare(relations=True)"
            )
        raise UserError(
            f"hidden_pool: {config.hidden_pool} was not prepared; "
            f"give prepare(hidden_pools=[{config.hidden_pool!r}])"
        )

    def describe_teacher(self) -> str:
        """`0.8688`, or `0.9580 on the validation subset of 900, 0.9608 on all 25,000`."""
        score, full = f"{self.teacher.score:.4f}", self.teacher.full_score
        if full is None:
            return score
        subset = f"{score} on the validation subset of {self.examples['evaluation']:,}"
        return f"{subset}, {full:.4f} on all {self.examples['full']:,}"

    def pretrained_of(self, config: TrialConfig) -> PretrainedStudent | None:
        """The compact encoder that a trial starts from; None for other initialisations."""
        return self.pretrained if config.initialisation == PRETRAINED else None

    def of(self, config: TrialConfig) -> "TrainingInputs":
        """As a trial sees them: in the tokens of its own tokenizer."""
        own = self.pretrained_of(config)
        return self if own is None else replace(self, tokens=own.tokens, pad_id=own.pad_id)

    def moved(self, paths: Mapping[str, str]) -> "TrainingInputs":
        """The same with each of its folders at its new path."""
        student = self.pretrained
        if student is not None:
            student = replace(student, folder=paths[student.folder], tokens=paths[student.tokens])
        return replace(
            self,
            pretrained=student,
            tokens=paths[self.tokens],
            teacher=replace(self.teacher, folder=paths[self.teacher.folder]),
            outputs={kind: paths[path] for kind, path in self.outputs.items()},
        )

    @property
    def sources(self) -> list[Path]:
        """The folders that the teacher's outputs are made from, and that students start from."""
        folders = [self.tokens, self.teacher.folder]
        if self.pretrained is not None:
            folders += [self.pretrained.folder, self.pretrained.tokens]
        return [Path(folder) for folder in dict.fromkeys(folders)]

    def folders(self) -> list[Path]:
        """All that a trial reads."""
        return [*self.sources, *map(Path, self.outputs.values())]
