"""Data and teacher that the user chose, loaded and checked."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainable.common.errors import UserError
from trainable.config.metrics import ACCURACY, CORRELATIONS, check_metric, default_metric
from trainable.config.options import AUGMENT, REST, InputOptions, absolute, augmentation_settings
from trainable.config.trial_config import TeacherSettings
from trainable.data.augmentation import made_texts
from trainable.data.datasets import (
    SPLIT_SEED,
    Dataset,
    check_sizes,
    sample_evaluation,
    subset,
    with_transfer,
)
from trainable.data.loading import load_dataset, load_texts, with_test
from trainable.data.tokens import Text
from trainable.data.wheels import small_encoder, tweets

WORDS_OF_A_TOKEN = 0.75  # about, of English texts and subword tokens


@dataclass(frozen=True)
class Sources:
    """Data and teacher, before any work is done on them."""

    dataset: Dataset
    available: tuple[int, int]
    teacher_source: str
    teacher_settings: TeacherSettings
    max_length: int  # tokens
    student_source: str | None = None  # of a compact encoder that students may start from
    metric: str = ACCURACY  # that students and teacher are scored by
    left_out: int = 0  # of --transfer: empty texts and near-duplicates of scored examples


def load_sources(options: InputOptions, tables: Mapping[str, Any] | None = None) -> Sources:
    """The chosen data and teacher, with `tables` by split in the place of a named data set;
    UserError where they can't be used."""
    sources = options.transfer_sources
    if options.augmentation and AUGMENT not in sources:
        raise UserError(f"--augment: has no effect without --transfer {AUGMENT}; leave it out")
    preset, cache = options.effective_preset, Path(options.cache) / "datasets"
    columns, numbers = (options.text_column, options.label_column), options.metric in CORRELATIONS
    if tables is not None:
        available = load_dataset(tables, None, cache, columns, regression=numbers)
    elif preset.dataset is not None:
        data = _name_and_configuration(preset.dataset)
        available = load_dataset(*data, cache, columns, regression=numbers)
    else:
        available = tweets()
        texts = set(sources) - {REST, AUGMENT}
        idle = {"--text-column": columns[0] and not texts, "--label-column": columns[1]}
        for flag in (flag for flag, given in idle.items() if given and options.test is None):
            raise UserError(f"{flag}: has no effect without --dataset; leave it out")
    if options.test is not None:
        test = _name_and_configuration(options.test)
        available = with_test(available, *test, cache, columns)
    named, labels = _name_and_configuration(preset.dataset or ""), available.label_names
    check_metric(metric := options.metric or default_metric(*named, labels), labels)
    used = subset(available, preset.max_train_samples, preset.max_eval_samples)
    dataset = sample_evaluation(used, preset.eval_subset)
    asked = {
        "--max-train-samples": preset.max_train_samples,
        "--max-eval-samples": options.max_eval_samples,
        "--eval-subset": options.eval_subset,
    }
    check_sizes(available, dataset, asked)
    if len(dataset.evaluation) < 2:  # scores of one say nothing of how far they may be off
        raise UserError(
            "the validation split has 1 example; give 2 or more, or 15 training examples without "
            "it, of which a tenth is held out"
        )
    left_out = 0
    if sources:
        parts = [_transfer_texts(name, options, available, dataset, cache) for name in sources]
        dataset, left_out = with_transfer(dataset, [text for part in parts for text in part])
        if not dataset.splits["transfer"].texts:
            raise UserError(f"--transfer {options.transfer}: has no text to train on")
    return Sources(
        dataset=dataset,
        available=(len(available.train), len(available.evaluation)),
        teacher_source=teacher_source(options),
        teacher_settings=preset.teacher_settings,
        max_length=preset.max_length,
        student_source=options.student and absolute(options.student),
        metric=metric,
        left_out=left_out,
    )


def _transfer_texts(
    source: str, options: InputOptions, available: Dataset, used: Dataset, cache: Path
) -> list[Text]:
    if source == AUGMENT:
        share, kinds = augmentation_settings(options.augmentation)
        count = round(share * len(used.train))
        longest = max(1, round(WORDS_OF_A_TOKEN * options.effective_preset.max_length))
        return made_texts(used.train.texts, count, SPLIT_SEED, kinds, longest)
    if source != REST:
        name = _name_and_configuration(source)
        return load_texts(*name, cache, options.text_column, pair=available.pairs)
    known = set(used.train.texts)
    return [text for text in available.train.texts if text not in known]


def teacher_source(options: InputOptions) -> str:
    """The given teacher or the preset's: a local folder written out, a hub id as it is."""
    return absolute(options.effective_preset.teacher or str(small_encoder()))


def _name_and_configuration(dataset: str) -> tuple[str, str | None]:
    """`nyu-mll/glue:sst2` in its two parts; a local path is left whole."""
    if Path(dataset).expanduser().exists() or ":" not in dataset:
        return dataset, None
    name, _, configuration = dataset.rpartition(":")
    return name, configuration
