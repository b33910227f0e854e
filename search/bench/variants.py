"""The variants of the training step, and how they are timed."""

import copy
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from search.bench.options import BASELINE, NO_SWEEPS, VARIANTS
from search.bench.workload import PAD_ID, Workload
from trainable.common.errors import UserError, first_line
from trainable.config.names import EAGER, GRAPH
from trainable.data.batches import epoch_batches, padded_width
from trainable.data.examples import Batch, Examples
from trainable.data.vocabulary import dense_split, trim_embedding
from trainable.engine.cuda_graph import CaptureError, Executor, make_executor
from trainable.engine.devices import Runtime, release_memory, synchronise
from trainable.engine.training_step import Losses, TrainingStep
from trainable.models.flash_attention import FLASH_MODEL, flash_obstacle
from trainable.models.students import build_student, encoder_layers
from trainable.teacher.outputs import LOGITS, TeacherOutputs, open_outputs, write_outputs
from trainable.trial.training_setup import TrainingSetup

GIB = 2**30


@dataclass(frozen=True)
class Steps:
    """A variant that is ready: `step(i)` trains on the rows `batches[i]`.

    `loss()` waits for the mean loss of the steps since it was last asked.
    """

    batches: list[np.ndarray]
    step: Callable[[int], None]
    loss: Callable[[], float]


Maker = Callable[[Workload], Steps]
Change = Callable[[TrainingStep], None]
Line = dict[str, Any]  # JSON values


def random_batches(workload: Workload) -> list[np.ndarray]:
    """A shuffled epoch cut into batches, whatever the lengths."""
    size, count = workload.config.batch_size, len(workload.split)
    order = np.random.default_rng(workload.config.seed).permutation(count)
    return [order[start : start + size] for start in range(0, count, size)]


def live(workload: Workload) -> Steps:
    """Distillation as it is usually written: random batches, the teacher run at every step.

    Shares only settings and models with `trainable`, so that changes there can't slow it down or
    speed it up. Nothing is done badly on purpose.
    """
    config, device, split = workload.config, workload.device, workload.split
    teacher = copy.deepcopy(workload.teacher).to(device)
    student = build_student(workload.teacher, config).to(device).train()
    optimiser = torch.optim.AdamW(
        student.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
    )
    ids = torch.from_numpy(split.token_ids.astype(np.int64))
    examples = torch.tensor_split(ids, split.offsets[1:-1].tolist())
    labels, batches = torch.from_numpy(split.labels), random_batches(workload)
    losses: list[Tensor] = []

    def step(index: int) -> None:
        tokens = [examples[row] for row in batches[index]]
        ids = pad_sequence(tokens, batch_first=True, padding_value=PAD_ID)
        mask = pad_sequence([torch.ones_like(part) for part in tokens], batch_first=True)
        batch = [part.to(device) for part in (ids, mask, labels[batches[index]])]
        loss = live_loss(workload, student, teacher, batch)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(student.parameters(), config.gradient_clip)
        optimiser.step()
        losses.append(loss.detach())

    def mean_loss() -> float:
        mean = float(torch.stack(losses).mean())
        losses.clear()
        return mean

    return Steps(batches, step, mean_loss)


def live_loss(
    workload: Workload, student: nn.Module, teacher: nn.Module, batch: Sequence[Tensor]
) -> Tensor:
    """alpha CE + (1 - alpha) (T^2 KL + hidden_weight sum of H_i).

    Of ids and mask [B, T] and labels [B]; H_i compares the first token's states of layer i.
    """
    (ids, mask, labels), config, layers = batch, workload.config, workload.layers
    inputs = {"input_ids": ids, "attention_mask": mask, "output_hidden_states": True}
    with torch.autocast(ids.device.type, torch.bfloat16, enabled=config.precision == "bf16"):
        ours = student(**inputs)
        with torch.no_grad():
            theirs = teacher(**inputs)
    temperature, alpha = config.temperature, config.alpha or 0.0
    p, q = (out.logits.float() / temperature for out in (theirs, ours))
    kl = functional.kl_div(q.log_softmax(-1), p.softmax(-1), reduction="batchmean")
    a = torch.stack([states[:, 0] for states in ours.hidden_states[1:]]).float()
    b = torch.stack([theirs.hidden_states[layer][:, 0] for layer in layers]).float()
    a, b = functional.normalize(a, dim=-1), functional.normalize(b, dim=-1)  # [S, B, H]
    hidden = (a - b).pow(2).mean(dim=(1, 2)).sum()
    cross_entropy = functional.cross_entropy(ours.logits.float(), labels)
    distilled = temperature**2 * kl + config.hidden_weight * hidden
    return alpha * cross_entropy + (1 - alpha) * distilled


def cached(
    workload: Workload,
    *,
    by_length: bool = True,
    executor: str = EAGER,
    flash: bool = False,
    change: Change | None = None,
) -> Steps:
    """What a trial does at each step, at a fixed alpha and learning rate; after a `change`, before
    anything is captured for good."""
    config, split, device = workload.config, workload.split, workload.device
    student, batches = build_student(workload.teacher, config), random_batches(workload)
    if by_length:
        in_use = np.arange(workload.tokens_in_use)
        trim_embedding(student, in_use)
        split = dense_split(split, in_use)
        batches = epoch_batches(split.lengths, config.batch_size, config.seed, epoch=0)
    setup = TrainingSetup(
        config,
        student.to(device),
        workload.teacher.config,
        prepared_outputs(workload),
        examples={"train": Examples(split, PAD_ID, device)},
        executor=make_executor(GRAPH, device) if executor == GRAPH else Executor(),
        flash_attention=flash,
    )
    setup.distillation.set_up(config)
    setup.distillation.alpha.fill_(config.alpha or 0.0)
    if change is not None:
        change(setup.step)
        setup.step.feed.executor = make_executor(executor, device)

    def step(index: int) -> None:
        setup.step.take(batches[index], config.learning_rate)

    return Steps(batches, step, lambda: setup.step.means.take()["loss"])


def prepared_outputs(workload: Workload) -> TeacherOutputs:
    """Runs the teacher once over the examples."""
    config, split, device = workload.config, workload.split, workload.device
    pool, size = config.hidden_pool, config.batch_size
    with TemporaryDirectory() as name:  # a file mapped into memory outlives its folder
        folders = {kind: Path(name) / kind for kind in (LOGITS, pool)}
        runtime = Runtime(Path(name), device, config.precision, log=list[str]().append)
        write_outputs(workload.teacher, split, PAD_ID, folders, runtime)
        return open_outputs(
            folders, pool, workload.layers, split=split, batch_size=size, device=device
        )


def changed(workload: Workload, change: Change) -> Steps:
    """The fastest variant that runs here, changed."""
    executor = GRAPH if workload.device.type == "cuda" else EAGER
    flash = flash_obstacle(workload.teacher.config, workload.device) is None
    return cached(workload, executor=executor, flash=flash, change=change)


def cast_at_once(step: TrainingStep) -> None:
    """Linear layers get bf16 copies of their weights, made together before a step's forwards, where
    autocast casts them one by one. A fused attention then joins three copies, not three weights
    whose join is cast anew. No number changes."""
    linears = [module for module in step.model.modules() if isinstance(module, nn.Linear)]
    places = [(linear, name) for linear in linears for name, _ in linear.named_parameters()]
    weights: list[Tensor] = [getattr(*place) for place in places]
    copies: list[Tensor] = [nn.Parameter(weight.detach().bfloat16()) for weight in weights]
    copy_of = dict(zip(map(id, weights), copies, strict=True))
    parameters, gradients_of = step.parameters, step.gradients
    trained = [copy_of.get(id(parameter), parameter) for parameter in parameters]

    def put(tensors: list[Tensor], all_parameters: list[Tensor]) -> None:
        for (linear, name), tensor in zip(places, tensors, strict=True):
            setattr(linear, name, tensor)
        step.parameters = all_parameters

    def gradients(parts: list[Batch]) -> tuple[tuple[Tensor, ...], Losses]:
        with torch.no_grad():
            torch._foreach_copy_(copies, weights)
        put(copies, trained)
        rounded, losses = gradients_of(parts)
        put(weights, parameters)
        return tuple(gradient.float() for gradient in rounded), losses

    step.gradients = gradients  # type: ignore[method-assign]


def compile_layers(step: TrainingStep, backend: str = "inductor") -> None:
    """Compiles what stands between the matrix products of each layer: dropout, sum and norm behind
    the attention, activation, dropout, sum and norm. A second width is compiled for all others."""
    for layer in encoder_layers(step.model)[1]:
        for name in ("attention.output", "intermediate", "output"):
            layer.get_submodule(name).compile(backend=backend, fullgraph=True)


def obstacle(name: str, workload: Workload) -> str | None:
    """Why a variant can't be run here; None where it can."""
    teacher = workload.teacher.config
    if name == "cast" and workload.config.precision != "bf16":
        return "needs --precision bf16"
    if name in ("graph", "flash") and workload.device.type != "cuda":
        return "needs a CUDA GPU, and none is visible"
    if name == "flash" and teacher.model_type != FLASH_MODEL:
        return f"{teacher.model_type} has no such kernel"
    return flash_obstacle(teacher, workload.device) if name == "flash" else None


MAKERS: dict[str, Maker] = {
    "live": live,
    "cached": partial(cached, by_length=False),
    "lengths": cached,
    "graph": partial(cached, executor=GRAPH),
    "flash": partial(cached, executor=GRAPH, flash=True),
    "cast": partial(changed, change=cast_at_once),
    "compiled": partial(changed, change=compile_layers),
}


def runnable(names: list[str] | None, workload: Workload) -> list[str]:
    """The variants to time; UserError where one that is asked for can't be run here."""
    if names is None:
        return [n for n in VARIANTS if n not in NO_SWEEPS and not obstacle(n, workload)]
    for name in names:
        if reason := obstacle(name, workload):
            raise UserError(f"--variants: {name}: {reason}")
    return names


def each_variant(names: Sequence[str], workload: Workload, repeats: int) -> Iterator[Line]:
    """A line of each variant in turn; one that fails does not end the others."""
    baseline = None
    for name in names:
        print(f"{name}: {VARIANTS[name]}", file=sys.stderr, flush=True)  # beside the JSON
        try:
            line = time_variant(MAKERS[name], workload, repeats)
        except Exception as error:  # one variant's failure, of whatever kind, is its own
            yield {"variant": name, "error": f"{type(error).__name__}: {first_line(error)}"}
            if isinstance(error, CaptureError):
                return  # this process must not go on with the GPU
            continue
        rate = line["examples_per_second"]
        baseline = rate if name == BASELINE else baseline
        yield {"variant": name, "ratio_to_live": baseline and round(rate / baseline, 3), **line}


def time_variant(make: Maker, workload: Workload, repeats: int) -> Line:
    """Sets a variant up and times epochs; JSON values.

    Memory is what torch has reserved of a GPU at most, graph pools included. CaptureError if a step
    can't be captured.
    """
    device, gpu = workload.device, workload.device.type == "cuda"
    release_memory(device)  # the last variant's
    start = perf_counter()
    steps = make(workload)
    release_memory(device)  # what only the set-up needed does not count
    if gpu:
        torch.cuda.reset_peak_memory_stats()
    warm_up(steps, workload.split.lengths)
    synchronise(device)
    setup_seconds, seconds = perf_counter() - start, []
    for _ in range(repeats):
        start = perf_counter()
        for index in range(len(steps.batches)):
            steps.step(index)
        synchronise(device)
        seconds.append(perf_counter() - start)
    examples = sum(map(len, steps.batches))
    return {
        "examples_per_second": round(examples / median(seconds), 2),
        "milliseconds_per_step": round(1000 * median(seconds) / len(steps.batches), 3),
        "setup_seconds": round(setup_seconds, 2),
        "reserved_gib": round(torch.cuda.max_memory_reserved() / GIB, 3) if gpu else None,
        "loss": round(steps.loss(), 4),
        "batch_size": len(steps.batches[0]),
        "examples": examples,
        "seconds": [round(epoch, 6) for epoch in seconds],  # of each repeat
    }


def warm_up(steps: Steps, lengths: np.ndarray) -> None:
    """Two steps of each width, the longest first: one warms up, the second is captured."""
    longest = {int(lengths[rows].max()): index for index, rows in enumerate(steps.batches)}
    of_width = {padded_width(length): longest[length] for length in sorted(longest)}
    for index in 2 * [*reversed(of_width.values())]:
        steps.step(index)
    steps.loss()
