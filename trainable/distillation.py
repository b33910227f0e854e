"""The losses of a student on a batch, from its outputs and the teacher's prepared ones."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig

from trainable.config import TrialConfig
from trainable.engine import Losses
from trainable.layers import parse_layers
from trainable.losses import cross_entropy, distillation_kl, hidden_loss
from trainable.model_outputs import pool_states, run_model
from trainable.sentences import Batch
from trainable.teacher_outputs import TeacherOutputs


@dataclass
class Distillation:
    """What a student is trained towards.

    `alpha` and `temperature` are scalar tensors, `layer_weights` [S] is `hidden_weight` for aligned
    layers and 0 for others: they are written in place, so that one captured step serves trials that
    differ in them. `projections` maps each student layer to the teacher's width, and is empty where
    the widths are the same.
    """

    outputs: TeacherOutputs | None
    alpha: Tensor
    temperature: Tensor
    layer_weights: Tensor
    projections: nn.ModuleList
    precision: str

    @classmethod
    def build(
        cls,
        config: TrialConfig,
        teacher_config: PreTrainedConfig,
        outputs: TeacherOutputs | None,
        device: torch.device,
    ) -> "Distillation":
        """For the trial, and for others like it; the projections are drawn by `set_up`."""
        width, teacher_width = config.student_width, teacher_config.hidden_size
        narrower = width not in (None, teacher_width)
        needed = config.student_layers if narrower and outputs and outputs.hidden_pool else 0
        projections = [
            nn.Linear(width or teacher_width, teacher_width, bias=False) for _ in range(needed)
        ]
        return cls(
            outputs=outputs,
            alpha=torch.zeros((), device=device),
            temperature=torch.ones((), device=device),
            layer_weights=torch.zeros(config.student_layers, device=device),
            projections=nn.ModuleList(projections).to(device),
            precision=config.precision,
        )

    def set_up(self, config: TrialConfig) -> None:
        """Writes a trial's constants, and draws its projections from torch's global generator."""
        aligned = parse_layers(config.aligned_layers)
        for layer in range(1, config.student_layers + 1):
            self.layer_weights[layer - 1] = config.hidden_weight if layer in aligned else 0.0
        self.temperature.fill_(config.temperature)
        for projection in self.projections:
            assert isinstance(projection, nn.Linear)
            projection.reset_parameters()

    def losses(self, student: nn.Module, batch: Batch) -> Losses:
        """`loss` and its parts; without teacher outputs the loss is the cross-entropy alone.

        Of a part of a batch they are what it adds to those of the whole.
        """
        pool = self.outputs and self.outputs.hidden_pool
        logits, states = run_model(student, batch, self.precision, states=pool is not None)
        labels_loss = cross_entropy(logits, batch.labels, batch.weights)
        if self.outputs is None:
            return {"loss": labels_loss, "cross_entropy": labels_loss}
        its_logits = self.outputs.logits[batch.rows]
        kl = distillation_kl(logits, its_logits, self.temperature, batch.weights)
        hidden = self._hidden(states, batch, pool) if pool else torch.zeros_like(self.alpha)
        loss = self.alpha * labels_loss + (1.0 - self.alpha) * (kl + hidden)
        return {"loss": loss, "cross_entropy": labels_loss, "kl": kl, "hidden": hidden}

    def _hidden(self, states: tuple[Tensor, ...], batch: Batch, pool: str) -> Tensor:
        assert self.outputs is not None
        if len(self.projections):
            states = tuple(
                projection(layer.float())
                for projection, layer in zip(self.projections, states, strict=True)
            )
        return hidden_loss(
            pool_states(states, batch.attention_mask, pool),
            self.outputs.batch_hidden(batch),
            self.layer_weights,
            batch.token_weights if pool == "tokens" else batch.weights,
        )
