"""What one process keeps from trial to trial: examples, teacher, and students ready to train."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache, partial
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedConfig, PreTrainedModel

from trainable.common.gpus import out_of_gpu_memory
from trainable.config.layer_sets import mirrored_layers
from trainable.config.names import EAGER, RELATIONS
from trainable.config.training_inputs import TrainingInputs
from trainable.config.trial_config import TrialConfig
from trainable.data.examples import Examples
from trainable.data.tokens import TokenisedSplit, load_split, trained_on
from trainable.data.vocabulary import dense_split, load_vocabulary, trim_embedding
from trainable.engine.cuda_graph import Executor, make_executor
from trainable.engine.devices import free_share, release_memory
from trainable.engine.training_state import clear_optimiser
from trainable.engine.training_step import Evaluator, TrainingStep, make_optimiser
from trainable.engine.weight_averages import WeightAverages
from trainable.models.flash_attention import fuse_attention
from trainable.models.loading import load_pretrained
from trainable.models.static_forward import make_static
from trainable.models.students import build_student, check_pretrained, settings_by_layer
from trainable.teacher.outputs import TeacherOutputs, open_outputs
from trainable.teacher.teacher import load_teacher
from trainable.trial.distillation import Distillation

LEAST_FREE_SHARE = 0.25  # of a GPU's memory, that must be free for a new student


class TrainingSetup:
    """A student with all that trains it on the split `train` and scores it on the others.

    The student is on their device. Each trial puts its own weights in, and sets what only it
    decides (`Distillation.set_up`, `full_embedding`).
    """

    def __init__(
        self,
        config: TrialConfig,
        student: PreTrainedModel,
        teacher_config: PreTrainedConfig,
        outputs: TeacherOutputs | None,
        *,
        examples: dict[str, Examples],
        executor: Executor,
        flash_attention: bool = False,
    ) -> None:
        device = examples["train"].device
        make_static(student.train())
        self._plain = fuse_attention(student, device) if flash_attention else ""
        self.student, self.full_embedding = student, torch.empty(0)  # [V, E] in host memory
        labels = examples["train"].labels
        self.distillation = Distillation(config, teacher_config, outputs, device, labels)
        self.step = TrainingStep(
            student,
            make_optimiser([student, self.distillation.projections], config.weight_decay),
            self.distillation.losses,
            config.gradient_clip,
            examples=examples["train"],
            batch_size=config.batch_size,
            executor=executor,
            stage=outputs.stage if outputs else None,
            averages=WeightAverages(student.parameters()) if config.ema_decay else None,
        )
        if device.type == "cuda":
            self.step.warm_up()
        self.evaluators = {  # by split: `evaluation`, and `full` where there is one
            name: Evaluator(student, split, config.precision, executor)
            for name, split in examples.items()
            if name != "train"
        }

    @property
    def fallbacks(self) -> tuple[str, ...]:
        """What runs otherwise than was wanted, and why."""
        return tuple(filter(None, (self._plain, self.step.feed.executor.reduced)))

    def take_over(self, fresh: PreTrainedModel) -> None:
        """Puts a new student's weights in place of the last trial's, and forgets its moments."""
        state = fresh.state_dict()
        with torch.no_grad():
            for name, tensor in self.student.state_dict().items():
                tensor.copy_(state[name])
        clear_optimiser(self.step.optimiser)
        if self.step.averages is not None:
            self.step.averages.start_anew()
        self.step.means.clear()
        self.student.train()

    def averaged(self) -> AbstractContextManager[None]:
        """Within it the student's weights are their averages, if the trial has any."""
        averages = self.step.averages
        return nullcontext() if averages is None else averages.in_place_of_weights()


class SetupCache:
    """Sets up trials one after the other; a trial must be over before the next is set up.

    A trial whose step has the shape of an earlier one's takes over that one's student, optimiser
    and captured steps, which are kept while the GPU has room for others. On a CPU the last one is
    kept. No number depends on which trials came before.
    """

    def __init__(self, executors: Callable[[str, torch.device], Executor] = make_executor) -> None:
        self._make_executor = executors
        self._kept: dict[tuple[Any, ...], TrainingSetup] = {}

    def set_up(
        self, config: TrialConfig, inputs: TrainingInputs, device: torch.device
    ) -> TrainingSetup:
        """A student as the trial starts with, random weights drawn from its seed; where the GPU has
        no room for it, instead of all that are kept."""
        try:
            return self._set_up(config, inputs, device)
        except RuntimeError as error:
            if not self._kept or not out_of_gpu_memory(error):
                raise
        self._kept.clear()  # out of the handler, whose error holds on to what was made
        release_memory(device)
        return self._set_up(config, inputs, device)

    def _set_up(
        self, config: TrialConfig, inputs: TrainingInputs, device: torch.device
    ) -> TrainingSetup:
        teacher = _load_teacher(Path(inputs.teacher.folder))
        own = inputs.pretrained_of(config)
        pretrained = _load_pretrained(Path(own.folder)) if own else None
        with device:  # drawing 100 million weights on a CPU would take a second
            fresh = build_student(teacher, config, pretrained)
        if own:
            check_pretrained(config, teacher.config, fresh.config, own.teachers_tokens)
        full_embedding = trim_embedding(fresh, load_vocabulary(Path(inputs.tokens)))
        fresh.to(device)
        key = _key(config, inputs, fresh.config, device)
        setup = self._kept.pop(key, None)
        if setup is None:
            while free_share(device) < LEAST_FREE_SHARE and self._evict(device, key):
                pass
            executor = self._make_executor(inputs.execution.executor, device)
            executor.make_room = partial(self._evict, device, key)
            setup = _build(config, inputs, fresh, teacher.config, executor)
        else:
            setup.take_over(fresh)
        self._kept[key] = setup
        setup.full_embedding = full_embedding.cpu()
        torch.manual_seed(config.seed)  # whatever a set-up drew that this one may not have needed
        setup.distillation.set_up(config)
        return setup

    def _evict(self, device: torch.device, key: tuple[Any, ...]) -> bool:
        """Evicts the least recently used student but that of this key; false if none is kept."""
        others = [other for other in self._kept if other != key]
        if others:
            del self._kept[others[0]]
            release_memory(device)
        return bool(others)


def _build(
    config: TrialConfig,
    inputs: TrainingInputs,
    student: PreTrainedModel,
    teacher: PreTrainedConfig,
    executor: Executor,
) -> TrainingSetup:
    device, splits = student.device, (inputs.tokens, tuple(inputs.examples))
    reads, kind = outputs_read(config, inputs)
    if not config.teacher_states and teacher.num_hidden_layers % config.student_layers:
        kind = None  # of a --student, none of whose layers mirrors one
    outputs = None
    if reads:
        outputs = open_outputs(
            inputs.outputs,
            kind,
            mirrored_layers(config.student_layers, teacher.num_hidden_layers),
            split=load_dense_splits(*splits)["train"],
            batch_size=config.batch_size,
            device=device,
        )
    return TrainingSetup(
        config,
        student,
        teacher,
        outputs,
        examples=_load_examples(*splits, inputs.pad_id, device),
        executor=executor,
        flash_attention=inputs.execution.flash_attention,
    )


# A process's trials have one teacher, at most one `--student`, and the data in the tokens of each.
_load_teacher = lru_cache(maxsize=1)(load_teacher)
_load_pretrained = lru_cache(maxsize=1)(load_pretrained)


@lru_cache(maxsize=2)
def _load_examples(
    tokens: str, names: tuple[str, ...], pad_id: int, device: torch.device
) -> dict[str, Examples]:
    splits = load_dense_splits(tokens, names).items()
    return {name: Examples(split, pad_id, device) for name, split in splits}


@lru_cache(maxsize=2)
def load_dense_splits(tokens: str, names: tuple[str, ...]) -> dict[str, TokenisedSplit]:
    """These splits of a folder with dense token ids, in memory once: `transfer` behind `train`."""
    in_use = load_vocabulary(Path(tokens))
    splits = {name: dense_split(load_split(Path(tokens), name), in_use) for name in names}
    splits["train"] = trained_on(splits)
    splits.pop("transfer", None)
    return splits


def outputs_read(config: TrialConfig, inputs: TrainingInputs) -> tuple[bool, str | None]:
    """Whether a trial's step reads the teacher's logits, and which kind of states beside them.

    A captured step reads what the other trials' read, at weight 0, so that they share one capture:
    0 times a finite number changes no sum.
    """
    if inputs.execution.executor == EAGER or config.teacher_states:
        return config.uses_teacher_outputs, config.teacher_states
    small = [pool for pool in ("cls", "mean") if pool in inputs.outputs]
    return True, small[0] if small else None


def _key(
    config: TrialConfig, inputs: TrainingInputs, shape: PreTrainedConfig, device: torch.device
) -> tuple[Any, ...]:
    """All that decides the shapes of a step and the numbers that are part of it."""
    return (
        str(device),
        *chain(*settings_by_layer(vars(shape)).values()),
        inputs.pretrained_of(config),
        *(inputs.tokens, inputs.pad_id, inputs.teacher.folder, inputs.execution),
        *sorted(inputs.outputs.items()),
        *outputs_read(config, inputs),
        *(config.shape, config.batch_size, config.precision),
        *(config.weight_decay, config.gradient_clip, config.ema_decay > 0.0),
        config.relation_heads if config.teacher_states == RELATIONS else None,
    )
