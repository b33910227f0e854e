"""How long a teacher is fine-tuned: while it gains on a part of the training examples."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainable.data.datasets import hold_out_rows
from trainable.data.examples import Examples
from trainable.engine.training_step import Evaluator, accuracy

FEWEST_HELD_OUT = 50  # examples; of fewer, the best evaluation is the luckiest one
FEWEST_OF_A_LABEL = 2  # among them


def hold_out_examples(train: Examples) -> tuple[Examples, Examples]:
    """Those to train on, and a stratified tenth that is held out, the same one each time.

    None is held out if that would be too few, altogether or of a label.
    """
    labels = train.labels.cpu().numpy()
    rest, held_out = hold_out_rows(labels.tolist())
    classes = np.zeros(len(labels), int) if labels.dtype.kind == "f" else labels
    counts = np.bincount(classes[held_out], minlength=int(classes.max()) + 1)
    if len(held_out) < FEWEST_HELD_OUT or counts.min() < FEWEST_OF_A_LABEL:
        rest, held_out = np.arange(len(labels)), held_out[:0]
    return train.pick(rest), train.pick(held_out)


class EarlyStopping:
    """Evaluates a model after the given `steps`, keeps its best weights, says when to stop.

    Without steps the last weights are kept.
    """

    def __init__(
        self, parameters: dict[str, Tensor], evaluator: Evaluator, steps: list[int], patience: int
    ) -> None:
        self.parameters, self._evaluator = parameters, evaluator
        self._steps, self._patience = steps, patience
        self._accuracies: list[float] = []
        self._best: dict[str, Tensor] = {}  # in host memory: the GPU's was measured for the step

    def look(self, step: int) -> None:
        """Scores the model if that is due after this step, and keeps the first of the best."""
        if step not in self._steps:
            return
        self._accuracies.append(accuracy(self._evaluator.correct()))
        if self._without_gain == 0:
            self._best = {
                name: parameter.detach().to("cpu", copy=True)
                for name, parameter in self.parameters.items()
            }

    @property
    def over(self) -> bool:
        """Whether it has gained nothing for `patience` evaluations."""
        return self._without_gain >= self._patience

    @property
    def _without_gain(self) -> int:
        """Evaluations since the best one."""
        scores = self._accuracies
        return len(scores) - 1 - int(np.argmax(scores)) if scores else 0

    @torch.no_grad()
    def keep_best(self, total_steps: int) -> str:
        """Puts the best weights into the model's tensors; a line on which they are, and why."""
        if not self._accuracies:
            return (
                f"Teacher: as after the last of {total_steps} steps (the training examples are "
                "too few to hold a tenth out)"
            )
        for name, parameter in self.parameters.items():
            parameter.copy_(self._best[name])
        best = int(np.argmax(self._accuracies))
        reason = f"no gain in {self._patience} evaluations" if self.over else "all steps taken"
        return (
            f"Teacher: best of {len(self._accuracies)} evaluations at step {self._steps[best]} of "
            f"{total_steps}, {self._accuracies[best]:.4f} on the held-out tenth of the training "
            f"examples ({reason})"
        )

    def state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """What `restore` is to be given, plain values and tensors apart."""
        tensors = {f"best.{name}": tensor for name, tensor in self._best.items()}
        return {"accuracies": self._accuracies}, tensors

    def restore(self, values: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        """Goes on from a `state`; there may be more beside it."""
        self._accuracies = values["accuracies"]
        if self._accuracies:
            self._best = {name: tensors[f"best.{name}"] for name in self.parameters}
