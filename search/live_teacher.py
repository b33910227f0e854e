"""The reference of the bench: distillation as it is usually written, the teacher run at every step.

Plain PyTorch on its own, sharing nothing with `trainable` but the settings and the models, so that
what it is compared with can't slow it down or speed it up. Nothing is done badly on purpose: the
loss is never read back, and nothing waits for the GPU within a step but what the loss itself needs.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from trainable.config import TrialConfig
from trainable.layers import parse_layers


class LiveTeacherLoop:
    """A student in training beside its teacher, both on `device`, at a fixed alpha."""

    def __init__(
        self,
        teacher: nn.Module,
        student: nn.Module,
        config: TrialConfig,
        pad_id: int,
        device: torch.device,
    ) -> None:
        assert config.alpha is not None, "the reference has no alpha schedule"
        self.teacher = teacher.to(device).eval()
        self.student = student.to(device).train()
        self.config, self.alpha, self.pad_id, self.device = config, config.alpha, pad_id, device
        self.layers = parse_layers(config.aligned_layers)
        self.optimiser = torch.optim.AdamW(
            self.student.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )

    def step(self, sentences: list[Tensor], labels: Tensor) -> Tensor:
        """Trains on B sentences (token ids, on the CPU); returns the loss before it, detached."""
        input_ids = pad_sequence(sentences, batch_first=True, padding_value=self.pad_id)
        lengths = torch.tensor([len(sentence) for sentence in sentences])
        mask = (torch.arange(input_ids.shape[1]) < lengths[:, None]).long()
        loss = self.loss(input_ids.to(self.device), mask.to(self.device), labels.to(self.device))
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.student.parameters(), self.config.gradient_clip)
        self.optimiser.step()
        return loss.detach()

    def loss(self, input_ids: Tensor, mask: Tensor, labels: Tensor) -> Tensor:
        """alpha CE + (1 - alpha) (T^2 KL + hidden_weight sum of H_i); inputs [B, T], labels [B]."""
        inputs = {
            "input_ids": input_ids,
            "attention_mask": mask,
            "output_hidden_states": bool(self.layers),
        }
        bf16 = self.config.precision == "bf16"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=bf16):
            ours = self.student(**inputs)
            with torch.no_grad():
                theirs = self.teacher(**inputs)
        labels_loss = functional.cross_entropy(ours.logits.float(), labels)
        temperature = self.config.temperature
        teachers_loss = temperature**2 * functional.kl_div(
            functional.log_softmax(ours.logits.float() / temperature, dim=-1),
            functional.softmax(theirs.logits.float() / temperature, dim=-1),
            reduction="batchmean",
        )
        if self.layers:
            hidden = self._hidden(ours.hidden_states, theirs.hidden_states, mask)
            teachers_loss = teachers_loss + self.config.hidden_weight * hidden
        return self.alpha * labels_loss + (1 - self.alpha) * teachers_loss

    def _hidden(self, ours: tuple[Tensor, ...], theirs: tuple[Tensor, ...], mask: Tensor) -> Tensor:
        """The sum over aligned layers; each state [B, T, H], the embeddings first."""
        ratio = (len(theirs) - 1) // (len(ours) - 1)
        total = torch.zeros((), device=mask.device)
        for layer in self.layers:
            a, weights = self._pooled(ours[layer], mask)
            b, _ = self._pooled(theirs[layer * ratio], mask)
            total = total + ((a - b).pow(2).mean(dim=-1) * weights).sum() / weights.sum()
        return total

    def _pooled(self, states: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Unit vectors [B, P, H] of the states compared, and which of them count [B, P]."""
        states, weights = states.float(), mask.float()
        if self.config.hidden_pool == "cls":
            states, weights = states[:, :1], weights[:, :1]
        elif self.config.hidden_pool == "mean":
            sums = (states * weights[..., None]).sum(dim=1, keepdim=True)
            states = sums / weights.sum(dim=1)[:, None, None]
            weights = weights[:, :1]
        return functional.normalize(states, dim=-1), weights
