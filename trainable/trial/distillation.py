"""The losses of a student on a batch, from its outputs and the teacher's prepared ones."""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig

from trainable.config.layer_sets import parse_layers
from trainable.config.names import BALANCED, RELATIONS
from trainable.config.trial_config import TrialConfig
from trainable.data.examples import Batch
from trainable.engine.losses import TermInputs, class_balance, cross_entropy, distillation_losses
from trainable.engine.training_step import Losses
from trainable.models.model_outputs import pool_states, run_model
from trainable.models.relations import queries_keys_values
from trainable.teacher.outputs import TeacherOutputs


class Distillation:
    """What a student is trained towards.

    `alpha`, `temperature` and `relation_weight` are scalar tensors, `layer_weights` [S] is
    `hidden_weight` for aligned layers and 0 for others, `class_weights` [C] is 1 unless
    `class_weight` balances the training `labels` [N]: they are written in place, so that one
    captured step serves trials that differ in them. `projections` maps each student layer to the
    teacher's width; it is empty if the widths are the same or no layers are compared.
    """

    def __init__(
        self,
        config: TrialConfig,
        teacher_config: PreTrainedConfig,
        outputs: TeacherOutputs | None,
        device: torch.device,
        labels: Tensor,
    ) -> None:
        teacher_width = teacher_config.hidden_size
        width = config.student_width or teacher_width
        kind = outputs.kind if outputs else None
        projected = width != teacher_width and kind not in (None, RELATIONS)
        count = config.student_layers if projected else 0
        linears = [nn.Linear(width, teacher_width, bias=False) for _ in range(count)]
        self.outputs, self.precision = outputs, config.precision
        self.alpha = torch.zeros((), device=device)
        self.temperature = torch.ones((), device=device)
        self.layer_weights = torch.zeros(config.student_layers, device=device)
        self.class_weights = torch.ones(teacher_config.num_labels, device=device)
        self._balance = class_balance(labels, teacher_config.num_labels)
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
        balanced = config.class_weight == BALANCED
        self.class_weights.copy_(self._balance if balanced else torch.ones_like(self._balance))
        for projection in self.projections:
            assert isinstance(projection, nn.Linear)
            projection.reset_parameters()

    def losses(self, student: nn.Module, batch: Batch) -> Losses:
        """`loss` and its parts; without teacher outputs the loss is the cross-entropy.

        Those of the parts of a batch add up to the batch's.
        """
        outputs = self.outputs
        logits, states = run_model(
            student, batch, self.precision, states=outputs is not None and outputs.kind is not None
        )
        labels_loss = cross_entropy(logits, batch.labels, batch.weights, self.class_weights)
        if outputs is None:
            return {"loss": labels_loss, "cross_entropy": labels_loss}
        compared: dict[str, Any] = {}
        if outputs.kind == RELATIONS:
            vectors = queries_keys_values(student, states[-2], self.precision)
            masks = (batch.attention_mask, batch.token_weights)
            its = outputs.batch_hidden(batch)
            compared = {"relations": (vectors, its, self.relation_heads, *masks)}
        elif outputs.kind:
            weights = batch.token_weights if outputs.kind == "tokens" else batch.weights
            pooled = pool_states(self._projected(states[1:]), batch.attention_mask, outputs.kind)
            compared = {"hidden": (pooled, outputs.batch_hidden(batch), weights)}
        return distillation_losses(
            self.alpha,
            labels_loss,
            TermInputs(
                logits=logits,
                teacher_logits=outputs.logits[batch.rows],
                temperature=self.temperature,
                weights=batch.weights,
                layer_weights=self.layer_weights,
                relation_weight=self.relation_weight,
                **compared,
            ),
        )

    def _projected(self, states: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Hidden states at the teacher's width."""
        if not len(self.projections):
            return states
        pairs = zip(self.projections, states, strict=True)
        return tuple(projection(layer.float()) for projection, layer in pairs)
