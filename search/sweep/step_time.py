"""How long a training step takes on this machine, measured before there is a trial."""

import time

import numpy as np
import torch

from trainable.config.initialisations import PRETRAINED
from trainable.config.training_inputs import Execution
from trainable.config.trial_config import TrialConfig
from trainable.data.examples import Examples
from trainable.data.tokens import tokenise
from trainable.engine.cuda_graph import make_executor
from trainable.engine.devices import best_device, synchronise
from trainable.engine.training_step import TrainingStep, label_losses, make_optimiser
from trainable.models.flash_attention import fuse_attention
from trainable.models.static_forward import make_static
from trainable.models.students import new_model
from trainable.trial.preparation import Preparation

EXAMPLES = 640  # that are tokenised to know their lengths
TIMED_STEPS = 5


def step_seconds(preparation: Preparation, config: TrialConfig, execution: Execution) -> float:
    """A training step of such a student on examples of average length, on one thread, as a sweep's
    trials take it: its first one or two, which warm up and are captured, don't count."""
    train, length = preparation.inputs.dataset.train, preparation.inputs.max_length
    own = preparation.student if config.initialisation == PRETRAINED else None
    tokenizer = (own or preparation).tokenizer
    split = tokenise(tokenizer, train.texts[:EXAMPLES], train.labels[:EXAMPLES], length)
    device, threads, random = best_device(), torch.get_num_threads(), torch.get_rng_state()
    torch.set_num_threads(1)
    student = new_model(preparation.shape_of(config)).to(device).train()
    make_static(student)
    if execution.flash_attention:
        fuse_attention(student, device)
    step = TrainingStep(
        student,
        make_optimiser([student], config.weight_decay),
        label_losses(config.precision),
        config.gradient_clip,
        examples=Examples(split, tokenizer.pad_token_id, device),
        batch_size=config.batch_size,
        executor=make_executor(execution.executor, device),
    )
    order = np.argsort(split.lengths, kind="stable")
    middle = order[max(0, (len(order) - config.batch_size) // 2) :][: config.batch_size]
    times = []
    for _ in range(TIMED_STEPS):
        start = time.perf_counter()
        step.take(middle, learning_rate=1e-5)
        synchronise(device)
        times.append(time.perf_counter() - start)
    torch.set_num_threads(threads)
    torch.set_rng_state(random)
    return min(times[2:])
