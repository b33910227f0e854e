"""The losses of a student on a batch, from its outputs and the teacher's prepared ones."""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig

from trainable.config.layer_sets import parse_layers
from trainable.config.names import RELATIONS
from trainable.config.trial_config import TrialConfig
from trainable.data.examples import Batch
from trainable.engine.losses import RelationInputs, TermInputs, cross_entropy, distillation_losses
from trainable.engine.training_step import Losses
from trainable.models.model_outputs import pool_states, run_model
from trainable.models.relations import queries_keys_values
from trainable.teacher.outputs import TeacherOutputs


class Distillation:
    """What a student is trained towards.

    `alpha`, `temperature` and `relation_weight` are scalar tensors, `layer_weights` [S] is
    `hidden_weight` for aligned layers and 0 for others: they are written in place, so that one
    captured step serves trials that differ in them. `projections` maps each student layer to the
    teacher's width, and is empty where the widths are the same or no layers are compared; `set_up`
    draws them.
    """

    def __init__(
        self,
        config: TrialConfig,
        teacher_config: PreTrainedConfig,
        outputs: TeacherOutputs | None,
        device: torch.device,
    ) -> None:
        teacher_width = teacher_config.hidden_size
        width = config.student_width or teacher_width
        kind = outputs.kind if outputs else None
        projected = width != teacher_width and kind not in (None, RELATIONS)
        linears = [
            nn.Linear(width, teacher_width, bias=False)
            for _ in range(config.student_layers if projected else 0)
        ]
        self.outputs, self.precision = outputs, config.precision
        self.alpha = torch.zeros((), device=device)
        self.temperature = torch.ones((), device=device)
        self.layer_weights = torch.zeros(config.student_layers, device=device)
        self.relation_weight = torch.zeros((), device=device)
        self.relation_heads = config.relation_heads
        self.projections = nn.ModuleList(linears).to(device)

    def set_up(self, config: TrialConfig) -> None:
        """Writes a trial's constants, and draws its projections from torch's global generator."""
        aligned = parse_layers(config.aligned_layers)
        for layer in range(1, config.student_layers + 1):
            self.layer_weights[layer - 1] = config.hidden_weight if layer in aligned else 0.0
        self.temperature.fill_(config.temperature)
        self.relation_weight.fill_(config.relation_weight)
        for projection in self.projections:
            assert isinstance(projection, nn.Linear)
            projection.reset_parameters()

    def losses(self, student: nn.Module, batch: Batch) -> Losses:
        """`loss` and its parts; without teacher outputs the loss is the cross-entropy alone.

        Of a part of a batch they are what it adds to those of the whole.
        """
        kind = self.outputs.kind if self.outputs else None
        logits, states = run_model(student, batch, self.precision, states=kind is not None)
        labels_loss = cross_entropy(logits, batch.labels, batch.weights)
        if self.outputs is None:
            return {"loss": labels_loss, "cross_entropy": labels_loss}
        states_read: dict[str, Any] = {}
        if kind == RELATIONS:
            states_read = {"relations": self._relations(student, states[-2], batch)}
        elif kind:
            states_read = self._hidden(states[1:], batch, kind)
        return distillation_losses(
            self.alpha,
            labels_loss,
            TermInputs(
                logits=logits,
                teacher_logits=self.outputs.logits[batch.rows],
                temperature=self.temperature,
                weights=batch.weights,
                layer_weights=self.layer_weights,
                **states_read,
            ),
        )

    def _relations(self, student: nn.Module, states: Tensor, batch: Batch) -> RelationInputs:
        assert self.outputs is not None
        return RelationInputs(
            vectors=queries_keys_values(student, states, self.precision),
            teacher_vectors=self.outputs.batch_hidden(batch),
            heads=self.relation_heads,
            mask=batch.attention_mask,
            weights=batch.token_weights,
            relation_weight=self.relation_weight,
        )

    def _hidden(self, states: tuple[Tensor, ...], batch: Batch, pool: str) -> dict[str, Tensor]:
        assert self.outputs is not None
        if len(self.projections):
            states = tuple(
                projection(layer.float())
                for projection, layer in zip(self.projections, states, strict=True)
            )
        return {
            "states": pool_states(states, batch.attention_mask, pool),
            "teacher_units": self.outputs.batch_hidden(batch),
            "state_weights": batch.token_weights if pool == "tokens" else batch.weights,
        }
