"""Everything that all trials of a sweep share, made once and found again by digest.

Text -> tokens -> fine-tuned teacher -> teacher's outputs. Each stands in a folder of the cache that
appears whole or not at all. `prepare` does all of it in one call.
"""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedConfig, PreTrainedModel

from trainable.common.digest import digest_strings, digest_values
from trainable.common.errors import UserError, as_user_error, unknown_name
from trainable.common.files import atomic_folder, verified_values, write_manifest
from trainable.common.gpus import unusable_gpu
from trainable.common.hub import require_teacher
from trainable.common.quiet import quiet_libraries
from trainable.config.names import HIDDEN_POOLS, RELATIONS
from trainable.config.options import AUTO, InputOptions, resolve_preset
from trainable.config.training_inputs import TrainingInputs
from trainable.config.trial_config import TrialConfig
from trainable.data.batches import steps_per_epoch
from trainable.data.datasets import shared_examples
from trainable.data.inputs import LoadedInputs, load_inputs
from trainable.data.tokens import load_split, save_split, tokenise
from trainable.data.vocabulary import load_vocabulary, save_vocabulary, tokens_in_use
from trainable.engine.cuda_graph import choose_execution
from trainable.engine.devices import Runtime, best_device, faster_precision, release_memory
from trainable.models.loading import check_tokenizer, load_tokenizer
from trainable.models.relations import check_projections
from trainable.models.students import student_config
from trainable.teacher.outputs import LOGITS, prepare_outputs
from trainable.teacher.teacher import TeacherData, load_base, prepare_teacher, refuse_weak_teacher

SAMPLED_TEXTS = 1000
MOST_UNKNOWN = 0.2  # share of tokens


def prepare(
    preset: str = AUTO,
    *,
    hidden_pools: Collection[str] = ("cls",),
    relations: bool = False,
    log: Callable[[str], None] = print,
    **options: Any,
) -> TrainingInputs:
    """Loads data and teacher, fine-tunes the teacher and keeps its outputs, once for all trials.

    `options` are those of `InputOptions`: `teacher`, `dataset`, `max_train_samples`, `cache`, ...
    `hidden_pools` are the pools of hidden states that trials may align; with `relations` they may
    have a `relation_weight`. `log` is given a line at a time. Raises UserError for what can't be
    used.
    """
    quiet_libraries()
    pools = {hidden_pools} if isinstance(hidden_pools, str) else set(hidden_pools)
    for pool in pools - set(HIDDEN_POOLS):
        raise unknown_name("hidden_pools", pool, HIDDEN_POOLS)
    name, _ = resolve_preset(preset)
    chosen = InputOptions(preset=name, **options)
    preparation = Preparation.load(load_inputs(chosen))
    preparation.check([])
    if relations:
        check_projections(preparation.base.config)
        pools.add(RELATIONS)
    if warning := shared_examples(preparation.inputs.dataset):
        log(warning)
    runtime = preparation.runtime(chosen, faster_precision(best_device()), log)
    return prepare_inputs(preparation, pools, runtime, chosen)


def pools_of(configs: Iterable[TrialConfig]) -> set[str]:
    """The kinds of teacher states that these trials look at: hidden pools and RELATIONS."""
    return {config.teacher_states for config in configs if config.teacher_states}


@dataclass(frozen=True)
class Preparation:
    """Loaded inputs; what passes `check` can be trained on them."""

    inputs: LoadedInputs
    tokenizer: Any
    base: PreTrainedModel
    fitted: bool  # the base is already a classifier for these labels

    @classmethod
    def load(cls, inputs: LoadedInputs) -> "Preparation":
        """Loads tokenizer and base model; UserError where one can't be had or doesn't fit."""
        source = inputs.teacher_source
        require_teacher(source)
        with as_user_error(f"--teacher {source}: has no usable tokenizer; "):
            tokenizer = load_tokenizer(source)
        base, fitted = load_base(source, inputs.dataset.label_names, inputs.teacher_settings.seed)
        check_tokenizer(source, tokenizer, base)
        return cls(inputs, tokenizer, base, fitted)

    def check(self, configs: Iterable[TrialConfig]) -> None:
        """UserError for examples too long for the teacher, a student that can't be made from it,
        or more evaluations than steps."""
        self._check_length()
        self._check_unknown_tokens()
        check_trials(configs, self.base.config, len(self.inputs.dataset.train))

    def runtime(self, options: InputOptions, precision: str, log: Callable[[str], None]) -> Runtime:
        """This machine; UserError where the executor can't be had here."""
        device = best_device()
        if problem := unusable_gpu():
            log(f"Training on the CPU: {problem}.")
        execution = choose_execution(self.base.config, device, options.executor, log)
        return Runtime(Path(options.cache), device, precision, log, execution)

    def _check_unknown_tokens(self) -> None:
        """Of a sample of the texts: a tokenizer for another language knows few of them."""
        texts = self.inputs.dataset.train.texts[:SAMPLED_TEXTS]
        split = tokenise(self.tokenizer, texts, [0] * len(texts), self.inputs.max_length)
        unknown = float(np.mean(split.token_ids == self.tokenizer.unk_token_id))
        if unknown > MOST_UNKNOWN:
            raise UserError(
                f"--teacher {self.inputs.teacher_source}: {unknown:.0%} of the tokens in the data "
                "are unknown to its tokenizer; give a teacher for these texts"
            )

    def _check_length(self) -> None:
        """Runs the base model once on an example as long as any may be."""
        length, needed = self.inputs.max_length, self.tokenizer.num_special_tokens_to_add() + 1
        if length < needed:
            raise UserError(f"--max-length {length}: must be at least {needed}")
        ids = self.tokenizer.all_special_ids
        token = next((i for i in ids if i != self.tokenizer.pad_token_id), 0)
        try:
            with torch.no_grad():
                self.base.eval()(torch.full((1, length), token))
        except (IndexError, RuntimeError):
            most = getattr(self.base.config, "max_position_embeddings", "fewer")
            raise UserError(
                f"--max-length {length}: too long for this teacher, which has {most} positions"
            ) from None


def check_trials(
    configs: Iterable[TrialConfig], teacher: PreTrainedConfig, train_examples: int
) -> None:
    """UserError for a student that can't be made from a teacher with this configuration, or more
    evaluations than steps."""
    for config in configs:
        student_config(teacher, config)
        steps = config.epochs * steps_per_epoch(train_examples, config.batch_size)
        if config.evaluations > steps:
            raise UserError(
                f"evaluations: {config.evaluations} are more than the trial's {steps} steps; "
                "give fewer, or more training examples or epochs"
            )


def prepare_inputs(
    preparation: Preparation, pools: set[str], runtime: Runtime, options: InputOptions
) -> TrainingInputs:
    """Makes, or finds in the cache, all that trials with these pools (see `pools_of`) share."""
    inputs, cache, preset = preparation.inputs, runtime.cache, options.effective_preset
    data = prepare_tokens(preparation, cache)
    settings = None if preparation.fitted else inputs.teacher_settings
    teacher = prepare_teacher(preparation.base, settings, data, runtime)
    if not options.allow_weak_teacher:
        refuse_weak_teacher(teacher, data.splits["evaluation"].labels)
    outputs = prepare_outputs(teacher, data, (LOGITS, *sorted(pools)), runtime)
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
        examples={name: len(split) for name, split in inputs.dataset.splits.items()},
        constants={"precision": runtime.precision, **preset.trial},
        learning_rates=dict(preset.learning_rates),
    )


def add_outputs(inputs: TrainingInputs, kinds: Iterable[str], runtime: Runtime) -> TrainingInputs:
    """The inputs with these outputs, too (LOGITS, hidden pools, RELATIONS), of their teacher."""
    data = _load_data(Path(inputs.tokens), inputs.examples, inputs.pad_id, inputs.data_digest)
    outputs = prepare_outputs(inputs.teacher, data, kinds, runtime)
    release_memory(runtime.device)
    return replace(inputs, outputs={**inputs.outputs, **outputs})


def tokenizer_digest(tokenizer: Any) -> str:
    """Of a fast tokenizer's whole definition, of a slow one's class and vocabulary."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        return digest_strings([backend.to_str()])
    return digest_values({"class": type(tokenizer).__name__, **tokenizer.get_vocab()})


def prepare_tokens(preparation: Preparation, cache: Path) -> TeacherData:
    """The tokenised splits, from the cache where the same ones were made before."""
    inputs, tokenizer = preparation.inputs, preparation.tokenizer
    digest = digest_values(
        {
            "data": inputs.dataset.digest,
            "tokenizer": tokenizer_digest(tokenizer),
            "max_length": inputs.max_length,
        }
    )
    folder, splits = cache / "tokens" / digest[:16], inputs.dataset.splits
    if verified_values(folder) is None:
        with atomic_folder(folder) as temporary:
            for name, part in splits.items():
                split = tokenise(tokenizer, part.texts, part.labels, inputs.max_length)
                save_split(split, temporary, name)
            token_ids = [load_split(temporary, name).token_ids for name in splits]
            padding_row = preparation.base.get_input_embeddings().padding_idx or 0
            last_fixed = max(tokenizer.pad_token_id, padding_row)
            in_use = tokens_in_use(token_ids, tokenizer.all_special_ids, last_fixed)
            save_vocabulary(in_use, temporary)
            tokenizer.model_max_length = inputs.max_length  # as pipelines are to truncate
            tokenizer.save_pretrained(temporary / "tokenizer")
            write_manifest(temporary, {"label_names": inputs.dataset.label_names})
    return _load_data(folder, splits, tokenizer.pad_token_id, digest)


def _load_data(folder: Path, splits: Collection[str], pad_id: int, digest: str) -> TeacherData:
    found = {name: load_split(folder, name) for name in splits}
    return TeacherData(folder, found, load_vocabulary(folder), pad_id, digest)
