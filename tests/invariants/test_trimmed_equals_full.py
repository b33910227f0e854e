"""A student on the tokens in use is the student on the whole vocabulary."""

import numpy as np
import pytest
import torch

from tests.conftest import ARCHITECTURES, tiny_classifier
from trainable.data.examples import Examples
from trainable.data.tokens import TokenisedSplit
from trainable.data.vocabulary import (
    dense_split,
    padding_id,
    restore_embedding,
    tokens_in_use,
    trim_embedding,
)
from trainable.engine.losses import cross_entropy
from trainable.engine.training_step import TrainingStep, label_losses, make_optimiser
from trainable.models.model_outputs import run_model

USED = np.array([2, 7, 9, 50, 120, 3], dtype=np.int64)


def both_examples(in_use, pad_id, cpu):
    """The same two examples under the tokenizer's ids and under dense ids."""
    split = TokenisedSplit(
        np.array([2, 7, 9, 50, 120, 3, 2, 9, 9, 3]),
        np.array([0, 6, 10]),
        np.array([0, 1]),
        token_types=np.array([0, 0, 0, 1, 1, 1, 0, 0, 1, 1]),  # read by models that have such
    )
    dense = dense_split(split, in_use)
    return [Examples(split, pad_id, cpu), Examples(dense, padding_id(pad_id), cpu)]


def train(model, examples, steps=3):
    """Dropout off, weight decay off (it moves even rows that are never read)."""
    optimiser, feed = make_optimiser([model], 0.0), {"examples": examples, "batch_size": 2}
    step = TrainingStep(model, optimiser, label_losses("fp32"), 1.0, **feed)
    for _ in range(steps):
        step.take(np.arange(2), 1e-3)


@pytest.mark.parametrize(
    ("architecture", "pad_id"), [*((name, 0) for name in ARCHITECTURES), ("modernbert", 204)]
)
def test_logits_gradients_and_trained_weights(architecture, pad_id, cpu):
    """ModernBERT's padding token is among the last, and leaves the others out."""
    special = {0, 1, 2, 3, 4, pad_id}
    in_use = tokens_in_use([USED], special_ids=[*special], pad_id=padding_id(pad_id))
    assert in_use.tolist() == sorted({*special, *USED})
    full, trimmed = (tiny_classifier(architecture, pad_token_id=pad_id) for _ in range(2))
    before = trim_embedding(trimmed, in_use)
    assert trimmed.get_input_embeddings().weight.shape[0] == len(in_use)
    examples = both_examples(in_use, pad_id, cpu)
    full_batch, dense_batch = (each.batch(torch.arange(2), 6) for each in examples)

    logits = [run_model(m, b, "fp32")[0] for m, b in ((full, full_batch), (trimmed, dense_batch))]
    torch.testing.assert_close(logits[0], logits[1], rtol=0, atol=0)
    for model, batch in ((full, full_batch), (trimmed, dense_batch)):
        cross_entropy(run_model(model, batch, "fp32")[0], batch.labels).backward()
    gradient = full.get_input_embeddings().weight.grad
    torch.testing.assert_close(
        gradient[in_use], trimmed.get_input_embeddings().weight.grad, rtol=1e-6, atol=1e-9
    )
    assert gradient.count_nonzero() == gradient[in_use].count_nonzero() > 0
    types = [p.grad for name, p in full.named_parameters() if "token_type_embeddings" in name]
    read = [bool(gradient.abs().sum(1).all()) for gradient in types]
    assert read == {"bert": [True], "electra": [True], "roberta": [True]}.get(architecture, [])

    for model, each in zip((full, trimmed), examples, strict=True):
        model.zero_grad()
        train(model, each)
    restore_embedding(trimmed, in_use, before)
    assert trimmed.config.vocab_size == full.config.vocab_size
    for (name, whole), (_, back) in zip(
        full.named_parameters(), trimmed.named_parameters(), strict=True
    ):
        torch.testing.assert_close(whole, back, rtol=1e-4, atol=1e-6, msg=name)
