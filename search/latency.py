"""What a student costs to run, measured before a sweep that weighs accuracy against it."""

from collections.abc import Iterable
from pathlib import Path

import torch
from trainable.task import Task
from transformers import AutoConfig

from search.export_check import sentences_per_second
from trainable.config import TrialConfig
from trainable.students import new_model, student_config
from trainable.tokens import load_split

MILLISECONDS = 1000.0


def latencies(task: Task, depths: Iterable[int], width: int | None = None) -> dict[str, float]:
    """Milliseconds that a student takes for one sentence, by depth, on the device of the trials.

    Plain transformers in fp32, one evaluation sentence at a time, students in turns: what who
    exports one gets. Weights are random, which the time does not depend on. `width` is the
    students', the teacher's where it is None.
    """
    of_depth = {
        depth: TrialConfig(
            initialisation="random", alpha=1.0, student_layers=depth, student_width=width
        )
        for depth in depths
    }
    teacher = AutoConfig.from_pretrained(task.teacher.folder)
    random_state = torch.get_rng_state()
    models = {
        str(depth): new_model(student_config(teacher, of_depth[depth]))
        for depth in sorted(of_depth)
    }
    torch.set_rng_state(random_state)
    split = load_split(Path(task.tokens), "evaluation")
    speed = sentences_per_second(models, split, task.pad_id, torch.device(task.device), at_once=1)
    return {depth: MILLISECONDS / found for depth, found in speed.items()}


def in_words(found: dict[str, float]) -> str:
    """`One sentence takes 2.1 ms with 2 layers, 3.0 ms with 3 layers.`"""
    parts = [f"{milliseconds:.3g} ms with {depth} layers" for depth, milliseconds in found.items()]
    return f"One sentence takes {', '.join(parts)}."
