"""Everything that all trials of a sweep share, made once and looked up by digest.

Text -> tokens -> fine-tuned teacher -> teacher's outputs, each in a folder of the cache that
appears completely or not at all. `prepare` does all of it in one call.
"""

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedConfig, PreTrainedModel

from trainable.common.digest import digest_values
from trainable.common.errors import UserError, as_user_error, unknown_name
from trainable.common.files import atomic_folder, verified_values, write_manifest
from trainable.common.gpus import unusable_gpu
from trainable.common.hub import require_model
from trainable.common.quiet import quiet_libraries
from trainable.config.fields import plain
from trainable.config.initialisations import PRETRAINED
from trainable.config.names import HIDDEN_POOLS, RELATIONS
from trainable.config.options import AUTO, InputOptions, fitted, resolve_preset
from trainable.config.training_inputs import Kinds, PretrainedStudent, TrainingInputs, check_data
from trainable.config.trial_config import TrialConfig
from trainable.data.batches import evaluation_steps, trial_steps
from trainable.data.datasets import shared_examples
from trainable.data.sources import Sources, load_sources
from trainable.data.tokens import tokenise, trained_on
from trainable.engine.cuda_graph import choose_execution
from trainable.engine.devices import Runtime, best_device, faster_precision, release_memory
from trainable.engine.metrics import pack_predictions
from trainable.engine.training_state import safetensors_as_os_errors
from trainable.models.loading import check_tokenizer, load_tokenizer, save_pretrained
from trainable.models.model_outputs import has_token_types
from trainable.models.relations import check_projections
from trainable.models.students import check_pretrained, student_config
from trainable.teacher.outputs import LOGITS, check_room, prepare_outputs
from trainable.teacher.teacher import (
    digest_model,
    labels_by_place,
    load_base,
    most_tokens,
    prepare_teacher,
    refuse_weak_teacher,
)
from trainable.trial.step_check import checked
from trainable.trial.token_cache import load_data, prepare_tokens, same_tokens

SAMPLED_TEXTS = 1000
MOST_UNKNOWN = 0.2  # share of tokens
MOST_CUT = 0.02  # share of texts
SPLIT_LABELS = {"train": "training", "evaluation": "validation", "test": "test"}


def prepare(
    preset: str = AUTO,
    *,
    hidden_pools: Collection[str] = ("cls",),
    relations: bool = False,
    dataset: str | Path | Mapping[str, Any] | None = None,
    log: Callable[[str], None] = print,
    **options: Any,
) -> TrainingInputs:
    """Loads data and teacher, fine-tunes the teacher and keeps its outputs, once for all trials.

    `options` are those of `InputOptions`: `teacher`, `dataset`, `max_train_samples`, `cache`, ...
    `dataset` may also be a `datasets.DatasetDict`, or pandas frames by split (`train`, ...).
    `hidden_pools` are the pools of hidden states that trials may align; with `relations` they may
    have a `relation_weight`. `log` is given a line at a time. UserError for what can't be used.
    """
    quiet_libraries()
    pools = {hidden_pools} if isinstance(hidden_pools, str) else set(hidden_pools)
    for pool in pools - set(HIDDEN_POOLS):
        raise unknown_name("hidden_pools", pool, HIDDEN_POOLS)
    name, _ = resolve_preset(preset)
    path, tables = (str(dataset), None) if isinstance(dataset, str | Path) else (None, dataset)
    given: dict[str, Any] = {
        key: str(value) if isinstance(value, Path) else plain(value)
        for key, value in options.items()
    }
    chosen = fitted(InputOptions(preset=name, dataset=path, **given))
    preparation = Preparation.load(load_sources(chosen, tables))
    chosen = replace(chosen, examples=len(preparation.inputs.dataset.train))
    preparation.check([], log)
    if relations:
        check_projections(preparation.base.config)
        pools.add(RELATIONS)
    runtime = preparation.runtime(chosen, faster_precision(best_device()), log)
    return prepare_inputs(preparation, dict.fromkeys(sorted(pools), ()), runtime, chosen)


@dataclass(frozen=True)
class Preparation:
    """Loaded inputs, and in `student` the same of `--student`; what passes `check` can be
    trained."""

    inputs: Sources
    tokenizer: Any
    base: PreTrainedModel
    fitted: bool  # the base is already a classifier for these labels
    missing: list[str]  # weights that the base did not have
    given: str  # `--teacher NAME`
    student: "Preparation | None" = None

    @classmethod
    def load(cls, inputs: Sources) -> "Preparation":
        """Loads tokenizers and models; UserError if one can't be had or doesn't fit."""
        teacher = cls._load("--teacher", inputs.teacher_source, inputs)
        if inputs.student_source is None:
            return teacher
        return replace(teacher, student=cls._load("--student", inputs.student_source, inputs))

    def with_inputs(self, inputs: Sources) -> "Preparation":
        """The same models on other texts."""
        student = self.student and replace(self.student, inputs=inputs)
        return replace(self, inputs=inputs, student=student)

    @classmethod
    def _load(cls, flag: str, source: str, inputs: Sources) -> "Preparation":
        require_model(flag, source)
        with as_user_error(f"{flag} {source}: has no usable tokenizer; "):
            tokenizer = load_tokenizer(source)
        names, seed = inputs.dataset.label_names, inputs.teacher_settings.seed
        base, fitted, missing = load_base(flag, source, names, seed)
        check_tokenizer(flag, source, tokenizer, base)
        if not has_token_types(base.config):  # which a tokenizer of BERT's class gives all the same
            given = tokenizer.model_input_names
            tokenizer.model_input_names = [name for name in given if name != "token_type_ids"]
        return cls(inputs, tokenizer, base, fitted, missing, f"{flag} {source}")

    def shape_of(self, config: TrialConfig) -> PreTrainedConfig:
        """The configuration of a trial's student; UserError if it can't be made."""
        if config.initialisation == PRETRAINED and self.student is not None:
            return self.student.base.config
        return student_config(self.base.config, config)

    def check(self, configs: Iterable[TrialConfig], log: Callable[[str], None]) -> None:
        """UserError for examples too long for the teacher, a student that can't be made from it, or
        more evaluations than steps; warns of texts that are cut or that are in two splits."""
        cut = [model._check_texts() for model in (self, self.student) if model is not None]
        own = self.student
        student = (own.base.config, same_tokens(self.tokenizer, own.tokenizer)) if own else None
        sizes = {name: len(split) for name, split in self.inputs.dataset.splits.items()}
        check_trials(configs, self.base.config, sizes, student)
        if described := (dataset := self.inputs.dataset).description:
            splits = {label: getattr(dataset, name) for name, label in SPLIT_LABELS.items()}
            counts = [f"{len(split):,} {label}" for label, split in splits.items() if split]
            log(f"{described}; examples: {', '.join(counts)}.")
        if dataset.transfer is not None:
            log(
                f"Texts without labels (of --transfer, or made): {sizes['transfer']:,}; left out: "
                f"{self.inputs.left_out:,} that are empty or near-duplicates of validation or test "
                "examples."
            )
        source, names = self.inputs.teacher_source, dataset.label_names
        labels = labels_by_place(source, names) if self.fitted else ""
        for warning in filter(None, (labels, *cut, *shared_examples(dataset))):
            log(warning)

    def runtime(self, options: InputOptions, precision: str, log: Callable[[str], None]) -> Runtime:
        """This machine; UserError if it can't have the executor."""
        device = best_device()
        if problem := unusable_gpu():
            log(f"Training on the CPU: {problem}.")
        execution = choose_execution(self.base.config, device, options.executor, log)
        runtime = Runtime(Path(options.cache), device, precision, log, execution)
        for model in filter(None, (self, self.student)):
            runtime = checked(runtime, model.base.config)
        return runtime

    def _check_texts(self) -> str:
        """A warning if many texts of a sample are cut, else ""; UserError for unknown tokens."""
        self._check_length()
        cut, length, most = [], self.inputs.max_length, most_tokens(self.base)
        for name, part in self.inputs.dataset.splits.items():
            texts, where = part.texts[:SAMPLED_TEXTS], SPLIT_LABELS.get(name, name)
            split = tokenise(self.tokenizer, texts, [0] * len(texts), length)
            if (unknown := np.mean(split.token_ids == self.tokenizer.unk_token_id)) > MOST_UNKNOWN:
                raise UserError(
                    f"{self.given}: {unknown:.0%} of the tokens in the {where} split are unknown "
                    "to its tokenizer; give a model for these texts"
                )
            if (share := np.mean(split.lengths >= length)) > MOST_CUT:
                cut.append(f"{share:.0%} of the {where}")
        end = f"texts reach --max-length {length} and are cut"
        end += f"; {self.given} takes up to {most}" if most > length else ""
        return f"Warning: {', '.join(cut)} {end}." if cut else ""

    def _check_length(self) -> None:
        """Runs the base model once on an example as long as any may be."""
        length, pairs = self.inputs.max_length, self.inputs.dataset.pairs
        needed = self.tokenizer.num_special_tokens_to_add(pair=pairs) + 1 + pairs
        if length < needed:
            raise UserError(f"--max-length {length}: must be at least {needed}")
        ids = self.tokenizer.all_special_ids
        token = next((i for i in ids if i != self.tokenizer.pad_token_id), 0)
        try:
            with torch.no_grad():
                self.base.eval()(torch.full((1, length), token))
        except (IndexError, RuntimeError):
            most = f"{self.given}, which has {most_tokens(self.base) or 'fewer'} positions"
            raise UserError(f"--max-length {length}: too long for {most}") from None


def check_trials(
    configs: Iterable[TrialConfig],
    teacher: PreTrainedConfig,
    examples: Mapping[str, int],
    student: tuple[PreTrainedConfig, bool] | None = None,
) -> None:
    """UserError for a student that can't be made, or more evaluations than steps.

    `student` is the configuration of `--student`, and whether its tokens are the teacher's.
    """
    for config in configs:
        if config.initialisation == PRETRAINED and student is not None:
            check_pretrained(config, teacher, *student)
        else:
            student_config(teacher, config)
        check_data(config, examples, regression=teacher.num_labels == 1)
        evaluation_steps(trial_steps(examples["train"], config), config.evaluations)


def prepare_inputs(
    preparation: Preparation, states: Kinds, runtime: Runtime, options: InputOptions
) -> TrainingInputs:
    """Makes, or finds in the cache, all that trials share that read these states (see
    `states_read`)."""
    inputs, cache, preset = preparation.inputs, runtime.cache, options.effective_preset
    tokenizer, base = preparation.tokenizer, preparation.base
    data = labelled = prepare_tokens(tokenizer, base, inputs, cache)
    if inputs.dataset.transfer is not None:  # which the teacher is not to know
        bare = replace(inputs.dataset, transfer=None)
        labelled = prepare_tokens(tokenizer, base, replace(inputs, dataset=bare), cache)
    settings = None if preparation.fitted else inputs.teacher_settings
    kinds = {LOGITS: (), **states}
    room = partial(check_room, kinds, base.config, trained_on(data.splits), cache)
    teacher = prepare_teacher(base, settings, labelled, runtime, inputs.metric, before=room)
    labels = {n: data.splits[n].labels for n in ("evaluation", "full") if n in data.splits}
    if not options.allow_weak_teacher:
        refuse_weak_teacher(teacher, labels["evaluation"], inputs.metric)
    classes = len(inputs.dataset.label_names)
    start = time.monotonic()
    outputs = prepare_outputs(teacher, data, kinds, runtime)
    labelled_seconds = time.monotonic() - start
    release_memory(runtime.device)  # the trials are other processes on the same GPU
    return TrainingInputs(
        tokens=str(data.folder),
        pad_id=data.pad_id,
        label_names=inputs.dataset.label_names,
        teacher=teacher,
        outputs=outputs,
        data_digest=data.digest,
        device=runtime.device.type,
        execution=runtime.execution,
        examples={name: len(split) for name, split in data.splits.items()},
        labels={n: pack_predictions(each, classes, "<f4") for n, each in labels.items()},
        metric=inputs.metric,
        constants={"precision": runtime.precision, **options.constants},
        learning_rates=dict(preset.learning_rates),
        pretrained=prepare_student(preparation, cache),
        pairs=inputs.dataset.pairs,
        test_digest=inputs.dataset.test_digest,
        outputs_seconds=round(labelled_seconds, 1),
    )


def prepare_student(preparation: Preparation, cache: Path) -> PretrainedStudent | None:
    """`--student` in the cache, and the examples in its tokens; None if none is given."""
    own = preparation.student
    if own is None:
        return None
    data = prepare_tokens(own.tokenizer, own.base, own.inputs, cache)
    key = digest_values({"model": digest_model(own.base), "missing": own.missing})
    folder, width = cache / "students" / key[:16], own.base.config.hidden_size
    if verified_values(folder) is None:
        with atomic_folder(folder) as temporary, safetensors_as_os_errors(folder):
            save_pretrained(own.base, own.missing, temporary)
            write_manifest(temporary, {})
    return PretrainedStudent(
        folder=str(folder),
        digest=key,
        tokens=str(data.folder),
        pad_id=data.pad_id,
        layers=own.base.config.num_hidden_layers,
        width=None if width == preparation.base.config.hidden_size else width,
        teachers_tokens=same_tokens(preparation.tokenizer, own.tokenizer),
    )


def add_outputs(inputs: TrainingInputs, kinds: Kinds, runtime: Runtime) -> TrainingInputs:
    """The inputs with these kinds of their teacher's outputs, too."""
    data = load_data(Path(inputs.tokens), inputs.examples, inputs.pad_id, inputs.data_digest)
    outputs = prepare_outputs(inputs.teacher, data, kinds, runtime)
    release_memory(runtime.device)
    return replace(inputs, outputs={**inputs.outputs, **outputs})
