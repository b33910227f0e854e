"""Which arithmetic is faster here, measured before a sweep and then the same for all its trials."""

import time
from pathlib import Path

import numpy as np
import torch
from transformers import PreTrainedConfig

from trainable.config import TrialConfig
from trainable.digest import digest_strings
from trainable.engine import Training, TrainingStep, label_losses, make_optimiser
from trainable.environment import device_name
from trainable.files import read_json, whole_file, write_json
from trainable.names import PRECISIONS
from trainable.sentences import Sentences
from trainable.student import new_model, student_config
from trainable.tokens import TokenisedSplit

PROBE_SENTENCES, PROBE_TOKENS, PROBE_STEPS = 16, 32, 3
PROBE_VOCABULARY = 8000  # tokens
WORTHWHILE = 1.1  # bf16 must be this many times faster to be worth its rounding


def faster_precision(
    teacher_config: PreTrainedConfig, config: TrialConfig, device: torch.device, cache: Path
) -> str:
    """`bf16` where a student's training step is faster by a tenth with it, else `fp32`.

    On a CPU this is measured, in a second or two on one thread, as trials run, and kept in the
    cache, so that the same sweep has the same arithmetic again; a GPU that multiplies bf16
    matrices itself needs no measurement. Leaves torch's threads and global generator as they were.
    """
    if device.type == "cuda":
        supported = torch.cuda.is_bf16_supported(including_emulation=False)
        return "bf16" if supported else "fp32"
    student = student_config(teacher_config, config)
    student.vocab_size = min(student.vocab_size, PROBE_VOCABULARY)  # trials train a part of it
    kept = cache / "precision" / f"{_key(student)}.json"
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        seconds = _measure(student)
        with whole_file(kept) as path:
            write_json(path, seconds)
    seconds = read_json(kept)
    return "bf16" if seconds["bf16"] * WORTHWHILE < seconds["fp32"] else "fp32"


def _key(student: PreTrainedConfig) -> str:
    sizes = [student.model_type, student.num_hidden_layers, student.hidden_size]
    return digest_strings([device_name(), torch.__version__, *map(str, sizes)])[:16]


def _measure(student: PreTrainedConfig) -> dict[str, float]:
    """Seconds of a training step on one thread, by precision."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            return {precision: _step_seconds(student, precision) for precision in PRECISIONS}
    finally:
        torch.set_num_threads(threads)


def _step_seconds(student: PreTrainedConfig, precision: str) -> float:
    """The fastest of a few training steps of a student on random tokens."""
    model = new_model(student).train()
    tokens = PROBE_SENTENCES * PROBE_TOKENS
    split = TokenisedSplit(
        token_ids=np.random.default_rng(0).integers(0, model.config.vocab_size, tokens),
        offsets=np.arange(0, tokens + 1, PROBE_TOKENS),
        labels=np.zeros(PROBE_SENTENCES, dtype=np.int64),
    )
    optimiser = make_optimiser([model], weight_decay=0.0)
    training = Training(
        TrainingStep(model, optimiser, label_losses(precision), gradient_clip=1.0),
        Sentences.on_device(split, 0, torch.device("cpu")),
        PROBE_SENTENCES,
    )
    times = []
    for _ in range(PROBE_STEPS):
        start = time.perf_counter()
        training.step(np.arange(PROBE_SENTENCES), learning_rate=1e-5)
        times.append(time.perf_counter() - start)
    return min(times)
