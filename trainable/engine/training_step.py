"""The training step and the evaluation, for teachers and students alike, whatever executes them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from trainable.common.errors import first_line
from trainable.common.gpus import out_of_gpu_memory
from trainable.data.batches import batches_by_length
from trainable.data.examples import Batch, Examples, upload
from trainable.engine.cuda_graph import Executor
from trainable.engine.losses import cross_entropy, squared_errors
from trainable.engine.metrics import predicted
from trainable.engine.training_state import clear_optimiser
from trainable.engine.weight_averages import WeightAverages
from trainable.models.model_outputs import run_model

EVALUATION_BATCH = 64
NORM_EPSILON = 1e-6  # as torch.nn.utils.clip_grad_norm_ has it

Losses = dict[str, Tensor]  # scalar tensors by name; `loss` is the one that is minimised
LossFunction = Callable[[nn.Module, Batch], Losses]
Stage = Callable[[np.ndarray, int], None]  # brings what losses need of these rows at this width


def label_losses(precision: str) -> LossFunction:
    """Cross-entropy with the labels as the whole loss."""

    def losses(model: nn.Module, batch: Batch) -> Losses:
        logits, _ = run_model(model, batch, precision)
        return {"loss": cross_entropy(logits, batch.labels, batch.weights)}

    return losses


def make_optimiser(modules: Sequence[nn.Module], weight_decay: float) -> torch.optim.AdamW:
    """Fused AdamW, betas 0.9 and 0.999; vectors (biases, norms) don't decay.

    The learning rate is set at each step. On a GPU its step can be captured: its state is there
    from the beginning, and keeps its places.
    """
    parameters = [p for module in modules for p in module.parameters()]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    capturable = any(p.is_cuda for p in parameters)
    optimiser = torch.optim.AdamW(groups, lr=0.0, fused=True, capturable=capturable)
    for p in parameters:
        moments = {"exp_avg": torch.zeros_like(p), "exp_avg_sq": torch.zeros_like(p)}
        optimiser.state[p] = {"step": torch.zeros((), device=p.device), **moments}
    return optimiser


@dataclass
class LossMeans:
    """Running means of the losses, kept on the device so that a step never waits for it.

    `sums` keep their places: a captured step adds to them.
    """

    sums: Losses = field(default_factory=dict)
    steps: int = 0

    def add(self, losses: Losses) -> None:
        """Adds one step's losses; the steps are counted apart."""
        for name, value in losses.items():
            if name in self.sums:
                self.sums[name].add_(value)
            else:
                self.sums[name] = value.clone()

    def take(self) -> dict[str, float]:
        """The mean of each loss since the last call; starts anew."""
        means = {name: float(value) / self.steps for name, value in self.sums.items()}
        self.clear()
        return means

    def clear(self) -> None:
        """Starts anew."""
        self.steps = 0
        for value in self.sums.values():
            value.zero_()


class Feed:
    """Batches of a device's examples for bodies that an executor runs.

    Row numbers and their count stand in tensors that keep their places, so a body that was captured
    makes its batch of whatever stands there.
    """

    def __init__(
        self,
        examples: Examples,
        batch_size: int,
        executor: Executor | None = None,
        stage: Stage | None = None,
    ) -> None:
        self.examples, self.batch_size, self._stage = examples, batch_size, stage
        self.executor = Executor() if executor is None else executor
        self._longest = int(examples.lengths.max(initial=0))  # of all, of which there may be none
        self._rows = torch.zeros(batch_size, dtype=torch.int64, device=examples.device)
        self._count = torch.zeros((), device=examples.device)
        self._key = object()  # apart from other feeds of the same executor

    def run(self, rows: np.ndarray, body: Callable[[list[Batch]], Any]) -> Any:
        """What `body` returns of a batch of these rows, at most `batch_size`, in as many parts as
        memory asks for.

        A batch that is filled up repeats some rows at its end, which have no weight. Where memory
        runs out, in a body that has changed nothing by then, it is run again in more parts;
        torch.OutOfMemoryError if not even one example fits.
        """
        size, width = self.executor.batch_size(len(rows), self.batch_size), self.width(rows)
        self.write(np.resize(rows, size), len(rows))
        while True:
            try:
                return self.executor.run(
                    (self._key, size, width), lambda: body(self.parts(size, width))
                )
            except RuntimeError as error:
                if not out_of_gpu_memory(error):
                    raise
                reason = first_line(error)
            if not self.executor.reduce(size, self.examples.device):  # the error's tensors are gone
                raise torch.OutOfMemoryError(
                    f"not even one example of {width} tokens fits the GPU's memory ({reason}); end "
                    "what else runs on the GPU, or give a smaller --max-length"
                )

    def width(self, rows: np.ndarray) -> int:
        """Tokens that a batch of these rows is padded to: never more than some example has, for
        which a model may have no position."""
        return min(self.executor.width(self.examples.longest(rows)), self._longest)

    def write(self, rows: np.ndarray, count: int) -> None:
        """Puts row numbers, of which the first `count` have weight, where batches are made of."""
        upload(rows, self._rows)
        self._count.fill_(count)
        if self._stage is not None:
            self._stage(rows, self.width(rows))

    def parts(self, size: int, width: int) -> list[Batch]:
        """The batch of the first `size` row numbers that were written last, cut into what goes
        through a model at a time."""
        batch = self.examples.batch(self._rows[:size], width, self._count)
        return batch.parts(self.executor.most)


class TrainingStep:
    """Steps of a model in training on the examples of one device.

    A step is a function of tensors that keep their places: weights, the optimiser's state, row
    numbers, learning rate, and what the losses read. So an executor may capture it once for each
    width and replay it for whatever stands there. The gradients of a batch's parts add up to the
    batch's own.
    """

    def __init__(
        self,
        model: nn.Module,
        optimiser: torch.optim.Optimizer,
        losses: LossFunction,
        gradient_clip: float,
        *,
        examples: Examples,
        batch_size: int,
        executor: Executor | None = None,
        stage: Stage | None = None,
        averages: WeightAverages | None = None,
    ) -> None:
        self.model, self.optimiser, self.losses = model, optimiser, losses
        self.gradient_clip, self.averages, self.examples = gradient_clip, averages, examples
        self.feed = Feed(examples, batch_size, executor, stage)
        groups = [group["params"] for group in optimiser.param_groups]
        self.parameters = [p for group in groups for p in group if p.requires_grad]
        self.means = LossMeans()
        self._learning_rate = torch.zeros((), device=examples.device)

    def take(self, rows: np.ndarray, learning_rate: float) -> None:
        """Takes one step on these examples; its losses are added to `means`."""
        self._learning_rate.fill_(learning_rate)
        self.feed.run(rows, self.body)
        self.means.steps += 1

    def body(self, parts: list[Batch]) -> None:
        """Forward, losses, backward, clipping, the optimiser's update and that of averages."""
        gradients, losses = self.gradients(parts)
        norm = torch.nn.utils.get_total_norm(gradients)
        # The fused step divides gradients by this as it reads them: clipping costs no pass.
        scale = ((norm + NORM_EPSILON) / self.gradient_clip).clamp(min=1.0)
        self.optimiser.grad_scale = scale  # type: ignore[attr-defined]
        for group in self.optimiser.param_groups:
            group["lr"] = self._learning_rate
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter.grad = gradient
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        if self.averages is not None:
            self.averages.update()
        self.means.add(losses)

    def gradients(self, parts: list[Batch]) -> tuple[tuple[Tensor, ...], Losses]:
        """The gradient of `loss` for each parameter, 0 where there is none, and the losses before
        the step, detached, still on the device."""
        first, *others = parts
        gradients, losses = self._gradients_of_part(first)
        for part in others:
            part_gradients, part_losses = self._gradients_of_part(part)
            torch._foreach_add_(gradients, part_gradients)
            losses = {name: value + part_losses[name] for name, value in losses.items()}
        return gradients, losses

    def _gradients_of_part(self, batch: Batch) -> tuple[tuple[Tensor, ...], Losses]:
        losses = self.losses(self.model, batch)
        gradients = torch.autograd.grad(losses["loss"], self.parameters, materialize_grads=True)
        return gradients, {name: value.detach() for name, value in losses.items()}

    def warm_up(self) -> None:
        """Two steps of each width, the second of which may be captured; they change no weight.

        The longest comes first: it needs most memory, and what its graph has serves the others'.
        """
        lengths, executor = self.examples.lengths, self.feed.executor
        order = np.argsort(lengths, kind="stable")
        widths = sorted({executor.width(int(length)) for length in np.unique(lengths)})
        left = widths.copy()
        while left:
            width, cleared = left.pop(), executor.times_cleared
            fitting = order[: np.searchsorted(lengths[order], width, side="right")]
            for _ in range(2):
                self.take(fitting[-self.feed.batch_size :], learning_rate=0.0)
            left = left if executor.times_cleared == cleared else widths.copy()  # all anew
        clear_optimiser(self.optimiser)
        self.means.clear()


class Evaluator:
    """What a model makes of all examples of a split, again and again."""

    def __init__(
        self, model: nn.Module, examples: Examples, precision: str, executor: Executor | None = None
    ) -> None:
        self._model, self._precision = model, precision
        self.feed = Feed(examples, EVALUATION_BATCH, executor)
        self.labels = examples.labels.cpu().numpy()  # [N]

    def predictions(self) -> np.ndarray:
        """`predicted` of the split's examples."""
        return predicted(self.logits().numpy())

    @torch.no_grad()
    def logits(self) -> Tensor:
        """Of the split's N examples, float32 [N, C] on the CPU; dropout off."""
        was_training = self._model.training
        self._model.eval()
        lengths = self.feed.examples.lengths
        config: Any = self._model.config
        found = torch.empty(len(lengths), config.num_labels)
        for rows in reversed(batches_by_length(lengths, EVALUATION_BATCH)):
            found[torch.from_numpy(rows)] = self.feed.run(rows, self._body)[: len(rows)].cpu()
        self._model.train(was_training)
        return found

    def _body(self, parts: list[Batch]) -> Tensor:
        each = [run_model(self._model, part, self._precision)[0] for part in parts]
        return torch.cat(each).float()


def mean_label_loss(logits: Tensor, labels: np.ndarray) -> float:
    """Of logits [N, C] with labels [N]: cross-entropy in nats, or the squared error."""
    targets = torch.from_numpy(labels)
    if targets.is_floating_point():
        return float(squared_errors(logits, targets).double().mean())
    return float(functional.cross_entropy(logits, targets, reduction="none").double().mean())
