"""Pooling of hidden states."""

import pytest
import torch

from tests.conftest import ARCHITECTURES, batch_of, tiny_classifier
from trainable.model_outputs import pool_states, run_model

LAYERS = (
    torch.tensor([[[1.0, 2.0], [3.0, 4.0], [9.0, 9.0]]]),
    torch.tensor([[[5.0, 6.0], [7.0, 8.0], [9.0, 9.0]]]),
)
MASK = torch.tensor([[1, 1, 0]])


def test_pools():
    assert pool_states(LAYERS, MASK, "cls").tolist() == [[[1.0, 2.0], [5.0, 6.0]]]
    assert pool_states(LAYERS, MASK, "mean").tolist() == [[[2.0, 3.0], [6.0, 7.0]]]
    tokens = pool_states(LAYERS, MASK, "tokens")
    assert tokens[0, 1].tolist() == [[3.0, 4.0], [7.0, 8.0]]
    assert tokens.shape == (1, 3, 2, 2)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_states_are_layers_without_the_embeddings(architecture):
    ids = torch.tensor([[2, 7, 3]])
    batch = batch_of(ids, torch.ones_like(ids), torch.tensor([0]))
    model = tiny_classifier(architecture)
    with torch.no_grad():
        logits, states = run_model(model, batch, "fp32", states=True)
        plain = model(ids, output_hidden_states=True)
    assert torch.equal(logits, plain.logits)
    assert len(states) == 4
    assert all(torch.equal(a, b) for a, b in zip(states, plain.hidden_states[1:], strict=True))
    assert run_model(model, batch, "fp32")[1] == ()
