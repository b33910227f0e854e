"""One trial of the distillation search: data, teacher, student, losses, training loop.

`prepare` makes what all trials share, and `student` a Ray Tune trainable of it. Nothing here knows
of Ray except `trainable.tune_function`, which is loaded when `student` is first asked for. The way
from text to loss:

    tables          a file or hub id -> tables
    data            tables -> Dataset: texts, labels 0..C-1, checked
    tokens          texts -> TokenisedSplit: one run of token ids, offsets, labels
    teacher         the encoder, fine-tuned once        } kept by digest and
    teacher_outputs logits [N, C], hidden states        } shared; `prepare` calls all of these
    student         the teacher's configuration with fewer layers, weights copied or random
    workbench       what one process keeps from trial to trial: the student, its optimiser, steps
    trial           the loop: batches -> engine.Feed -> executor -> engine.TrainingStep
    sentences       rows -> Batch [B, T], made on the device
    distillation    student's and teacher's outputs on a batch -> losses -> one scalar
    checkpoint      a trial on disk: the best student for `from_pretrained`, the state to go on from
"""

from importlib import import_module
from typing import Any

_EXPORTS = {"prepare": "trainable.preparation", "student": "trainable.tune_function"}


def __getattr__(name: str) -> Any:
    """Loads torch, or Ray, only for who asks for it."""
    if name not in _EXPORTS:
        raise AttributeError(f"module 'trainable' has no attribute {name!r}")
    globals()[name] = value = getattr(import_module(_EXPORTS[name]), name)
    return value
