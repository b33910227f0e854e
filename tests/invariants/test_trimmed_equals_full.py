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


def both_examples(in_use, cpu):
    """The same two examples under the tokenizer's ids and under dense ids."""
    split = TokenisedSplit(
        np.array([2, 7, 9, 50, 120, 3, 2, 9, 9, 3]),
        np.array([0, 6, 10]),
        np.array([0, 1]),
        token_types=np.array([0, 0, 0, 1, 1, 1, 0, 0, 1, 1]),  # read by models that have such
    )
    return [Examples(each, 0, cpu) for each in (split, dense_split(split, in_use))]


def test_a_padding_token_among_the_last_leaves_the_others_out(cpu):
    """As ModernBERT's does: what is masked may be any token."""
    in_use = tokens_in_use([USED], special_ids=[0, 2, 3, 204], pad_id=padding_id(204))
    assert in_use.tolist() == sorted({0, 2, 3, 204, *USED})
    split = TokenisedSplit(np.array([2, 7, 9, 50, 3, 2, 9, 3]), np.array([0, 5, 8]), np.zeros(2))
    full, trimmed = (tiny_classifier("modernbert", pad_token_id=204) for _ in range(2))
    before = trim_embedding(trimmed, in_use)
    batches = [
        Examples(each, pad_id, cpu).batch(torch.arange(2), 6)
        for each, pad_id in ((split, 204), (dense_split(split, in_use), padding_id(204)))
    ]
    logits = [run_model(m, b, "fp32")[0] for m, b in zip((full, trimmed), batches, strict=True)]
    torch.testing.assert_close(*logits, rtol=0, atol=0)
    restore_embedding(trimmed, in_use, before)
    assert torch.equal(trimmed.get_input_embeddings().weight, full.get_input_embeddings().weight)


def train(model, examples, steps=3):
    """Dropout off, weight decay off (it moves even rows that are never read)."""
    optimiser, feed = make_optimiser([model], 0.0), {"examples": examples, "batch_size": 2}
    step = TrainingStep(model, optimiser, label_losses("fp32"), 1.0, **feed)
    for _ in range(steps):
        step.take(np.arange(2), 1e-3)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_logits_gradients_and_trained_weights(architecture, cpu):
    in_use = tokens_in_use([USED], special_ids=[0, 1, 2, 3, 4], pad_id=0)
    full, trimmed = tiny_classifier(architecture), tiny_classifier(architecture)
    before = trim_embedding(trimmed, in_use)
    assert trimmed.get_input_embeddings().weight.shape[0] == len(in_use)
    examples = both_examples(in_use, cpu)
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
