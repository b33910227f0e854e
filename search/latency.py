"""What a student costs to run, measured before a sweep that weighs accuracy against it."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import torch
from transformers import AutoConfig

from search.export_check import examples_per_second
from trainable.config import TrialConfig
from trainable.students import new_model, student_config
from trainable.tokens import load_split
from trainable.training_inputs import TrainingInputs

MILLISECONDS = 1000.0


def latencies(
    inputs: TrainingInputs, depths: Iterable[int], width: int | None = None
) -> dict[str, float]:
    """Milliseconds that a student takes for one example, by depth, on the device of the trials.

    Plain transformers in fp32, one validation example at a time, students in turns: what the user
    of an exported one gets. Weights are random, which the time does not depend on. `width` is the
    students', the teacher's where it is None.
    """
    teacher = AutoConfig.from_pretrained(inputs.teacher.folder)
    base = TrialConfig(initialisation="random", alpha=1.0, student_width=width)
    random_state = torch.get_rng_state()
    models = {
        str(n): new_model(student_config(teacher, replace(base, student_layers=n)))
        for n in sorted(depths)
    }
    torch.set_rng_state(random_state)
    split = load_split(Path(inputs.tokens), "evaluation")
    device = torch.device(inputs.device)
    speed = examples_per_second(models, split, inputs.pad_id, device, batch_size=1)
    return {depth: MILLISECONDS / found for depth, found in speed.items()}


def describe(found: Mapping[str, float]) -> str:
    """`One example takes 2.1 ms with 2 layers, 3.0 ms with 3 layers.`"""
    parts = [f"{milliseconds:.3g} ms with {depth} layers" for depth, milliseconds in found.items()]
    return f"One example takes {', '.join(parts)}."
