"""A student on the tokens in use is the student on the whole vocabulary."""

import numpy as np
import pytest
import torch

from tests.conftest import ARCHITECTURES, batch_of, tiny_classifier
from trainable.data.vocabulary import restore_embedding, to_dense_ids, tokens_in_use, trim_embedding
from trainable.engine.losses import cross_entropy
from trainable.engine.training_step import TrainingStep, label_losses, make_optimiser
from trainable.models.model_outputs import run_model

USED = np.array([2, 7, 9, 50, 120, 3], dtype=np.int64)


def batches(in_use, device="cpu"):
    """The same two padded examples under the tokenizer's ids and under dense ids."""
    ids = np.array([[2, 7, 9, 50, 120, 3], [2, 9, 9, 3, 0, 0]])
    mask, labels = torch.tensor([[1] * 6, [1] * 4 + [0] * 2]), torch.tensor([0, 1])
    for token_ids in (ids, to_dense_ids(ids, in_use).astype(np.int64)):
        yield batch_of(torch.from_numpy(token_ids), mask, labels)


def train(model, batch, steps=3):
    """Dropout off, weight decay off (it moves even rows that are never read)."""
    step = TrainingStep(
        model, make_optimiser([model], weight_decay=0.0), label_losses("fp32"), gradient_clip=1.0
    )
    for _ in range(steps):
        step(batch, learning_rate=1e-3)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_logits_gradients_and_trained_weights(architecture):
    in_use = tokens_in_use([USED], special_ids=[0, 1, 2, 3, 4], pad_id=0)
    full, trimmed = tiny_classifier(architecture), tiny_classifier(architecture)
    before = trim_embedding(trimmed, in_use)
    assert trimmed.get_input_embeddings().weight.shape[0] == len(in_use)
    full_batch, dense_batch = batches(in_use)

    logits = [run_model(m, b, "fp32")[0] for m, b in ((full, full_batch), (trimmed, dense_batch))]
    torch.testing.assert_close(logits[0], logits[1], rtol=0, atol=0)
    for model, batch in ((full, full_batch), (trimmed, dense_batch)):
        cross_entropy(run_model(model, batch, "fp32")[0], batch.labels).backward()
    gradient = full.get_input_embeddings().weight.grad
    torch.testing.assert_close(
        gradient[in_use], trimmed.get_input_embeddings().weight.grad, rtol=1e-6, atol=1e-9
    )
    assert gradient.count_nonzero() == gradient[in_use].count_nonzero() > 0

    for model, batch in ((full, full_batch), (trimmed, dense_batch)):
        model.zero_grad()
        train(model, batch)
    restore_embedding(trimmed, in_use, before)
    assert trimmed.config.vocab_size == full.config.vocab_size
    for (name, whole), (_, back) in zip(
        full.named_parameters(), trimmed.named_parameters(), strict=True
    ):
        torch.testing.assert_close(whole, back, rtol=1e-4, atol=1e-6, msg=name)
