"""How long a teacher is fine-tuned: until it is worse on a part of the training examples."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainable.data.datasets import HELD_OUT_SHARE, hold_out_rows
from trainable.data.examples import Examples

Score = Callable[[], np.ndarray]  # of the model as it is, by example [N], whose mean is the metric
KEPT, SCORES = "kept.", "scores"
FEWEST_HELD_OUT = 50  # examples; of fewer, the best evaluation is the luckiest one
FEWEST_OF_A_LABEL = 2  # among them
CLEAR_GAIN = 2.0  # standard errors


def hold_out_examples(train: Examples) -> tuple[Examples, Examples]:
    """Those to train on, and a stratified tenth that is held out, the same one each time.

    None is held out if that would be too few, altogether or of a label.
    """
    labels = train.labels.cpu().numpy()
    rest, held_out = hold_out_rows(labels.tolist())
    classes = np.zeros(len(labels), int) if labels.dtype.kind == "f" else labels
    counts = np.bincount(classes[held_out], minlength=int(classes.max()) + 1)
    if len(held_out) < FEWEST_HELD_OUT or np.min(counts) < FEWEST_OF_A_LABEL:
        rest, held_out = np.arange(len(labels)), held_out[:0]
    return train.pick(rest), train.pick(held_out)


class EarlyStopping:
    """Scores a model after the given `steps`, keeps the last weights that are not clearly worse
    than the best, and says when to stop.

    Worse is more than one standard error of the difference on the same examples: of a few hundred,
    the best evaluation is mostly the luckiest, and a rate that falls to zero makes the last ones
    better. Without steps the last weights are kept.
    """

    def __init__(
        self, parameters: dict[str, Tensor], score: Score, steps: list[int], patience: int
    ) -> None:
        self.parameters, self._score = parameters, score
        self._steps, self._patience = steps, patience
        self._scores: list[Tensor] = []  # by example [N], of each evaluation
        self._kept = 0  # the evaluation whose weights are kept
        self._weights: dict[str, Tensor] = {}  # in host memory: the GPU's was measured for the step

    def look(self, step: int) -> None:
        """Scores the model if that is due after this step."""
        if step not in self._steps:
            return
        self._scores.append(torch.as_tensor(self._score(), dtype=torch.float64))
        gain, error = self._gain(len(self._scores) - 1)
        if gain >= -error:
            self._kept = len(self._scores) - 1
            self._weights = {
                name: parameter.detach().to("cpu", copy=True)
                for name, parameter in self.parameters.items()
            }

    def _gain(self, before: int) -> tuple[float, float]:
        """Of the last evaluation over the best of the first `before`, if there are any: the mean
        and its standard error, by the same examples."""
        best = max(self._scores[:before], key=Tensor.mean, default=self._scores[-1])
        gain = self._scores[-1] - best
        return float(gain.mean()), float(gain.std(correction=0)) / len(gain) ** 0.5

    def gained(self, evaluations: int) -> bool:
        """Whether the last of so many evaluations is clearly better than all before them."""
        if self._kept != len(self._scores) - 1:
            return False
        gain, error = self._gain(len(self._scores) - evaluations)
        return gain > CLEAR_GAIN * error

    @property
    def over(self) -> bool:
        """Whether `patience` evaluations in a row were worse."""
        return len(self._scores) - 1 - self._kept >= self._patience

    @torch.no_grad()
    def restore_kept(self, total_steps: int, examples: int) -> str:
        """Puts the weights that are kept into the model's tensors; a line on which and why.
        `examples` are those trained on."""
        if not self._scores:
            rare = " of a label" * (round(examples * HELD_OUT_SHARE) >= FEWEST_HELD_OUT)
            return (
                f"Teacher: as after the last of {total_steps} steps (the training examples{rare} "
                "are too few to hold a tenth out)"
            )
        for name, parameter in self.parameters.items():
            parameter.copy_(self._weights[name])
        reason = f"{self._patience} evaluations were worse" if self.over else "all steps taken"
        return (
            f"Teacher: as after step {self._steps[self._kept]} of {total_steps}, "
            f"{self._scores[self._kept].mean():.4f} on the held-out tenth of the training examples "
            f"({reason})"
        )

    def state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """What `restore` is to be given, plain values and tensors apart."""
        tensors = {f"{KEPT}{name}": tensor for name, tensor in self._weights.items()}
        if self._scores:
            tensors[SCORES] = torch.stack(self._scores)
        return {"kept": self._kept}, tensors

    def restore(self, values: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        """Goes on from a `state`; there may be more beside it."""
        self._kept = values["kept"]
        if SCORES in tensors:
            self._scores = list(tensors[SCORES])
            self._weights = {name: tensors[KEPT + name] for name in self.parameters}
