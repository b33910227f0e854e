"""What the user chose to distil: a preset, and what is given in its place."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryFile
from types import MappingProxyType
from typing import Any, TypeVar

from trainable.common.errors import UserError, first_line, unknown_name
from trainable.common.files import nearest_existing
from trainable.common.gpus import unusable_gpu
from trainable.common.hub import size_of
from trainable.config.fields import check_fields, converted, described, merged
from trainable.config.initialisations import PRETRAINED
from trainable.config.layer_sets import half_depth
from trainable.config.metrics import METRIC_LABELS
from trainable.config.names import EXECUTORS
from trainable.config.presets import PRESETS, Preset
from trainable.config.trial_config import TrialConfig

AUTO = "auto"
RATE_FACTOR = "learning_rate_factor"  # of the initialisation's learning rate, in a space
REST, AUGMENT, NONE = "rest", "augment", "none"  # as --transfer, beside hub ids and paths
# Of AUGMENT: made texts for each training example, and the share of words that each kind changes.
MADE = {"share": 4.0, "crop": 0.5, "drop": 0.35, "halves": 0.5, "words": 0.25, "swap": 0.2}
# What the option of the same name replaces of a preset.
OF_PRESET = (
    *("teacher", "dataset", "max_length"),
    *("max_train_samples", "max_eval_samples", "eval_subset"),
)


def users_cache() -> str:
    """`distillation-search` in the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return str(Path(base).absolute() / "distillation-search")


def writable_folder(text: str, flag: str = "") -> str:
    """The absolute path of a folder that exists or can be made, since trials run elsewhere; else
    UserError, which begins with the flag."""
    if not text:
        raise UserError(f"{flag}'': give a folder")
    try:
        folder = Path(text).expanduser().resolve()
        there = nearest_existing(folder)
        with TemporaryFile(dir=there):  # what permissions say is not all: /proc, a full disk
            pass
    except (OSError, RuntimeError) as error:  # RuntimeError: of no such user's home
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{flag}{text!r}: cannot be written to ({reason})") from None
    return str(folder)


def absolute(source: str) -> str:
    """The absolute path of what exists locally, since trials run elsewhere; a hub id as it is."""
    if not source:  # of a shell's variable that is not set; as a path it is the working folder
        raise UserError("'': give a path or hub id")
    try:
        path = Path(source).expanduser()
        return str(path.resolve()) if path.exists() else source
    except (OSError, ValueError, RuntimeError) as error:  # a name too long, a null byte
        raise UserError(f"{source[:80]!r}: no path or hub id ({first_line(error)})") from None


def transfer_sources(text: str) -> tuple[str, ...]:
    """The sources that a --transfer names, paths written out: a path that exists, even with commas,
    or the parts between commas; () for NONE. UserError for an empty part."""
    exists = os.path.exists(os.path.expanduser(text))
    parts = [text] if exists else [part.strip() for part in text.split(",")]
    if parts == [NONE]:
        return ()
    if {"", NONE} & set(parts):
        raise UserError(f"{text!r}: give sources with a comma between them, or {NONE} alone")
    sources = tuple(part if part in (REST, AUGMENT) else absolute(part) for part in parts)
    if len(sources) > 1 and (comma := [source for source in sources if "," in source]):
        raise UserError(f"{comma[0]!r}: its path has a comma; give it alone, or elsewhere")
    return sources


def augmentation_settings(pairs: Iterable[tuple[str, float]]) -> tuple[float, dict[str, float]]:
    """MADE with these values in its place: the share, and the strengths of the kinds that are on.
    UserError for an unknown key, a value out of its range, or nothing to make."""
    strengths = {**MADE, **dict(pairs)}
    for key, value in strengths.items():
        if key not in MADE:
            raise unknown_name("--augment", key, MADE)
        most = 100 if key == "share" else 1
        if not 0 <= value <= most:
            raise UserError(f"--augment {key}={value:g}: must be from 0 to {most}")
    share = strengths.pop("share")
    if not share or not any(strengths.values()):
        raise UserError("--augment: nothing is left to make; give share and a kind more than 0")
    return share, {kind: strength for kind, strength in strengths.items() if strength}


@dataclass(frozen=True, kw_only=True)
class InputOptions:
    """Teacher and data of a run. `None` leaves a value to the preset."""

    preset: str = described(
        "teacher, data and sizes: sst2 and imdb for a GPU, mini for any CPU; auto is sst2 where a "
        "CUDA GPU is visible, else mini",
        AUTO,
        choices=(AUTO, *PRESETS),
        metavar="P",
    )
    teacher: str | None = described(
        "hub id or local folder instead of the preset's teacher; students have half its layers",
        None,
        parse=absolute,
        metavar="T",
    )
    student: str | None = described(
        "hub id or local folder of a compact pretrained encoder, as a further initialisation of "
        "students (pretrained); tokenizer, depth and width are its own",
        None,
        parse=absolute,
        metavar="M",
    )
    dataset: str | None = described(
        "hub id, id:configuration, or a local folder or file (TSV, CSV, JSON lines, Parquet) with "
        "labelled texts or pairs of texts; instead of the preset's",
        None,
        parse=absolute,
        metavar="D",
    )
    text_column: str | None = described(
        "column of the texts, or A,B for pairs (default: sentence1 and sentence2, sentence, ...)",
        None,
        metavar="A[,B]",
    )
    label_column: str | None = described(
        "column of the labels: names or whole numbers of classes, or other numbers for a "
        "regression (default: label, labels or score)",
        None,
        metavar="L",
    )
    test: str | None = described(
        "labelled examples that nothing is selected by (default: the split test of the data)",
        None,
        parse=absolute,
        metavar="D",
    )
    metric: str | None = described(
        "what teacher and students are scored by; f1 is of the second label in the order that is "
        "printed, pearson and spearman make numbers a regression, also whole ones (default: f1 for "
        "data named mrpc or qqp, mcc for cola, else accuracy; spearman for a regression)",
        None,
        choices=tuple(METRIC_LABELS),
        metavar="M",
    )
    transfer: str | None = described(
        "texts for the teacher to label, a comma list: hub ids, local folders or files, rest (what "
        "--max-train-samples or the preset leaves aside), augment (made from the training texts); "
        "or none. transfer_share is 1 if not given, with augment the share of --augment",
        None,
        parse=lambda text: ",".join(transfer_sources(text)) or NONE,
        metavar="T",
    )
    augmentation: tuple[tuple[str, float], ...] = described(
        "for --transfer augment, made texts for each training example (share), or the share of a "
        "text's words that a kind changes (0 for none of the kind); a short --time-budget has a "
        "smaller share; defaults: " + ", ".join(f"{key}={value:g}" for key, value in MADE.items()),
        (),
        parse=lambda text: text.partition("=")[::2],
        flag="augment",
    )
    allow_weak_teacher: bool = described(
        "go on with a teacher that is no better than the most frequent label", False
    )
    max_train_samples: int | None = described(
        "use at most this many training examples (default: the preset's)", None, low=1
    )
    max_eval_samples: int | None = described(
        "use at most this many validation examples (default: the preset's)", None, low=1
    )
    eval_subset: int | None = described(
        "validation examples that each evaluation uses, always the same ones; where there are "
        "more, a trial is scored on the full validation split once, at its end (default: the "
        "preset's)",
        None,
        low=1,
    )
    max_length: int | None = described(
        "tokens that an example is truncated to (default: the preset's)", None, low=1
    )
    executor: str = described(
        "graph captures a training step as a CUDA graph and replays it; eager does not; auto is "
        "graph on a CUDA GPU",
        AUTO,
        choices=(AUTO, *EXECUTORS),
        metavar="E",
    )
    cache: str = described(
        "folder where teachers and their outputs are kept for all runs (default: "
        "distillation-search in the user's cache folder)",
        "",
        parse=writable_folder,
        metavar="DIR",
    )
    # As `fitted` writes it down: the depth of students, half a given teacher's, and its width.
    depth: int | None = None
    width: int | None = None
    examples: int | None = None  # to train on, once they are known

    def __post_init__(self) -> None:
        pairs = dict(self.augmentation).items()
        numbers = tuple((key, converted(float, str(v), f"--augment {key}: ")) for key, v in pairs)
        object.__setattr__(self, "augmentation", numbers)
        check_fields(self)
        augmentation_settings(numbers)
        cache = Path(self.cache or users_cache()).expanduser()
        object.__setattr__(self, "cache", str(cache.absolute()))  # trials run in other folders

    @property
    def transfer_sources(self) -> tuple[str, ...]:
        """The sources of texts without labels, () if there are none."""
        return () if self.transfer is None else transfer_sources(self.transfer)

    @property
    def constants(self) -> dict[str, Any]:
        """The settings that a space may leave to the preset and to the data."""
        sources = self.transfer_sources
        share = augmentation_settings(self.augmentation)[0] if AUGMENT in sources else 1.0
        depth = {} if self.depth is None else {"student_layers": self.depth}
        of_texts = {"transfer_share": share} if sources else {}
        return {**self.effective_preset.trial, **depth, **of_texts}

    @property
    def effective_preset(self) -> Preset:
        """The preset with what the user gave in its place."""
        given = {name: getattr(self, name) for name in OF_PRESET}
        preset = PRESETS[self.preset].for_width(self.width).for_examples(self.examples)
        return replace(preset, **{k: v for k, v in given.items() if v is not None})


Options = TypeVar("Options", bound=InputOptions)


def resolve_preset(name: str) -> tuple[str, str]:
    """The preset that a name stands for on this machine, and why; UserError if `auto` meets an
    unusable GPU."""
    if name != AUTO:
        return name, "chosen with --preset"
    import torch

    if torch.cuda.is_available():
        return "sst2", "a CUDA GPU is visible"
    if problem := unusable_gpu():
        raise UserError(f"--preset auto: {problem}; --preset mini trains on the CPU")
    return "mini", "no CUDA GPU is visible"


def fitted(options: Options) -> Options:
    """The options with students of half the depth of a given teacher, and its width, if these can
    be read; else they have the preset's. UserError for a teacher that can't be had."""
    if options.teacher is None:
        return options
    layers, width = size_of("--teacher", options.teacher)
    return replace(options, depth=None if layers is None else half_depth(layers), width=width)


def complete_config(
    constants: Mapping[str, Any],
    learning_rates: Mapping[str, float],
    values: Mapping[str, Any],
    pretrained: Mapping[str, Any] = MappingProxyType({}),
) -> TrialConfig:
    """A trial's configuration: what a space gives, over a preset's constants.

    If neither has a learning rate, it is the initialisation's, times `learning_rate_factor` among
    the values, which is no setting of a trial. `pretrained` are depth and width of `--student`, for
    trials that start from it. UserError for a factor of a rate that is given, too.
    """
    known = {**constants, **merged(values)}
    initialisation = known.setdefault("initialisation", TrialConfig.initialisation)
    rate = learning_rates.get(initialisation, TrialConfig.learning_rate)  # if unknown: see below
    if (factor := known.pop(RATE_FACTOR, None)) is not None:
        if given := known.get("learning_rate"):
            raise UserError(f"{RATE_FACTOR}: {factor} given beside learning_rate {given}; give one")
        rate *= converted(float, str(factor), f"{RATE_FACTOR}: ")
    known.setdefault("learning_rate", rate)
    if initialisation == PRETRAINED and not pretrained:
        raise UserError(f"initialisation: {PRETRAINED} needs a model; give it with --student")
    if initialisation == PRETRAINED:
        known |= {**pretrained, "feedforward_share": 1.0}
    return TrialConfig.from_dict(known)
