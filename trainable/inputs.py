"""From a preset and what the user puts in its place to inputs and complete configurations."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainable.config import TeacherSettings, TrialConfig
from trainable.data import Dataset, load_dataset, sample_evaluation, subset
from trainable.presets import Preset
from trainable.wheels import small_encoder, tweets

DEFAULT_INITIALISATION = "teacher_spread"


@dataclass(frozen=True)
class Inputs:
    """What the user chose to distil, before any work is done on it.

    `available` counts the train and evaluation sentences there were, before a preset's sizes.
    """

    dataset: Dataset
    available: tuple[int, int]
    teacher_source: str
    teacher_settings: TeacherSettings
    max_length: int  # tokens


def load_inputs(preset: Preset, *, teacher: str | None, dataset: str | None, cache: Path) -> Inputs:
    """The preset's sentences and teacher, or the given ones; UserError where they don't serve."""
    if dataset is not None:
        found = load_dataset(*_name_and_configuration(dataset), cache / "datasets")
    elif preset.dataset is not None:
        found = load_dataset(preset.dataset, preset.dataset_configuration, cache / "datasets")
    else:
        found = tweets()
    used = subset(found, preset.train_sentences, preset.evaluation_sentences)
    return Inputs(
        dataset=sample_evaluation(used, preset.search_sentences),
        available=(len(found.train), len(found.evaluation)),
        teacher_source=teacher_source(preset, teacher),
        teacher_settings=preset.teacher_settings,
        max_length=preset.max_length,
    )


def teacher_source(preset: Preset, teacher: str | None) -> str:
    """The given teacher or the preset's: a local folder written out, a hub id as it is."""
    source = teacher or preset.teacher or str(small_encoder())
    path = Path(source).expanduser()
    return str(path.resolve()) if path.is_dir() else source


def _name_and_configuration(dataset: str) -> tuple[str, str | None]:
    """`nyu-mll/glue:sst2` in its two parts; a local path is left whole."""
    if Path(dataset).expanduser().exists() or ":" not in dataset:
        return dataset, None
    name, _, configuration = dataset.rpartition(":")
    return name, configuration


def complete_config(
    preset: Preset, values: Mapping[str, Any], overrides: Mapping[str, Any], seed: int
) -> TrialConfig:
    """A trial's configuration: the preset's constants, then the space's values, then the user's."""
    known = {**preset.trial, "seed": seed, **values, **overrides}
    rates = preset.learning_rates
    initialisation = known.setdefault("initialisation", DEFAULT_INITIALISATION)
    if initialisation in rates:  # another is refused below, with the valid names
        known.setdefault("learning_rate", rates[initialisation])
    return TrialConfig.from_dict(known)
