"""The losses of a student on a batch, from its outputs and the teacher's prepared ones."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig

from trainable.config import TrialConfig
from trainable.engine import Losses
from trainable.layers import mirrored_layer, parse_layers
from trainable.losses import cross_entropy, distillation_kl, distillation_loss, hidden_loss
from trainable.model_outputs import pool_states, run_model
from trainable.teacher_outputs import TeacherOutputs
from trainable.tokens import Batch


@dataclass
class Distillation:
    """What a student is trained towards.

    `alpha` is a scalar tensor that the training loop writes before each step. `layer_weights` [S]
    is `hidden_weight` for aligned layers and 0 for others. `mirrored` [S] are the teacher's layers,
    one for each of the student's. `projections` maps each student layer to the teacher's width,
    and is empty where the widths are the same.
    """

    outputs: TeacherOutputs | None
    alpha: Tensor
    layer_weights: Tensor
    mirrored: np.ndarray
    projections: nn.ModuleList
    temperature: float
    precision: str

    @classmethod
    def build(
        cls,
        config: TrialConfig,
        teacher_config: PreTrainedConfig,
        outputs: TeacherOutputs | None,
        device: torch.device,
    ) -> "Distillation":
        """Draws the projections, where there are any, from torch's global generator."""
        depth, aligned = config.student_layers, parse_layers(config.aligned_layers)
        layers = range(1, depth + 1)
        weights = [config.hidden_weight if layer in aligned else 0.0 for layer in layers]
        width, teacher_width = config.student_width, teacher_config.hidden_size
        needed = depth if aligned and width not in (None, teacher_width) else 0
        mirrored = [mirrored_layer(i, depth, teacher_config.num_hidden_layers) for i in layers]
        projections = [
            nn.Linear(width or teacher_width, teacher_width, bias=False) for _ in range(needed)
        ]
        return cls(
            outputs=outputs,
            alpha=torch.zeros((), device=device),
            layer_weights=torch.tensor(weights, device=device),
            mirrored=np.array(mirrored),
            projections=nn.ModuleList(projections).to(device),
            temperature=config.temperature,
            precision=config.precision,
        )

    def losses(self, student: nn.Module, batch: Batch) -> Losses:
        """`loss` and its parts; without teacher outputs the loss is the cross-entropy alone."""
        if self.outputs is None:
            logits, _ = run_model(student, batch, self.precision)
            labels_loss = cross_entropy(logits, batch.labels)
            return {"loss": labels_loss, "cross_entropy": labels_loss}
        pool = self.outputs.hidden_pool
        logits, states = run_model(student, batch, self.precision, states=pool is not None)
        parts = distillation_loss(
            self.alpha,
            cross_entropy(logits, batch.labels),
            distillation_kl(logits, self.outputs.batch_logits(batch), self.temperature),
            self._hidden(states, batch, pool) if pool else torch.zeros_like(self.alpha),
        )
        return {
            "loss": parts.total,
            "cross_entropy": parts.cross_entropy,
            "kl": parts.kl,
            "hidden": parts.hidden,
        }

    def _hidden(self, states: tuple[Tensor, ...], batch: Batch, pool: str) -> Tensor:
        assert self.outputs is not None
        if len(self.projections):
            states = tuple(
                projection(layer.float())
                for projection, layer in zip(self.projections, states, strict=True)
            )
        return hidden_loss(
            pool_states(states, batch.attention_mask, pool),
            self.outputs.batch_hidden(batch, self.mirrored),
            self.layer_weights,
            batch.attention_mask if pool == "tokens" else None,
        )
